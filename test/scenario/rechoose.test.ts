import { describe, expect } from 'vitest'
import type { FactValue } from '../../core/contracts/facts.ts'
import { type Plugin, SERVICE, STRATEGY } from '../../core/contracts/plugin.ts'
import type { Service, ServiceOut } from '../../core/contracts/service.ts'
import type { RuleSettings } from '../../core/contracts/settings.ts'
import type { PathStrategy } from '../../core/contracts/strategy.ts'
import { direct } from '../../core/path/direct.ts'
import { UdpEncap } from '../../plugins/udp-encap/index.ts'
import { topologies } from '../kit/index.ts'
import { clients, drive, node, scenario, toMoon } from './support.ts'

/** What becomes known while a tunnel stands has its plan chosen again, and the move loses nothing. */

const NEVER = Number.POSITIVE_INFINITY

/** Facts at their times, from a third party. */
class Teller implements Service {
  #left: readonly Told[]

  constructor(facts: readonly Told[]) {
    this.#left = facts
  }

  get deadline(): number {
    return this.#left[0]?.[0] ?? NEVER
  }

  step(_: unknown, now: number): readonly ServiceOut[] {
    const due = this.#left.filter(([at]) => at <= now)
    this.#left = this.#left.filter(([at]) => at > now)
    return due.map(([, name, value]) => ({ type: 'fact', name, fact: { value, source: 'a third party', at: now } }))
  }
}

type Told = readonly [at: number, name: string, value: FactValue]

/** Dearer than ESP in UDP, and there when UDP is said to be blocked; on the virtual wire it looks the same. */
class Stream extends UdpEncap {
  override readonly name: never = 'stream' as never

  override assess() {
    return { usable: true, cost: { octets: 22, roundTrips: 1, trusts: [] } } as const
  }
}

/** A path that is there once somebody has said so. */
const shortcut: PathStrategy = {
  ...direct,
  name: 'shortcut',
  assess: (facts, plan) =>
    facts['shortcutOpen']?.value === true ? direct.assess(facts, plan) : { usable: false, why: 'nobody has opened it' },
}

/** A path that is there by its own account, and finds nothing. */
const deadEnd: PathStrategy = {
  ...shortcut,
  name: 'dead-end',
  serve: () => ({
    deadline: NEVER,
    step: input =>
      input.type === 'find' ? [{ type: 'failed', peer: input.peer, code: 'PATH_FAILED', why: 'a dead end' }] : [],
  }),
}

const rule = (at: string, more: Partial<RuleSettings>): RuleSettings => ({
  at,
  peers: [],
  when: {},
  use: [],
  avoid: [],
  prefer: [],
  ...more,
})

async function standing(
  seed: number,
  told: readonly Told[],
  strategies: readonly (Stream | PathStrategy)[],
  rules: readonly RuleSettings[] = [],
) {
  const t = topologies.nat1({ seed, trace: false })
  const plugin: Plugin = {
    name: 'third-party',
    api: 1,
    register: container => {
      for (const useValue of strategies) container.register(STRATEGY, { useValue })
      container.register(SERVICE, { useValue: () => new Teller(told) })
    },
  }
  const a = await node(t.net, t.alice, { peers: [toMoon()], plugins: [plugin], rules })
  const m = await node(t.net, t.moon, { peers: [clients()] })
  await a.connect('moon')
  /** Pings every 20 ms for so long. @returns how many were lost */
  const lost = async (ms: number): Promise<number> => {
    const row = t.alice.ping('10.3.0.5', { count: ms / 20, interval: 20, timeout: 1_000 })
    await t.net.until(() => row.done, { within: ms + 10_000 })
    return ms / 20 - row.received
  }
  const moves = () => a.of('progress').filter(e => e.text.startsWith('what is known has changed'))
  return { ...t, a, m, lost, moves }
}

