import type { ChildSaSpec, EspKeys, Lifetime } from './contracts/data-plane.ts'
import type { ChildStatus } from './contracts/natweave.ts'
import type { Flow } from './contracts/net.ts'
import type { ManualKeys, ManualSettings } from './contracts/settings.ts'
import type { ModeStrategy, Selector } from './contracts/strategy.ts'
import type { LocalEndpoint } from './contracts/transport.ts'
import { showProposal } from './ike/proposal.ts'
import { espProposal } from './ike/selection.ts'
import { fromSettings, host, showSelector } from './ike/selectors.ts'
import type { PortablePlane } from './ipsec/portable-plane.ts'
import { isAh } from './ipsec/transforms.ts'
import { none, rawFlow } from './path/none.ts'

/** What the engine has for manual SAs. */
export interface ManualRim {
  readonly plane: PortablePlane
  mode(name: string): ModeStrategy | undefined
  locals(): readonly LocalEndpoint[]
}

export interface ManualProblem {
  readonly name: string
  readonly code: string
  readonly why: string
}

interface Entry {
  readonly settings: ManualSettings
  readonly local: readonly Selector[]
  readonly remote: readonly Selector[]
  /** When it was installed; undefined: it is not. */
  since: number | undefined
  problem: string | undefined
}

const FOREVER: Lifetime = {
  softMs: Infinity,
  hardMs: Infinity,
  softOctets: Infinity,
  hardOctets: Infinity,
  softPackets: Infinity,
  hardPackets: Infinity,
}

const NOTHING = { packetsIn: 0, octetsIn: 0, packetsOut: 0, octetsOut: 0, drops: {}, lastIn: 0, lastOut: 0 } as const

/** SAs with keys from the configuration: no IKE, no rekeying, no encapsulation. */
export class ManualSas {
  readonly #rim: ManualRim
  readonly #entries: readonly Entry[]

  constructor(settings: Readonly<Record<string, ManualSettings>>, rim: ManualRim) {
    this.#rim = rim
    this.#entries = Object.values(settings).map(one => ({
      settings: one,
      local: fromSettings(one.localTs, [host(one.local)]),
      remote: fromSettings(one.remoteTs, [host(one.remote)]),
      since: undefined,
      problem: undefined,
    }))
  }

  spiInUse(spi: number): boolean {
    return this.#entries.some(({ settings }) => settings.inbound.spi === spi)
  }

  /** Those that stand. */
  get installed(): readonly Pick<ChildSaSpec, 'local' | 'remote'>[] {
    return this.#entries.filter(({ since }) => since !== undefined)
  }

  /** Installs those whose outer address is there by now. @returns what is wrong with others, each reason once */
  install(now: number): readonly ManualProblem[] {
    const problems: ManualProblem[] = []
    for (const entry of this.#entries) {
      if (entry.since !== undefined) continue
      const problem = this.#install(entry, now)
      if (problem === undefined) entry.since = now
      else if (problem.why !== entry.problem) problems.push({ name: entry.settings.name, ...problem })
      entry.problem = problem?.why
    }
    return problems
  }

  #install({ settings, local, remote }: Entry, now: number): Omit<ManualProblem, 'name'> | undefined {
    const { name, suite, replayWindow, ahAlign } = settings
    const ends = { local: { address: settings.local, port: 0 }, remote: { address: settings.remote, port: 0 } }
    const protocol = isAh(suite) ? 51 : 50
    const flow = rawFlow(protocol, ends, this.#rim.locals())
    if (flow === undefined)
      return { code: 'PLAN_ENDPOINT', why: `nothing here sends IP protocol ${protocol} from ${settings.local}` }
    const strategy = this.#rim.mode(settings.mode)
    if (strategy === undefined) return { code: 'PLAN_NONE', why: `no mode ${settings.mode} is loaded` }
    const context = { local, remote, initiator: true, facts: {}, flow: (): Flow => flow }
    const refusal = strategy.refuses?.(context)
    if (refusal !== undefined) return { code: 'PLAN_NONE', why: `${settings.mode} mode: ${refusal}` }
    const spec: ChildSaSpec = {
      id: idOf(settings),
      peer: name,
      owner: idOf(settings),
      child: name,
      plan: { path: 'direct', encap: none.name, mode: settings.mode },
      suite,
      inbound: keys(settings.inbound),
      outbound: keys(settings.outbound),
      mode: strategy.create(context),
      encap: none,
      flow,
      local,
      remote,
      lifetime: FOREVER,
      replayWindow,
      ahAlign,
      follow: false,
    }
    const refused = this.#rim.plane.refuses(spec)
    if (refused !== undefined) return { code: 'PLANE_REFUSED', why: refused }
    this.#rim.plane.install(spec, { outbound: true }, now)
    return undefined
  }

  status(now: number): readonly ChildStatus[] {
    return this.#entries.map(({ settings, local, remote, since }) => ({
      id: idOf(settings),
      name: settings.name,
      state: since === undefined ? 'connecting' : 'installed',
      mode: settings.mode,
      encap: none.name,
      plane: since === undefined ? 'none' : this.#rim.plane.name,
      suite: showProposal(espProposal(settings.suite)),
      spiIn: hex(settings.inbound.spi),
      spiOut: hex(settings.outbound.spi),
      local: local.map(showSelector),
      remote: remote.map(showSelector),
      counters: this.#rim.plane.counters(idOf(settings)) ?? NOTHING,
      ageMs: since === undefined ? 0 : now - since,
    }))
  }
}

const idOf = ({ name }: ManualSettings): string => `manual/${name}`
const keys = (given: ManualKeys): EspKeys => ({ ...given, salt: new Uint8Array(0) })
const hex = (spi: number): string => spi.toString(16).padStart(8, '0')
