import { fixIpv4Checksum, getU16, getU32, setU16, setU32 } from '../../core/wire/index.ts'
import { fragmentOffset, isIpv6, moreFragments, payloadAt } from './packet.ts'

/**
 * Cuts a packet into fragments of at most `mtu` octets, RFC 791 §3.2 and RFC 8200 §4.5.
 *
 * @param id - identification for IPv6; IPv4 has one in its header
 */
export function fragment(p: Uint8Array, mtu: number, id: number): Uint8Array[] {
  const v6 = isIpv6(p)
  const from = payloadAt(p)
  const header = v6 ? 48 : from
  const room = (mtu - header) & ~7
  const first = fragmentOffset(p)
  const fragments: Uint8Array[] = []
  for (let at = from; at < p.length; at += room) {
    const part = p.subarray(at, Math.min(at + room, p.length))
    const more = at + room < p.length || moreFragments(p)
    const piece = new Uint8Array(header + part.length)
    piece.set(p.subarray(0, v6 ? 40 : header))
    piece.set(part, header)
    if (v6) {
      setU16(piece, 4, piece.length - 40)
      piece[40] = piece[6]!
      piece[6] = 44
      setU16(piece, 42, (at - from) | (more ? 1 : 0))
      setU32(piece, 44, id)
    } else {
      setU16(piece, 2, piece.length)
      setU16(piece, 6, ((first + at - from) >> 3) | (more ? 0x2000 : 0))
      fixIpv4Checksum(piece, 0)
    }
    fragments.push(piece)
  }
  return fragments
}

interface Pending {
  readonly since: number
  readonly parts: Map<number, Uint8Array>
  have: number
  /** Octets of the whole payload; known with the last fragment. */
  total: number
}

/** RFC 791 gives 15 s as a start, RFC 8200 §4.5 demands 60 s; Linux uses 30 s. */
const TIMEOUT = 30_000
const MAX_PENDING = 64

/** Puts fragments together, in whatever order they come. Overlaps are dropped, as RFC 8200 §4.5 wants. */
export class Reassembler {
  readonly #pending = new Map<string, Pending>()

  /** @returns the whole packet once it is complete, in memory of its own */
  add(p: Uint8Array, now: number): Uint8Array | undefined {
    const v6 = isIpv6(p)
    const key = String.fromCharCode(...(v6 ? p.subarray(8, 40) : p.subarray(12, 20)), v6 ? p[40]! : p[9]!) + idOf(p, v6)
    let pending = this.#pending.get(key)
    if (pending === undefined || now - pending.since > TIMEOUT) {
      pending = { since: now, parts: new Map(), have: 0, total: -1 }
      this.#pending.delete(key)
      this.#pending.set(key, pending)
      const [oldest] = this.#pending.keys()
      if (this.#pending.size > MAX_PENDING && oldest !== undefined) this.#pending.delete(oldest)
    }
    const offset = fragmentOffset(p)
    const length = p.length - payloadAt(p)
    if (pending.parts.has(offset) || offset + length > 0xffff) return undefined
    pending.parts.set(offset, p)
    pending.have += length
    if (!moreFragments(p)) pending.total = offset + length
    if (pending.have !== pending.total) return undefined
    this.#pending.delete(key)
    return join(pending)
  }
}

const idOf = (p: Uint8Array, v6: boolean): number => (v6 ? getU32(p, 44) : getU16(p, 4))

function join({ parts, total }: Pending): Uint8Array | undefined {
  const first = parts.get(0)
  if (first === undefined) return undefined
  const v6 = isIpv6(first)
  const header = v6 ? 40 : payloadAt(first)
  const whole = new Uint8Array(header + total)
  whole.set(first.subarray(0, header))
  for (const [offset, part] of parts) {
    const data = part.subarray(payloadAt(part))
    if (offset + data.length > total) return undefined
    whole.set(data, header + offset)
  }
  if (v6) {
    whole[6] = first[40]!
    setU16(whole, 4, total)
  } else {
    setU16(whole, 2, whole.length)
    setU16(whole, 6, 0)
    fixIpv4Checksum(whole, 0)
  }
  return whole
}