describe('make before break', () => {
  scenario('UDP is said to be blocked: another encapsulation takes over', async seed => {
    const { a, m, lost, moves } = await standing(seed, [[5_000, 'udpBlocked', true]], [new Stream()])
    expect(a.peer('moon').plan).toMatchObject({ path: 'direct', encap: 'udp-encap' })
    const [address] = a.peer('moon').virtualAddresses
    expect(await lost(10_000)).toBe(0)
    expect(a.peer('moon').plan).toMatchObject({ path: 'direct', encap: 'stream' })
    expect(a.peer('moon').virtualAddresses).toEqual([address])
    expect(moves()).toHaveLength(1)
    // the old one is gone at both ends, and nobody was told that the tunnel was
    for (const [n, name] of [
      [a, 'moon'],
      [m, 'clients'],
    ] as const) {
      expect(n.peer(name).children).toHaveLength(1)
      expect(n.of('down')).toEqual([])
      expect(n.of('failed')).toEqual([])
    }
  })

  scenario('a path becomes known that a rule prefers', async seed => {
    const prefers = [rule('policy.rules[0]', { prefer: ['shortcut'] })]
    const { a, lost } = await standing(seed, [[5_000, 'shortcutOpen', true]], [shortcut], prefers)
    expect(a.peer('moon').plan?.path).toBe('direct')
    expect(await lost(10_000)).toBe(0)
    expect(a.peer('moon').plan?.path).toBe('shortcut')
  })

  scenario('a rule over a third party’s fact comes to hold', async seed => {
    const rules = [rule('policy.rules[0]', { when: { weather: 'storm' }, use: ['stream'] })]
    const told: Told[] = [
      [3_000, 'weather', 'fair'],
      [6_000, 'weather', 'storm'],
    ]
    const { a, net, lost, moves } = await standing(seed, told, [new Stream()], rules)
    await net.advance(5_000)
    expect(moves()).toEqual([])
    expect(await lost(5_000)).toBe(0)
    expect(a.peer('moon').plan?.encap).toBe('stream')
  })
})

describe('no flapping', () => {
  scenario('a fact that comes and goes moves the tunnel once in half a minute', async seed => {
    const told = Array.from({ length: 21 }, (_, i): Told => [5_000 + i * 1_000, 'udpBlocked', i % 2 === 0])
    const { a, net, lost, moves } = await standing(seed, told, [new Stream()])
    expect(await lost(40_000)).toBe(0)
    expect(moves()).toHaveLength(1)
    await net.advance(60_000)
    expect(a.peer('moon').plan?.encap).toBe('stream')
    expect(moves()).toHaveLength(1)
  })

  scenario('it is looked again once the calm is over, and then it moves back', async seed => {
    const told: Told[] = [
      [5_000, 'udpBlocked', true],
      [10_000, 'udpBlocked', false],
    ]
    const { a, lost, moves } = await standing(seed, told, [new Stream()])
    expect(await lost(50_000)).toBe(0)
    expect(a.peer('moon').plan?.encap).toBe('udp-encap')
    expect(moves().map(e => e.at)).toEqual([5_000, 35_000])
  })

  scenario('a plan that has failed is left alone, and the tunnel stays as it was', async seed => {
    const told = Array.from({ length: 10 }, (_, i): Told => [5_000 + i * 40_000, 'news', i])
    const prefers = [rule('policy.rules[0]', { prefer: ['dead-end'] })]
    const { a, net, lost, moves } = await standing(seed, [[4_000, 'shortcutOpen', true], ...told], [deadEnd], prefers)
    expect(await lost(10_000)).toBe(0)
    await net.advance(400_000)
    // ten looks more, and not one at the dead end
    expect(moves()).toHaveLength(1)
    expect(a.of('failed')).toEqual([])
    expect(a.peer('moon')).toMatchObject({ state: 'established', plan: { path: 'direct' } })
    await drive(net, a.natweave.disconnect('moon'))
  })
})
