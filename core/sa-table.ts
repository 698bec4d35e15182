import type { Flow } from './contracts/net.ts'
import { Deadlines } from './deadlines.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import type { HalfOpen } from './ike/responder.ts'
import { Flag, type IkeHeader, parseAddress } from './wire/index.ts'

/** All IKE SAs of one build: found by what a message says of itself, and by when they are next due. */
export class SaTable {
  /** By the SPI this host chose: a message names it in one of the two fields. */
  readonly #bySpi = new Map<bigint, IkeSa>()
  /** Responder SAs that wait for IKE_AUTH, by what identifies their first request, to answer its retransmissions. */
  readonly #halfOpen = new Map<string, IkeSa>()
  readonly #halfOpenKeys = new Map<IkeSa, { readonly key: string; readonly from: string }>()
  /** How many of them there are from each source. */
  readonly #bySource = new Map<string, number>()
  readonly #due = new Deadlines<IkeSa>()

  halfOpen(flow: Flow): HalfOpen {
    return { all: this.#halfOpen.size, fromThere: this.#bySource.get(source(flow)) ?? 0 }
  }

  add(sa: IkeSa): void {
    this.#bySpi.set(sa.ownSpi, sa)
  }

  addHalfOpen(sa: IkeSa, { initiatorSpi }: IkeHeader, flow: Flow): void {
    this.add(sa)
    const key = firstRequest(initiatorSpi, flow)
    const from = source(flow)
    this.#halfOpen.set(key, sa)
    this.#halfOpenKeys.set(sa, { key, from })
    this.#bySource.set(from, (this.#bySource.get(from) ?? 0) + 1)
  }

  /** It has finished IKE_AUTH, or is forgotten: one whose peer failed counts as long as it is remembered. */
  leaveHalfOpen(sa: IkeSa): void {
    const known = this.#halfOpenKeys.get(sa)
    if (known === undefined) return
    const { key, from } = known
    this.#halfOpen.delete(key)
    this.#halfOpenKeys.delete(sa)
    const left = this.#bySource.get(from)! - 1
    if (left > 0) this.#bySource.set(from, left)
    else this.#bySource.delete(from)
  }

  delete(sa: IkeSa): void {
    this.leaveHalfOpen(sa)
    this.#bySpi.delete(sa.ownSpi)
    this.#due.set(sa, Infinity)
  }

  /** The SA a message belongs to, by its SPIs; the sender's role tells which of the two is ours. */
  find({ flags, initiatorSpi, responderSpi }: IkeHeader, flow: Flow): IkeSa | undefined {
    const ours = (flags & Flag.INITIATOR) !== 0 ? responderSpi : initiatorSpi
    return ours === 0n ? this.#halfOpen.get(firstRequest(initiatorSpi, flow)) : this.#bySpi.get(ours)
  }

  get deadline(): number {
    return this.#due.next
  }

  /** To be called after anything happened to the SA. */
  reschedule(sa: IkeSa): void {
    this.#due.set(sa, sa.deadline)
  }

  takeDue(now: number): IkeSa | undefined {
    return this.#due.take(now)
  }
}

const firstRequest = (spi: bigint, { remote }: Flow): string => `${spi}/${remote.address}/${remote.port}`

/** Who may be one attacker: an IPv4 address, or what one host of IPv6 can take addresses from. */
function source({ remote: { address } }: Flow): string {
  return address.includes(':') ? parseAddress(address)!.subarray(0, 8).join('.') : address
}
