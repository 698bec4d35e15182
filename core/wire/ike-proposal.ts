import { WireError } from '../errors.ts'
import type { Codec, Reader, Writer } from './codec.ts'
import { TransformAttribute } from './ike-numbers.ts'

/** An attribute this codec gives no meaning to: a number in TV form, octets in TLV form. */
export interface UnknownAttribute {
  readonly type: number
  readonly value: number | Uint8Array
}

/** Transform substructure, RFC 7296 §3.3.2. */
export interface Transform {
  /** TransformType. */
  readonly type: number
  /** From the registry of that type: Encr, Prf, Integ, Ke, SequenceNumbers. */
  readonly id: number
  /** Key Length attribute, bits. */
  readonly keyBits?: number
  /** Present only with content; a transform with an attribute not understood must not be chosen (RFC 7296 §3.3.6). */
  readonly attributes?: readonly UnknownAttribute[]
}

/** Proposal substructure, RFC 7296 §3.3.1. */
export interface Proposal {
  readonly number: number
  /** ProtocolId. */
  readonly protocol: number
  /** Empty in IKE_SA_INIT, 8 octets when rekeying an IKE SA, 4 for ESP and AH. */
  readonly spi: Uint8Array
  readonly transforms: readonly Transform[]
}

/** More than any honest peer sends; keeps a hostile one from making us build objects by the thousand. */
const MAX_PROPOSALS = 64
const MAX_TRANSFORMS = 1024

const LAST = 0
const MORE_PROPOSALS = 2
const MORE_TRANSFORMS = 3
const TV = 0x8000

/** Content of an SA payload, RFC 7296 §3.3. */
export const proposals: Codec<readonly Proposal[]> = {
  read(r) {
    const list: Proposal[] = []
    let transforms = 0
    for (let more = r.left > 0; more; ) {
      if (list.length === MAX_PROPOSALS) throw new WireError(`SA: more than ${MAX_PROPOSALS} proposals`)
      more = readMore(r, MORE_PROPOSALS, 'proposal')
      const proposal = readProposal(r)
      transforms += proposal.transforms.length
      if (transforms > MAX_TRANSFORMS) throw new WireError(`SA: more than ${MAX_TRANSFORMS} transforms`)
      list.push(proposal)
    }
    r.end('SA')
    return list
  },
  write(w, list) {
    for (const [i, proposal] of list.entries()) {
      const at = w.length
      w.u8(i === list.length - 1 ? LAST : MORE_PROPOSALS)
      w.u8(0)
      w.u16(0)
      w.u8(proposal.number)
      w.u8(proposal.protocol)
      w.u8(proposal.spi.length)
      w.u8(proposal.transforms.length)
      w.put(proposal.spi)
      for (const [j, transform] of proposal.transforms.entries())
        writeTransform(w, transform, j === proposal.transforms.length - 1)
      w.patchU16(at + 2, w.length - at)
    }
  },
}

function readProposal(outer: Reader): Proposal {
  const r = substructure(outer)
  const number = r.u8()
  const protocol = r.u8()
  const spiSize = r.u8()
  const count = r.u8()
  const spi = r.take(spiSize)
  const transforms: Transform[] = []
  for (let i = 0; i < count; i++) {
    const more = readMore(r, MORE_TRANSFORMS, 'transform')
    if (more !== i < count - 1) throw new WireError(`proposal ${number}: transform ${i + 1} of ${count} marked wrong`)
    transforms.push(readTransform(r))
  }
  r.end('proposal')
  return { number, protocol, spi, transforms }
}

function readTransform(outer: Reader): Transform {
  const r = substructure(outer)
  const type = r.u8()
  r.skip(1)
  const id = r.u16()
  let keyBits: number | undefined
  let attributes: UnknownAttribute[] | undefined
  while (r.left > 0) {
    const head = r.u16()
    const field = r.u16()
    if (head === (TV | TransformAttribute.KEY_LENGTH) && keyBits === undefined) keyBits = field
    else {
      attributes ??= []
      attributes.push({ type: head & ~TV, value: head & TV ? field : r.take(field) })
    }
  }
  const transform: { type: number; id: number; keyBits?: number; attributes?: readonly UnknownAttribute[] } = {
    type,
    id,
  }
  if (keyBits !== undefined) transform.keyBits = keyBits
  if (attributes !== undefined) transform.attributes = attributes
  return transform
}

function writeTransform(w: Writer, transform: Transform, last: boolean): void {
  const at = w.length
  w.u8(last ? LAST : MORE_TRANSFORMS)
  w.u8(0)
  w.u16(0)
  w.u8(transform.type)
  w.u8(0)
  w.u16(transform.id)
  if (transform.keyBits !== undefined) {
    w.u16(TV | TransformAttribute.KEY_LENGTH)
    w.u16(transform.keyBits)
  }
  for (const { type, value } of transform.attributes ?? []) {
    if (typeof value === 'number') {
      w.u16(TV + type) // a type beyond 15 bits throws here
      w.u16(value)
    } else {
      w.u15(type)
      w.u16(value.length)
      w.put(value)
    }
  }
  w.patchU16(at + 2, w.length - at)
}

/** "Last Substruc": 0 for the last, else the fixed number that says another one follows. */
function readMore(r: Reader, another: number, what: string): boolean {
  const value = r.u8()
  if (value !== LAST && value !== another) throw new WireError(`${what}: last-substructure octet ${value}`)
  r.skip(1)
  return value === another
}

/** What a length field covers that counts itself and the two octets before it. */
function substructure(r: Reader): Reader {
  const length = r.u16()
  return r.sub(length - 4)
}
