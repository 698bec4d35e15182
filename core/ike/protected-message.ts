import { Flag, FRAGMENT_HEADER, GENERIC_HEADER, IKE_HEADER, type IkeHead } from '../wire/index.ts'
import type { DatagramSize } from './datagram-size.ts'
import type { Chain, Protector } from './protect.ts'
import type { Dispatch } from './session.ts'

/**
 * A message on its way out: one datagram, or several where it is too large (RFC 7383 §2.5). When it stays unanswered it is
 * cut anew, into smaller ones.
 */
export class ProtectedMessage implements Dispatch {
  readonly #protector: Protector
  readonly #head: IkeHead
  readonly #chain: Chain
  readonly #size: DatagramSize
  readonly #family: 4 | 6
  #step: number
  #datagrams: readonly Uint8Array[]

  constructor(protector: Protector, head: IkeHead, chain: Chain, size: DatagramSize, family: 4 | 6) {
    this.#protector = protector
    this.#head = head
    this.#chain = chain
    this.#size = size
    this.#family = family
    this.#step = size.step(0)
    this.#datagrams = this.#cut()
  }

  datagrams(tries: number): readonly Uint8Array[] {
    const step = this.#size.step(tries)
    if (step <= this.#step) return this.#datagrams
    this.#step = step
    const room = this.#size.room(this.#family, step)
    if (this.#datagrams.every(({ length }) => length <= room)) return this.#datagrams
    // copies of our requests tell nothing: they may come from anybody
    if ((this.#head.flags & Flag.RESPONSE) === 0) this.#size.settle(step)
    this.#datagrams = this.#cut()
    return this.#datagrams
  }

  #cut(): readonly Uint8Array[] {
    const room = this.#size.room(this.#family, this.#step)
    const { first, bytes } = this.#chain
    const protector = this.#protector
    if (IKE_HEADER + GENERIC_HEADER + protector.bodyLength(bytes.length) <= room)
      return [protector.sealChain(this.#head, this.#chain)]
    const capacity = protector.capacity(room - IKE_HEADER - GENERIC_HEADER - FRAGMENT_HEADER)
    // of equal size, so that smaller ones are always more: the total tells the peer not to mix two cuts (RFC 7383 §2.6)
    const total = Math.ceil(bytes.length / capacity)
    const at = (i: number) => Math.floor((i * bytes.length) / total)
    return Array.from({ length: total }, (_, i) =>
      protector.sealFragment(this.#head, i === 0 ? first : 0, i + 1, total, bytes.subarray(at(i), at(i + 1))),
    )
  }
}
