import type { Flow } from './contracts/net.ts'
import { Deadlines } from './deadlines.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import { Flag, type IkeHeader } from './wire/index.ts'

/** All IKE SAs of one build: found by what a message says of itself, and by when they are next due. */
export class SaTable {
  /** By the SPI this host chose: a message names it in one of the two fields. */
  readonly #bySpi = new Map<bigint, IkeSa>()
  /** Responder SAs that wait for IKE_AUTH, by what identifies their first request, to answer its retransmissions. */
  readonly #halfOpen = new Map<string, IkeSa>()
  readonly #halfOpenKeys = new Map<IkeSa, string>()
  readonly #due = new Deadlines<IkeSa>()

  get halfOpen(): number {
    return this.#halfOpen.size
  }

  add(sa: IkeSa): void {
    this.#bySpi.set(sa.ownSpi, sa)
  }

  addHalfOpen(sa: IkeSa, { initiatorSpi }: IkeHeader, flow: Flow): void {
    this.add(sa)
    const key = firstRequest(initiatorSpi, flow)
    this.#halfOpen.set(key, sa)
    this.#halfOpenKeys.set(sa, key)
  }

  /** It has finished IKE_AUTH, or ended. */
  leaveHalfOpen(sa: IkeSa): void {
    const key = this.#halfOpenKeys.get(sa)
    if (key === undefined) return
    this.#halfOpen.delete(key)
    this.#halfOpenKeys.delete(sa)
  }

  delete(sa: IkeSa): void {
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
