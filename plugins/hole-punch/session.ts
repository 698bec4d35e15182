import type { Rng } from '../../core/contracts/machine.ts'
import { type Flow, sameFlow, showEndpoint } from '../../core/contracts/net.ts'
import type { ServiceOut } from '../../core/contracts/service.ts'
import {
  Checklist,
  type ChecklistOut,
  type LocalCandidate,
  type Pacer,
  type RemoteCandidate,
} from '../../core/path/index.ts'
import {
  type ParsedStun,
  type StunHmac,
  StunMethod,
  serializeStun,
  stunValue,
  verifyStun,
} from '../../core/wire/index.ts'

/** How long the end that was asked answers checks. */
const LIFE_MS = 30_000
/** Most checks whose answers are waited for. */
const MAX_OPEN = 512

export interface SessionOptions {
  /** In hexadecimal; the name in all checks of it. */
  readonly id: string
  /** In the configuration; undefined at the end that was asked, which does not know which of its peers it will be. */
  readonly peer: string | undefined
  readonly controlling: boolean
  readonly locals: readonly LocalCandidate[]
  readonly remotes: readonly RemoteCandidate[]
  /** HMAC-SHA-256 with what both ends have put into the key. */
  readonly hmac: StunHmac
  readonly pacer: Pacer
  readonly rng: Rng
  readonly now: number
}

/** Checks between two members: STUN Binding requests, each end proving with every message that it is the one that was found. */
export class Session {
  readonly peer: string | undefined
  readonly #id: string
  readonly #hmac: StunHmac
  readonly #rng: Rng
  readonly #checklist: Checklist
  readonly #until: number
  /** Numbers of pairs by the transactions of their checks. */
  readonly #open = new Map<string, number>()

  constructor({ id, peer, controlling, locals, remotes, hmac, pacer, rng, now }: SessionOptions) {
    this.peer = peer
    this.#id = id
    this.#hmac = hmac
    this.#rng = rng
    this.#until = controlling ? Infinity : now + LIFE_MS
    this.#checklist = new Checklist({ controlling, locals, remotes, pacer })
  }

  get deadline(): number {
    return Math.min(this.#checklist.deadline, this.#until)
  }

  isOver(now: number): boolean {
    return now >= this.#until
  }

  get pairs(): number {
    return this.#checklist.size.pairs
  }

  start(now: number): readonly ServiceOut[] {
    return this.#carryOut(this.#checklist.step({ type: 'start' }, now), now)
  }

  timeout(now: number): readonly ServiceOut[] {
    return this.#carryOut(this.#checklist.step({ type: 'timeout' }, now), now)
  }

  /** A Binding message that names this session. */
  message(octets: Uint8Array, message: ParsedStun, flow: Flow, now: number): readonly ServiceOut[] {
    const { integritySha256 } = message
    if (integritySha256?.mac.length !== 32 || !verifyStun(octets, integritySha256, this.#hmac))
      return [{ type: 'drop', reason: 'hole-punch-integrity' }]
    if (message.class === 'request') {
      const answer = serializeStun(
        {
          class: 'success',
          method: StunMethod.Binding,
          transaction: message.transaction.slice(),
          attributes: [
            { type: 'USERNAME', value: this.#id },
            { type: 'XOR-MAPPED-ADDRESS', value: flow.remote },
          ],
        },
        { integritySha256: this.#hmac },
      )
      const priority = stunValue(message, 'PRIORITY') ?? 0
      const next = this.#checklist.step({ type: 'request', flow, priority }, now)
      return [{ type: 'transmit', bytes: answer, flow }, ...this.#carryOut(next, now)]
    }
    const id = message.transaction.join('.')
    const number = this.#open.get(id)
    const pair = this.#checklist.pairs.find(p => p.number === number)
    if (message.class !== 'success' || number === undefined || pair === undefined || !sameFlow(pair.flow, flow))
      return [{ type: 'drop', reason: 'hole-punch-unexpected' }]
    this.#open.delete(id)
    const mapped = stunValue(message, 'XOR-MAPPED-ADDRESS')
    return this.#carryOut(this.#checklist.step({ type: 'response', number, flow, mapped }, now), now)
  }

  #carryOut(outs: readonly ChecklistOut[], now: number): ServiceOut[] {
    return outs.flatMap(out => this.#carryOutOne(out, now))
  }

  #carryOutOne(out: ChecklistOut, now: number): ServiceOut[] {
    const { peer } = this
    switch (out.type) {
      case 'check': {
        const { number, flow, local } = out.pair
        const transaction = this.#rng.bytes(12)
        if (this.#open.size >= MAX_OPEN) this.#open.delete(this.#open.keys().next().value!)
        this.#open.set(transaction.join('.'), number)
        const attributes = [
          { type: 'USERNAME', value: this.#id },
          { type: 'PRIORITY', value: local.priority },
        ] as const
        const bytes = serializeStun(
          { class: 'request', method: StunMethod.Binding, transaction, attributes },
          { integritySha256: this.#hmac },
        )
        return [{ type: 'transmit', bytes, flow }]
      }
      case 'succeeded': {
        if (peer === undefined) return []
        const text = `${showEndpoint(out.pair.flow.remote)} answers after ${Math.round(out.rttMs)} ms`
        return [{ type: 'progress', peer, step: 'check', text }]
      }
      case 'nominated':
        if (peer === undefined) return []
        return [udpOnly(peer, now), { type: 'ready', peer, flow: out.pair.flow, why: out.why }]
      case 'failed':
        return peer === undefined ? [] : [{ type: 'failed', peer, code: 'PATH_FAILED', why: out.why }]
    }
  }
}

/** The hole is one for UDP: that no NAT was seen, as with IPv6, does not mean that a firewall lets ESP in. */
const udpOnly = (peer: string, at: number): ServiceOut => ({
  type: 'fact',
  peer,
  name: 'forceEncapsulation',
  fact: { value: true, source: 'hole-punch: what was punched is a hole for UDP', at },
})
