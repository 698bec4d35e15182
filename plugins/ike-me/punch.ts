import type { Rng } from '../../core/contracts/machine.ts'
import { type Endpoint, type Flow, sameEndpoint } from '../../core/contracts/net.ts'
import { isReachable, Pacer, RandomPorts } from '../../core/path/index.ts'

/**
 * Finding each other by chance, when one NAT takes random ports and the other lets in only whom it has sent to. The end
 * behind the first sends from many sockets to the one port of the other; that one sends to random ports of the address that
 * the first has offered. What gets through is an ordinary check.
 */

/** Message ID of these checks: no pair of a list has it. */
export const PUNCH_NUMBER = 0xffff_ffff
/** A packet of each socket may have been lost. */
const AGAIN_MS = 1_000

/** Opens many ports towards one endpoint. */
export class Opener {
  readonly #target: Endpoint
  readonly #pacer: Pacer
  readonly #sockets: { readonly local: Endpoint; sent: number; at: number }[] = []
  #deadline = Infinity

  constructor(target: Endpoint, perSecond: number) {
    this.#target = target
    this.#pacer = new Pacer(perSecond, Math.ceil(perSecond / 50))
  }

  get sockets(): readonly Endpoint[] {
    return this.#sockets.map(({ local }) => local)
  }

  add(local: Endpoint, now: number): void {
    this.#sockets.push({ local, sent: 0, at: now })
    this.#deadline = Math.min(this.#deadline, now)
  }

  get deadline(): number {
    return this.#deadline
  }

  /** One that is used now: it stays when the others are closed. */
  release(local: Endpoint): void {
    const at = this.#sockets.findIndex(s => sameEndpoint(s.local, local))
    if (at >= 0) this.#sockets.splice(at, 1)
  }

  /** Flows to send a check on now. */
  due(now: number): Flow[] {
    const flows: Flow[] = []
    for (const socket of this.#sockets) {
      if (socket.at > now) continue
      if (!this.#pacer.take(now)) break
      socket.at = ++socket.sent < 2 ? now + AGAIN_MS : Infinity
      flows.push({ protocol: 17, local: socket.local, remote: this.#target })
    }
    const due = this.#sockets.reduce((least, { at }) => Math.min(least, at), Infinity)
    this.#deadline = due === Infinity ? due : Math.max(due, this.#pacer.freeAt(now))
    return flows
  }
}

/** Sends to random ports of one address, each once, until the budget is spent. */
export class Sprayer {
  readonly #base: Endpoint
  readonly #address: string
  readonly #ports: RandomPorts
  readonly #pacer: Pacer
  #left: number
  #deadline: number

  /** @param probes - packets at most */
  constructor(
    base: Endpoint,
    address: string,
    rng: Rng,
    { probes, perSecond, now }: { readonly probes: number; readonly perSecond: number; readonly now: number },
  ) {
    this.#base = base
    this.#address = address
    this.#ports = new RandomPorts(rng)
    this.#pacer = new Pacer(perSecond, Math.ceil(perSecond / 50))
    this.#left = isReachable({ address, port: 1 }) ? probes : 0
    this.#deadline = this.#left > 0 ? now : Infinity
  }

  get deadline(): number {
    return this.#deadline
  }

  due(now: number): Flow[] {
    const flows: Flow[] = []
    while (this.#left > 0 && this.#pacer.take(now)) {
      const port = this.#ports.next()
      this.#left = port === undefined ? 0 : this.#left - 1
      if (port !== undefined) flows.push({ protocol: 17, local: this.#base, remote: { address: this.#address, port } })
    }
    this.#deadline = this.#left > 0 ? this.#pacer.freeAt(now) : Infinity
    return flows
  }
}
