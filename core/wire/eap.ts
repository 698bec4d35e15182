import { WireError } from '../errors.ts'
import { Reader, Writer } from './codec.ts'

/** EAP packets, RFC 3748 §4: the content of IKE's EAP payload. */

export const EapCode = { REQUEST: 1, RESPONSE: 2, SUCCESS: 3, FAILURE: 4 } as const

/** Of requests and responses; methods from 4 on. */
export const EapType = { IDENTITY: 1, NOTIFICATION: 2, NAK: 3 } as const

export interface EapPacket {
  /** EapCode. */
  readonly code: number
  /** A response has the one of its request. */
  readonly identifier: number
  /** EapType or a method's; 0 in Success and Failure. */
  readonly type: number
  readonly data: Uint8Array
}

const EMPTY = new Uint8Array(0)

/** @throws WireError; octets behind the packet are padding, as RFC 3748 §4 wants it */
export function readEap(bytes: Uint8Array): EapPacket {
  const outer = new Reader(bytes)
  const code = outer.u8()
  const identifier = outer.u8()
  const r = outer.sub(outer.u16() - 4)
  if (code === EapCode.SUCCESS || code === EapCode.FAILURE) {
    r.end('EAP')
    return { code, identifier, type: 0, data: EMPTY }
  }
  if (code !== EapCode.REQUEST && code !== EapCode.RESPONSE) throw new WireError(`EAP: code ${code}`)
  const type = r.u8()
  return { code, identifier, type, data: r.take(r.left) }
}

export function writeEap({ code, identifier, type, data }: EapPacket): Uint8Array {
  const bare = code === EapCode.SUCCESS || code === EapCode.FAILURE
  const w = new Writer(5 + data.length)
  w.u8(code)
  w.u8(identifier)
  w.u16(bare ? 4 : 5 + data.length)
  if (!bare) {
    w.u8(type)
    w.put(data)
  }
  return w.finish()
}
