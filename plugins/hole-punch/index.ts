import 'reflect-metadata'
import type { Facts } from '../../core/contracts/facts.ts'
import { type Plugin, type PluginFactory, STRATEGY } from '../../core/contracts/plugin.ts'
import type { Service, ServiceContext } from '../../core/contracts/service.ts'
import type { Assessment, PathStrategy, Problem } from '../../core/contracts/strategy.ts'
import { RENDEZVOUS } from './facts.ts'
import { type HolePunchOptions, type HolePunchSettings, parseOptions } from './options.ts'
import { HolePunchService } from './service.ts'

export type { HolePunchOptions } from './options.ts'

/** Finds a peer through a rendezvous that knows where both are, and checks by STUN which way works. */
class HolePunch implements PathStrategy {
  readonly slot = 'path'
  readonly name = 'hole-punch'
  readonly solves: readonly Problem[] = ['inbound']
  readonly #settings: HolePunchSettings

  constructor(settings: HolePunchSettings) {
    this.#settings = settings
  }

  assess(facts: Facts): Assessment {
    const by = facts[RENDEZVOUS]?.value
    if (by === false)
      return { usable: false, why: 'nothing says under which name the peer is registered (options.hole-punch.name)' }
    const cost = { octets: 0, roundTrips: 3, trusts: [] }
    const why = `${by ?? 'a rendezvous'} tells both ends where the other one is; it learns their endpoints, not their keys`
    return { usable: true, cost, why }
  }

  serve(context: ServiceContext): Service {
    return new HolePunchService(context, this.#settings)
  }
}

const make = (options: Partial<HolePunchOptions> = {}): Plugin => {
  const strategy = new HolePunch(parseOptions(options))
  return {
    name: 'hole-punch',
    api: 1,
    register: container => {
      container.register(STRATEGY, { useValue: strategy })
    },
  }
}

/**
 * Hole punching by a plain rendezvous, for builds without a mediation server.
 *
 * @throws ConfigError naming the option
 */
export const holePunch: PluginFactory<Partial<HolePunchOptions>> = Object.assign(make, { secrets: ['secret'] })
