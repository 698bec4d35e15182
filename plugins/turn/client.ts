import type { Flow } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { Service, ServiceContext, ServiceIn, ServiceOut } from '../../core/contracts/service.ts'
import { Link } from './link.ts'
import type { TurnSettings } from './options.ts'

/** Relayed candidates from all configured servers, and the packets that go through them. */
export class TurnClient implements Service {
  readonly #links: readonly Link[]

  constructor({ crypto, rng }: ServiceContext, { servers, refreshMs }: TurnSettings) {
    this.#links = servers.map((server, i) => new Link({ crypto, rng, server, number: i + 1, refreshMs }))
  }

  get deadline(): number {
    let due = Infinity
    for (const link of this.#links) due = Math.min(due, link.deadline)
    return due
  }

  claims(packet: Packet, flow: Flow): 'mine' | Flow | undefined {
    for (const link of this.#links) {
      const claimed = link.claims(packet, flow)
      if (claimed !== undefined) return claimed
    }
    return undefined
  }

  reroute(packet: Packet, flow: Flow): Flow | 'taken' | undefined {
    for (const link of this.#links) if (link.relays(flow)) return link.wrap(packet, flow) ?? 'taken'
    return undefined
  }

  step(input: ServiceIn, now: number): readonly ServiceOut[] {
    const out: ServiceOut[] = []
    switch (input.type) {
      case 'start':
        for (const link of this.#links) link.start(out)
        break
      case 'stop':
        for (const link of this.#links) out.push(...link.stop(now))
        break
      case 'timeout':
        for (const link of this.#links) out.push(...link.timeout(now))
        break
      case 'locals':
        for (const link of this.#links) link.setLocals(input.locals, now, out)
        break
      case 'resolved':
        this.#links[Number(input.tag) - 1]?.resolved(input.addresses, input.source, now, out)
        break
      case 'datagram':
        for (const link of this.#links) out.push(...link.datagram(input.bytes, input.flow, now))
        break
    }
    return out
  }
}
