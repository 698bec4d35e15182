import { type Endpoint, sameEndpoint, showEndpoint } from '../../core/contracts/net.ts'
import { judgeAllocation, portRun } from './allocation.ts'
import type { Behaviour, NatKind, StunFacts } from './facts.ts'
import type { ProbeRecord } from './probe.ts'

/** From evidence to verdicts, without a clock and without I/O. */

/** One fact, with what speaks for it. */
export type Verdict = {
  readonly [K in keyof StunFacts]: {
    readonly fact: K
    /** Undefined: the evidence does not decide. */
    readonly value: StunFacts[K] | undefined
    /** 0 to 1: how probable it is that no loss or accident feigned this. */
    readonly confidence: number
    /** In words, the rule that led to the verdict. */
    readonly rule: string
    /** Names of the probes that it rests on. */
    readonly evidence: readonly string[]
  }
}[keyof StunFacts]

/** What a lifetime probe waited, ms, by the probe's name. */
export type Waits = ReadonlyMap<string, number>

/** @param loss - probability that a request or its answer is lost */
export function classify(records: readonly ProbeRecord[], loss: number, waits: Waits): readonly Verdict[] {
  const evidence = new Evidence(records, loss)
  const first = evidence.get('I')
  if (first === undefined) return []
  if (first.outcome.type !== 'answered') return [natKind(evidence)]
  const mapping = mappingBehaviour(evidence)
  const filtering = filteringBehaviour(evidence)
  const translated = !sameEndpoint(first.local, first.outcome.mapped)
  return [
    natKind(evidence),
    mapping,
    filtering,
    ...(translated ? [hairpin(evidence, mapping.value, filtering.value), ...allocation(evidence)] : []),
    ...fragments(evidence),
    ...lifetime(evidence, waits),
  ]
}

class Evidence {
  readonly records: readonly ProbeRecord[]
  readonly #byName: ReadonlyMap<string, ProbeRecord>
  readonly #loss: number

  constructor(records: readonly ProbeRecord[], loss: number) {
    this.records = records
    this.#byName = new Map(records.map(record => [record.name, record]))
    this.#loss = loss
  }

  get(name: string): ProbeRecord | undefined {
    return this.#byName.get(name)
  }

  /** The mapped address that an answered probe brought. */
  mapped(name: string): Endpoint | undefined {
    const outcome = this.get(name)?.outcome
    return outcome?.type === 'answered' ? outcome.mapped : undefined
  }

  /** True: answered; false: silence that counts; undefined: not asked, refused, or stopped too early. */
  answered(name: string): boolean | undefined {
    const record = this.get(name)
    switch (record?.outcome.type) {
      case 'answered':
        return true
      case 'silent':
        return false
      default:
        return undefined
    }
  }

