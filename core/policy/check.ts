import type { Fact, Facts, FactValue } from '../contracts/facts.ts'
import type { Finding, Reach } from '../contracts/natweave.ts'
import type { ChildSettings, PeerSettings, RuleSettings, Settings } from '../contracts/settings.ts'
import { type Plan, SLOTS, type Strategy } from '../contracts/strategy.ts'
import { suggestion } from '../nearest.ts'
import { ahObstacle } from './ah.ts'
import { choose, showPlan, type Wanted } from './choose.ts'
import { conditionOf, holds, implies, impossible } from './condition.ts'
import { derive } from './derived.ts'
import { decides, rulesFor } from './rules.ts'

/** What can be proved of rules and peers without a network: by trying every combination of facts that policy looks at. */

/** Facts that core itself finds out, beside those of detectors and strategies. */
const OWN_FACTS = [
  'outerFamily',
  'innerPair',
  'forceEncapsulation',
  'plainEspPossible',
  'mobike',
  'network',
  'addressesOverlap',
  'bothBehindNat',
  'remoteKnown',
  'sinceSuccess',
]

/** Combinations of facts looked at for one child before the answer is that it cannot be told. */
const MAX_WORLDS = 20_000
/** Cases without a plan among which the simplest is looked for. */
const MAX_TOLD = 100

export interface Checked {
  readonly settings: Settings
  readonly strategies: readonly Strategy[]
  /** Facts that detectors say they find. */
  readonly finds: readonly string[]
}

/** Rules that can never match, or that never say anything. */
export function checkPolicy({ settings, strategies, finds }: Checked): readonly Finding[] {
  const { rules, facts: told = {} } = settings.policy
  const found = [...new Set([...OWN_FACTS, ...finds, ...strategies.flatMap(s => s.finds ?? [])])]
  return rules.flatMap((rule, i) => {
    const findings: Finding[] = []
    for (const [name, wanted] of Object.entries(rule.when)) {
      const at = `${rule.at}.when.${name}`
      const never = (why: string): void =>
        void findings.push({ severity: 'warning', at, problem: `the rule can never match: ${why}` })
      const contradiction = impossible(wanted)
      if (contradiction !== undefined) never(contradiction)
      else if (!found.includes(name)) {
        const values = valuesTold(name, told, rule, settings)
        const names = [...found, ...Object.keys(told)]
        if (values.length === 0)
          never(`nothing loaded finds ${name}, and the configuration does not tell it${suggestion(name, names)}`)
        else if (!values.some(value => holds(wanted, value)))
          never(`${name} is ${values.join(' or ')} by the configuration, and nothing loaded finds anything else`)
      }
    }
    const shadow = shadowOf(rule, rules.slice(0, i), strategies)
    if (shadow !== undefined)
      findings.push({
        severity: 'warning',
        at: rule.at,
        problem: `it never says anything: ${shadow.at} comes first and decides the same slots`,
      })
    return findings
  })
}

/** What the configuration says of a fact for the peers of a rule. */
function valuesTold(
  name: string,
  told: Readonly<Record<string, FactValue>>,
  { peers }: RuleSettings,
  settings: Settings,
): FactValue[] {
  const spoken = Object.values(settings.peers).filter(peer => peers.length === 0 || peers.includes(peer.name))
  return [...new Set(spoken.flatMap(peer => peer.facts?.[name] ?? told[name] ?? []))]
}

/** An earlier rule that matches whenever this one does and has decided all that this one speaks of. */
function shadowOf(
  rule: RuleSettings,
  earlier: readonly RuleSettings[],
  strategies: readonly Strategy[],
): RuleSettings | undefined {
  if (rule.prefer.length > 0 || rule.use.length + rule.avoid.length === 0) return undefined
  const slots = SLOTS.filter(
    slot => decides(rule, slot, strategies) || decides({ ...rule, use: rule.avoid }, slot, strategies),
  )
  const covers = (other: RuleSettings): boolean =>
    other.peers.length === 0 || (rule.peers.length > 0 && rule.peers.every(peer => other.peers.includes(peer)))
  return earlier.find(
    other =>
      covers(other) &&
      Object.entries(other.when).every(([name, wide]) => {
        const narrow = rule.when[name]
        return narrow !== undefined && implies(narrow, wide)
      }) &&
      slots.every(slot => decides(other, slot, strategies)),
  )
}

/** Whether policy has a plan for a peer whatever the facts are, and what must hold for those plans to work. */
export function reachOf(peer: PeerSettings, { settings, strategies }: Omit<Checked, 'finds'>): Reach {
  const children = Object.values(peer.children)
  const assuming = new Set<string>()
  const without: string[] = []
  let verdict: Reach['verdict'] = 'always'
  for (const child of children) {
    const { worlds, complete } = explore(peer, child, settings, strategies)
    const planned = worlds.filter(world => world.plan !== undefined)
    for (const { plan } of planned)
      for (const slot of SLOTS) {
        const part = strategies.find(s => s.slot === slot && s.name === plan![slot])!
        if (part.needs !== undefined) assuming.add(part.needs)
      }
    if (planned.length === 0) {
      verdict = 'never'
      without.push(`${child.name}: ${worlds[0]?.why ?? 'no plan'}`)
    } else if (!complete || planned.length < worlds.length) {
      if (verdict === 'always') verdict = 'sometimes'
      const bad = simplest(worlds)
      if (bad !== undefined) without.push(`${child.name}, when ${bad.when || 'nothing is known'}: ${bad.why}`)
      else without.push(`${child.name}: there are too many combinations of facts to look at all`)
    }
  }
  return { peer: peer.name, verdict, assuming: [...assuming], without }
}

type Assigned = ReadonlyMap<string, FactValue | undefined>

