import { WireError } from '../../core/errors.ts'
import { formatAddress, Reader, Writer } from '../../core/wire/index.ts'

/** NAT-PMP, RFC 6886 §3: what PCP grew out of, and what many gateways still speak. */

const EXTERNAL_ADDRESS = 0
const MAP_UDP = 1
const RESPONSE = 0x80

/** Result codes, RFC 6886 §3.5. */
export const PMP_RESULTS = [
  'success',
  'unsupported version',
  'not authorized',
  'network failure',
  'out of resources',
  'unsupported opcode',
] as const

export const serializeAddressRequest = (): Uint8Array => Uint8Array.of(0, EXTERNAL_ADDRESS)

/** @param lifetime - seconds; 0 removes the mapping, with external port 0 */
export function serializePmpMap(internalPort: number, externalPort: number, lifetime: number): Uint8Array {
  const w = new Writer()
  w.u8(0)
  w.u8(MAP_UDP)
  w.zeros(2)
  w.u16(internalPort)
  w.u16(externalPort)
  w.u32(lifetime)
  return w.finish()
}

export type PmpResponse =
  | { readonly type: 'error'; readonly opcode: number; readonly result: number }
  | { readonly type: 'address'; readonly epoch: number; readonly address: string }
  | {
      readonly type: 'map'
      readonly epoch: number
      readonly internalPort: number
      readonly externalPort: number
      /** Seconds. */
      readonly lifetime: number
    }

/** @throws WireError */
export function parsePmp(bytes: Uint8Array): PmpResponse {
  const r = new Reader(bytes)
  const version = r.u8()
  const opcode = r.u8()
  if (version !== 0 || opcode < RESPONSE) throw new WireError(`NAT-PMP: version ${version}, opcode ${opcode}`)
  const result = r.u16()
  if (result !== 0) return { type: 'error', opcode: opcode - RESPONSE, result }
  const epoch = r.u32()
  if (opcode === (EXTERNAL_ADDRESS | RESPONSE)) return { type: 'address', epoch, address: formatAddress(r.take(4)) }
  if (opcode !== (MAP_UDP | RESPONSE)) throw new WireError(`NAT-PMP: opcode ${opcode}`)
  return { type: 'map', epoch, internalPort: r.u16(), externalPort: r.u16(), lifetime: r.u32() }
}
