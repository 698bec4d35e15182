import { DEFAULT_FRAGMENT_SIZE, type IkeSettings } from '../contracts/settings.ts'
import { NotifyType, type Payload } from '../wire/index.ts'
import type { IkeSa } from './ike-sa.ts'
import { findNotify, notify } from './notify.ts'

/** Headers of IPv6 and UDP, non-ESP marker, and what a relay may add (a TURN channel header). */
const AROUND = 40 + 8 + 4 + 4
/** Every IPv6 path carries that much, nearly every IPv4 path too; every IPv4 host takes the other (RFC 7383 §2.5.1). */
const SAFE = { 6: [1_280], 4: [1_280, 576] } as const
/** A request is sent again that often before the silence is put down to its size. */
const TRIES_A_STEP = 2

/**
 * How large the datagrams of one IKE SA, and of those that replace it, may be: path MTU discovery by trying, RFC 7383
 * §2.5.2. What was found stays.
 */
export class DatagramSize {
  /** Both ends do IKE fragmentation. */
  enabled = false
  readonly #largest: number
  #step = 0
  /** Octets of the peer's largest fragment, when its last message came in some: that much gets through to here. */
  #heard = Infinity

  constructor({ fragmentSize = DEFAULT_FRAGMENT_SIZE }: IkeSettings) {
    this.#largest = fragmentSize
  }

  /** Octets of IKE, without what is around it, in the smallest datagrams there is a reason for. */
  room(family: 4 | 6, step: number): number {
    if (!this.enabled) return Infinity
    const sizes = [this.#largest, ...SAFE[family].filter(size => size < this.#largest)]
    return Math.min(sizes[Math.min(step, sizes.length - 1)]! - AROUND, this.#heard)
  }

  /** From which step on a message is tried. @param tries - how often it was sent already */
  step(tries: number): number {
    return this.#step + Math.floor(tries / TRIES_A_STEP)
  }

  /** A request is sent in smaller datagrams now: those after it start with these. */
  settle(step: number): void {
    this.#step = Math.max(this.#step, step)
  }

  /**
   * The peer has cut a message into such fragments, or none: it may know the path better. Never below what every host takes.
   * @param octets - of its largest fragment
   */
  heard(octets: number | undefined): void {
    this.#heard = octets === undefined ? Infinity : Math.max(octets, 576 - AROUND)
  }
}

/** For IKE_SA_INIT of either side, RFC 7383 §2.3. */
export const offerFragmentation = ({ fragmentSize = DEFAULT_FRAGMENT_SIZE }: IkeSettings): Payload[] =>
  fragmentSize === 0 ? [] : [notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED)]

/** What the peer's IKE_SA_INIT says of it. @returns whether both ends do it */
export function agreeFragmentation(sa: IkeSa, payloads: readonly Payload[]): boolean {
  const offered = findNotify(payloads, NotifyType.IKEV2_FRAGMENTATION_SUPPORTED) !== undefined
  sa.size.enabled = offered && sa.host.timers.fragmentSize !== 0
  return sa.size.enabled
}