interface FoundWorld {
  readonly plan: Plan | undefined
  /** undefined for a fact that stays unknown. */
  readonly assigned: Assigned
  /** Why there is no plan. */
  readonly why: string
}

/** Of the cases without a plan the one that takes the fewest facts to tell. */
function simplest(worlds: readonly FoundWorld[]): { readonly when: string; readonly why: string } | undefined {
  let best: { readonly facts: Assigned; readonly why: string } | undefined
  for (const { assigned, why } of worlds.filter(({ plan }) => plan === undefined).slice(0, MAX_TOLD)) {
    const facts = sufficient(assigned, worlds)
    if (best === undefined || facts.size < best.facts.size) best = { facts, why }
  }
  return (
    best && {
      when: [...best.facts].map(([name, value]) => `${name} is ${value ?? 'unknown'}`).join(' and '),
      why: best.why,
    }
  )
}

/** As few of a case's facts as leave no case with a plan. */
function sufficient(assigned: Assigned, worlds: readonly FoundWorld[]): Assigned {
  let kept = new Map(assigned)
  for (const name of assigned.keys()) {
    const fewer = new Map(kept)
    fewer.delete(name)
    const hopeless = worlds.every(
      world =>
        world.plan === undefined ||
        [...fewer].some(([one, value]) => world.assigned.has(one) && world.assigned.get(one) !== value),
    )
    if (hopeless) kept = fewer
  }
  return kept
}

/**
 * Every combination of the facts that are asked for, and what policy makes of each. What a strategy needs of the network is
 * granted: UDP passes, IP protocol 50 passes, the peer does NAT traversal.
 */
function explore(
  peer: PeerSettings,
  child: ChildSettings,
  settings: Settings,
  strategies: readonly Strategy[],
): { worlds: readonly FoundWorld[]; complete: boolean } {
  const rules = rulesFor(settings.policy.rules, peer.name)
  const fixed = known(peer, child, settings)
  const worlds: FoundWorld[] = []
  let tried = 0
  const walk = (assigned: Assigned): boolean => {
    if (++tried > MAX_WORLDS) return false
    const facts: Record<string, Fact> = { ...fixed }
    for (const [name, value] of assigned) if (value !== undefined) facts[name] = fact(value, 'a case to consider')
    const asked = new Set<string>()
    const { encapsulation, name } = peer
    const given = derive(facts)
    const obstacle = child.protocol === 'ah' ? ahObstacle(given, [AH_SOCKET]) : undefined
    const wanted: Wanted = { peer: name, encapsulation, mode: child.mode, protocol: child.protocol ?? 'esp', obstacle }
    const [best] = choose(watched(given, asked), rules, strategies, wanted)
    if (child.protocol === 'ah') for (const side of ['localBehindNat', 'remoteBehindNat']) asked.add(side)
    const open = [...asked].find(one => given[one] === undefined && !assigned.has(one))
    if (open !== undefined) return domain(open, rules).every(value => walk(new Map([...assigned, [open, value]])))
    worlds.push({
      plan: best?.usable ? best.plan : undefined,
      assigned,
      why:
        best === undefined
          ? 'no strategy is loaded for some slot'
          : `${showPlan(best.plan)}: ${best.reasons.join(', ')}`,
    })
    return true
  }
  return { complete: walk(new Map()), worlds }
}

const AH_SOCKET = { protocol: 51, role: 'raw', address: '0.0.0.0', port: 0 } as const

/** What is certain from the configuration, or granted. */
function known(peer: PeerSettings, child: ChildSettings, settings: Settings): Facts {
  const one = ({ range }: ChildSettings['localTs'][number]): boolean =>
    range === 'dynamic' || range.bits === (range.address.includes(':') ? 128 : 32)
  const literal = peer.remote !== undefined && /^[\d.]+$|:/.test(peer.remote)
  const values: Record<string, FactValue> = {
    ...settings.policy.facts,
    ...peer.facts,
    innerPair: child.localTs.every(one) && child.remoteTs.every(one),
    remoteKnown: peer.remote !== undefined,
    udpBlocked: false,
    espBlocked: false,
    peerNatTraversal: true,
    ...(literal && { outerFamily: peer.remote!.includes(':') ? 6 : 4 }),
    ...(peer.encapsulation === 'force' && { forceEncapsulation: true }),
  }
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, fact(value, 'the configuration')]))
}

/** Values worth trying: those that rules tell apart, and for facts without a rule true and false. */
function domain(name: string, rules: readonly RuleSettings[]): (FactValue | undefined)[] {
  const conditions = rules.flatMap(rule => rule.when[name] ?? []).map(conditionOf)
  if (conditions.length === 0) return [true, false]
  const values = new Set<FactValue | undefined>([undefined])
  for (const { in: among = [], not = [], above, atLeast, below, atMost } of conditions) {
    for (const value of [...among, ...not]) values.add(value)
    for (const bound of [above, atLeast, below, atMost])
      if (bound !== undefined) for (const value of [bound - 1, bound, bound + 1]) values.add(value)
  }
  const all = [...values]
  if (all.every(value => value === undefined || typeof value === 'boolean')) return [undefined, true, false]
  // one that no rule names
  return [...all, all.some(value => typeof value === 'string') ? 'something else' : Number.MAX_SAFE_INTEGER]
}

const fact = (value: FactValue, source: string): Fact => ({ value, source, at: 0 })

/** Notes which facts are asked for and not there. */
const watched = (facts: Facts, asked: Set<string>): Facts =>
  new Proxy(facts, {
    get(target, name) {
      if (typeof name === 'string' && !(name in target)) asked.add(name)
      return Reflect.get(target, name) as unknown
    },
  })