  /** Silence of these probes is no accident with this probability; answers are none. */
  confidence(names: readonly string[]): number {
    return names.reduce((product, name) => {
      const record = this.get(name)
      return record?.outcome.type === 'silent' ? product * (1 - this.#loss ** record.sent) : product
    }, 1)
  }

  verdict<K extends keyof StunFacts>(
    fact: K,
    value: StunFacts[K] | undefined,
    rule: string,
    evidence: readonly string[],
  ): Extract<Verdict, { readonly fact: K }> {
    const confidence = value === undefined ? 0 : this.confidence(evidence)
    return { fact, value, confidence, rule, evidence } as Extract<Verdict, { readonly fact: K }>
  }
}

/** The decision table of RFC 3489 §10.1. */
function natKind(evidence: Evidence): Verdict {
  const say = (value: NatKind | undefined, rule: string, names: readonly string[]): Verdict =>
    evidence.verdict('localNatKind', value, rule, names)
  const first = evidence.get('I')!
  const mapped = evidence.mapped('I')
  if (first.outcome.type === 'silent') return say('udp-blocked', 'test I: no answer', ['I'])
  if (mapped === undefined) return say(undefined, 'test I brought no mapped address', ['I'])
  const second = evidence.answered('II')
  const seen = `test I: ${showEndpoint(mapped)}`
  if (sameEndpoint(first.local, mapped)) {
    if (second === undefined) return say(undefined, `${seen} is the local address; test II cannot be made`, ['I'])
    return second
      ? say('none', `${seen} is the local address; test II answered`, ['I', 'II'])
      : say('symmetric-firewall', `${seen} is the local address; test II silent`, ['I', 'II'])
  }
  const behind = `${seen} is not the local ${showEndpoint(first.local)}`
  if (second === true) return say('full-cone', `${behind}; test II answered`, ['I', 'II'])
  const again = evidence.mapped('I′')
  if (again !== undefined && !sameEndpoint(again, mapped))
    return say('symmetric', `${behind}; test I′ to another address: ${showEndpoint(again)}`, ['I', 'II', 'I′'])
  if (again === undefined || second === undefined)
    return say(undefined, `${behind}; ${again === undefined ? 'test I′ brought nothing' : 'test II cannot be made'}`, [
      'I',
    ])
  const third = evidence.answered('III')
  const same = `${behind}; test II silent; test I′: the same address`
  const names = ['I', 'II', 'I′', 'III']
  if (third === undefined) return say(undefined, `${same}; test III cannot be made`, names)
  return third
    ? say('restricted-cone', `${same}; test III answered`, names)
    : say('port-restricted-cone', `${same}; test III silent`, names)
}

/** RFC 5780 §4.3. */
function mappingBehaviour(evidence: Evidence): Extract<Verdict, { readonly fact: 'localNatMapping' }> {
  const say = (value: Behaviour | 'none' | undefined, rule: string, names: readonly string[]) =>
    evidence.verdict('localNatMapping', value, rule, names)
  const first = evidence.mapped('I')!
  if (sameEndpoint(first, evidence.get('I')!.local)) return say('none', 'the mapped address is the local one', ['I'])
  const address = evidence.mapped('mapping-address')
  const both = evidence.mapped('I′')
  if (address === undefined) {
    if (both === undefined) return say(undefined, 'no second address was reached', ['I'])
    return sameEndpoint(both, first)
      ? say('endpoint-independent', 'towards another address and port: the same mapped address', ['I', 'I′'])
      : say(undefined, 'differs towards another address and port; towards the address alone is unknown', ['I', 'I′'])
  }
  const names = ['I', 'mapping-address']
  if (sameEndpoint(address, first)) return say('endpoint-independent', 'towards another address: the same', names)
  if (both === undefined)
    return say(undefined, 'towards another address: another one; its second port is silent', names)
  return sameEndpoint(both, address)
    ? say('address-dependent', 'towards another address: another one, for both its ports', [...names, 'I′'])
    : say('address-and-port-dependent', 'towards each address and port: another one', [...names, 'I′'])
}

/** RFC 5780 §4.4. */
function filteringBehaviour(evidence: Evidence): Extract<Verdict, { readonly fact: 'localNatFiltering' }> {
  const say = (value: Behaviour | undefined, rule: string) =>
    evidence.verdict('localNatFiltering', value, rule, ['II', 'III'])
  const both = evidence.answered('II')
  const port = evidence.answered('III')
  if (both === true) return say('endpoint-independent', 'an answer from another address and port came in')
  if (both === undefined || port === undefined) return say(undefined, 'the server does not answer from another address')
  return port
    ? say('address-dependent', 'an answer from another port came in, from another address none')
    : say('address-and-port-dependent', 'answers from another address or port did not come in')
}

/** RFC 5780 §4.5; both ends have sent to each other, so that most filters are open. */
function hairpin(
  evidence: Evidence,
  mapping: Behaviour | 'none' | undefined,
  filtering: Behaviour | undefined,
): Verdict {
  const names = ['hairpin', 'hairpin-back']
  const say = (value: boolean | undefined, rule: string) => evidence.verdict('localHairpin', value, rule, names)
  if (names.some(name => evidence.answered(name) === true))
    return say(true, 'a request to the own mapped address came in')
  if (names.some(name => evidence.answered(name) !== false)) return say(undefined, 'was not tried')
  if (mapping !== 'endpoint-independent' && filtering !== 'endpoint-independent')
    return say(undefined, 'nothing came in, which the filter alone explains')
  return say(false, 'requests to the own mapped addresses did not come in')
}

function allocation(evidence: Evidence): readonly Verdict[] {
  const sockets = evidence.records.filter(({ name }) => name === 'I' || name.startsWith('port-'))
  const samples = sockets.flatMap(({ local, outcome }) =>
    outcome.type === 'answered' ? [{ local: local.port, mapped: outcome.mapped.port }] : [],
  )
  const names = sockets.map(({ name }) => name)
  const verdict = judgeAllocation(samples)
  if (verdict === undefined)
    return [evidence.verdict('localPortAllocation', undefined, 'fewer than three sockets brought a port', names)]
  const { confidence, rule, parity } = verdict
  // what the next destination of the same socket would get, which is what has to be predicted
  const own = ['I', 'mapping-port', 'mapping-address', 'I′']
  const run = portRun(own.flatMap(name => evidence.mapped(name)?.port ?? []))
  const step = run?.step ?? verdict.step
  return [
    { fact: 'localPortAllocation', value: verdict.allocation, confidence, rule, evidence: names },
    ...(step === undefined
      ? []
      : [
          {
            fact: 'localPortStep' as const,
            value: step,
            confidence: run?.confidence ?? confidence,
            rule: `outer ports are ${step} apart`,
            evidence: run === undefined ? names : own,
          },
        ]),
    ...(parity === undefined
      ? []
      : [
          {
            fact: 'localPortParity' as const,
            value: parity.preserved,
            confidence: parity.confidence,
            rule: parity.preserved ? 'odd ports stay odd, even ones even' : 'odd and even ports mix',
            evidence: names,
          },
        ]),
  ]
}

function fragments(evidence: Evidence): readonly Verdict[] {
  const passed = evidence.answered('fragments')
  if (passed === undefined) return []
  const rule = passed
    ? 'a request and its answer in fragments got through'
    : 'a request in fragments, or its answer, did not get through'
  return [evidence.verdict('udpFragments', passed, rule, ['fragments'])]
}

/** RFC 5780 §4.6, with a socket for each time instead of a search. */
function lifetime(evidence: Evidence, waits: Waits): readonly Verdict[] {
  const waited = [...waits].sort(([, a], [, b]) => a - b)
  if (waited.length === 0) return []
  const alive = waited.filter(([name]) => evidence.answered(name) === true)
  const dead = waited.filter(([name]) => evidence.answered(name) === false)
  const [, longest = 0] = alive.at(-1) ?? []
  const gone = dead.find(([, wait]) => wait > longest)
  const names = [alive.at(-1)?.[0], gone?.[0]].flatMap(name => name ?? [])
  if (alive.length === 0)
    return [evidence.verdict('mappingLifetime', undefined, 'the server does not answer to another port', names)]
  const rule = `alive after ${longest / 1000} s${gone === undefined ? '' : `, gone after ${gone[1] / 1000} s`}`
  return [evidence.verdict('mappingLifetime', longest, rule, names)]
}
