import 'reflect-metadata'
import type { Facts } from '../../core/contracts/facts.ts'
import type { IkeTask } from '../../core/contracts/ike-task.ts'
import { type Plugin, STRATEGY } from '../../core/contracts/plugin.ts'
import type { Service, ServiceContext } from '../../core/contracts/service.ts'
import type { Assessment, PathStrategy, Problem } from '../../core/contracts/strategy.ts'
import { systemInterfaces } from './disclose.ts'
import { Links } from './links.ts'
import { type IkeMeOptions, parseOptions, type Settings } from './options.ts'
import { MediationService } from './service.ts'
import { MediationTask } from './tasks.ts'

export type { Disclosure, HardNatOptions, IkeMeOptions, MediationRule } from './options.ts'

/** Finds a peer through a mediation server that both are registered with: the path strategy, and that server. */
export class IkeMe implements PathStrategy {
  readonly slot = 'path'
  readonly name = 'ike-me'
  readonly solves: readonly Problem[] = ['inbound']
  readonly finds = ['mediatedBy', 'mediationAltered', 'relayed']
  readonly needs = 'the mediation server is there, the peer is registered with it, and the NATs let a path be found'
  readonly #links = new Links()
  readonly #settings: Settings
  readonly #interfaces: () => ReadonlyMap<string, string>

  /** @throws ConfigError */
  constructor(options: IkeMeOptions = {}) {
    this.#settings = parseOptions(options)
    this.#interfaces = options.interfaces ?? systemInterfaces
  }

  assess(facts: Facts): Assessment {
    const by = facts['mediatedBy']?.value
    if (by === false) return { usable: false, why: 'nobody mediates (options.ike-me.by of the peer)' }
    const cost = { octets: 0, roundTrips: 3, trusts: [] }
    const why = `${by ?? 'a server'} tells both ends where the other one is; it learns their endpoints, not their keys`
    return { usable: true, cost, why }
  }

  serve(context: ServiceContext): Service {
    return new MediationService(context, this.#links, this.#settings, this.#interfaces)
  }

  tasks(): readonly IkeTask[] {
    return [new MediationTask(this.#links)]
  }
}

/** IKE-ME, the IKEv2 Mediation Extension (draft-brunner-ikev2-mediation-00), as strongSwan speaks it. */
export const ikeMe = (options: IkeMeOptions = {}): Plugin => {
  const strategy = new IkeMe(options)
  return {
    name: 'ike-me',
    api: 1,
    register: container => {
      container.register(STRATEGY, { useValue: strategy })
    },
  }
}
