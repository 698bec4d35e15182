import type { Rng } from '../../core/contracts/machine.ts'
import { type Endpoint, type Flow, sameEndpoint } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { IkeSaRef, Service, ServiceIn, ServiceOut } from '../../core/contracts/service.ts'
import { readMessage, writeMessage } from './message.ts'
import { Search } from './search.ts'

const UDP = 17
const IKE_PORT = 500
const TAG = 'mapping-lifetime'
/** An answer that is later than this was lost. */
const PATIENCE_MS = 3_000
/** The question without a silence, that finds out whether the peer answers at all, is asked so often. */
const GREETINGS = 3
/** Measured again after this long: the NAT may be another one that looks the same. */
const AGAIN_MS = 3_600_000
/** Answers that wait to be sent, in all and for one address. */
const MAX_WAITING = 64
const MAX_WAITING_FOR_ONE = 4
const MAX_DELAY_MS = 600_000
/** What is taken to hold where nothing is measured: three quarters of it are the usual 20 s. */
const ASSUMED_MS = 26_667

interface Trial {
  readonly sa: IkeSaRef
  readonly search: Search
  socket: Endpoint | undefined
  greeted: boolean
  greetings: number
  probe: { readonly nonce: Uint8Array; readonly delayMs: number; readonly due: number } | undefined
}

interface Waiting {
  readonly flow: Flow
  readonly nonce: Uint8Array
  readonly delayMs: number
  readonly due: number
}

/**
 * Finds out how long the NAT in front of this host remembers a silent mapping: a second socket asks the peer to answer after
 * a while, and says nothing meanwhile. The mapping that IKE and ESP use is another one, and never at risk. Answers the same
 * question for peers that have an IKE SA with this host.
 */
export class MappingLifetime implements Service {
  readonly #rng: Rng
  readonly #sas = new Map<string, IkeSaRef>()
  /** Those of them that this host has made; a gateway has thousands that it has not. */
  readonly #made = new Map<string, IkeSaRef>()
  /** How many of them have their peer at an address. */
  readonly #remotes = new Map<string, number>()
  #trial: Trial | undefined
  #waiting: Waiting[] = []
  #againAt = Infinity

  constructor(rng: Rng) {
    this.#rng = rng
  }

  get deadline(): number {
    return Math.min(this.#trial?.probe?.due ?? Infinity, this.#againAt, ...this.#waiting.map(({ due }) => due))
  }

  claims({ bytes, start, end }: Packet, flow: Flow): 'mine' | undefined {
    const message = readMessage(bytes, start, end)
    if (message === undefined) return undefined
    if (message.kind === 'answer') return this.#awaited(message.nonce, flow) ? 'mine' : undefined
    return this.#remotes.has(flow.remote.address) ? 'mine' : undefined
  }

  step(input: ServiceIn, now: number): readonly ServiceOut[] {
    switch (input.type) {
      case 'sa-up':
        this.#keep(input.sa)
        return this.#begin()
      case 'sa-moved': {
        const before = this.#keep(input.sa)
        if (before?.flow.local.address === input.sa.flow.local.address) return []
        return [...this.#end(), assumed(now), ...this.#begin()]
      }
      case 'sa-down':
        this.#forget(input.sa.id)
        return this.#trial?.sa.id === input.sa.id ? [...this.#end(), ...this.#begin()] : []
      case 'bound':
        return input.tag === TAG ? this.#bound(input.local, now) : []
      case 'datagram':
        return this.#received(input.bytes, input.flow, now)
      case 'timeout':
        return this.#timeout(now)
      case 'stop':
        return this.#end()
      default:
        return []
    }
  }

  /** @returns what was known of it before */
  #keep(sa: IkeSaRef): IkeSaRef | undefined {
    const before = this.#forget(sa.id)
    const { address } = sa.flow.remote
    this.#sas.set(sa.id, sa)
    this.#remotes.set(address, (this.#remotes.get(address) ?? 0) + 1)
    if (sa.initiator) this.#made.set(sa.id, sa)
    return before
  }

  #forget(id: string): IkeSaRef | undefined {
    const sa = this.#sas.get(id)
    if (sa === undefined) return undefined
    this.#sas.delete(id)
    this.#made.delete(id)
    const { address } = sa.flow.remote
    const left = this.#remotes.get(address)! - 1
    if (left > 0) this.#remotes.set(address, left)
    else this.#remotes.delete(address)
    return sa
  }

  #begin(): readonly ServiceOut[] {
    if (this.#trial !== undefined || this.#againAt !== Infinity) return []
    const sa = [...this.#made.values()].find(
      ({ facts, flow }) => flow.protocol === UDP && facts['localBehindNat']?.value === true,
    )
    if (sa === undefined) return []
    this.#trial = { sa, search: new Search(), socket: undefined, greeted: false, greetings: 0, probe: undefined }
    return [{ type: 'bind', address: sa.flow.local.address, tag: TAG }]
  }

  #bound(local: Endpoint | undefined, now: number): readonly ServiceOut[] {
    if (local === undefined) {
      this.#trial = undefined
      return []
    }
    if (this.#trial === undefined || this.#trial.socket !== undefined) return [{ type: 'unbind', local }]
    this.#trial.socket = { address: local.address, port: local.port }
    return this.#ask(this.#trial, 0, now)
  }

  #ask(trial: Trial, delayMs: number, now: number): readonly ServiceOut[] {
    const nonce = this.#rng.bytes(8)
    const { remote } = trial.sa.flow
    trial.probe = { nonce, delayMs, due: now + delayMs + PATIENCE_MS }
    // on port 500 this would be taken for IKE
    const to = { address: remote.address, port: remote.port === IKE_PORT ? 4500 : remote.port }
    const flow: Flow = { protocol: UDP, local: trial.socket!, remote: to }
    return [{ type: 'transmit', bytes: writeMessage({ kind: 'ask', delayMs, nonce }), flow }]
  }

  #awaited(nonce: Uint8Array, flow: Flow): boolean {
    const { probe, socket } = this.#trial ?? {}
    if (probe === undefined || socket === undefined || !sameEndpoint(socket, flow.local)) return false
    return probe.nonce.every((octet, i) => octet === nonce[i])
  }

  #received(bytes: Uint8Array, flow: Flow, now: number): readonly ServiceOut[] {
    const message = readMessage(bytes)
    if (message?.kind === 'ask') return this.#answer(message.delayMs, message.nonce.slice(), flow, now)
    const trial = this.#trial
    if (message === undefined || trial?.probe === undefined || !this.#awaited(message.nonce, flow)) return []
    const { delayMs, due } = trial.probe
    // one that comes early has proved nothing
    if (now < due - PATIENCE_MS) return []
    if (delayMs === 0) trial.greeted = true
    else trial.search.lived(delayMs)
    return [...(delayMs === 0 ? [] : [this.#measured(trial, now)]), ...this.#goOn(trial, now)]
  }

  #answer(delayMs: number, nonce: Uint8Array, flow: Flow, now: number): readonly ServiceOut[] {
    const forOne = this.#waiting.filter(w => w.flow.remote.address === flow.remote.address).length
    if (delayMs > MAX_DELAY_MS || this.#waiting.length >= MAX_WAITING || forOne >= MAX_WAITING_FOR_ONE)
      return [{ type: 'drop', reason: 'mapping-lifetime-refused' }]
    this.#waiting.push({ flow, nonce, delayMs, due: now + delayMs })
    return this.#due(now)
  }

  #due(now: number): readonly ServiceOut[] {
    const ready = this.#waiting.filter(({ due }) => due <= now)
    this.#waiting = this.#waiting.filter(({ due }) => due > now)
    return ready.map(({ flow, nonce, delayMs }) => ({
      type: 'transmit',
      bytes: writeMessage({ kind: 'answer', delayMs, nonce }),
      flow,
    }))
  }

  #timeout(now: number): readonly ServiceOut[] {
    const outs = [...this.#due(now)]
    const trial = this.#trial
    if (trial?.probe !== undefined && trial.probe.due <= now) {
      if (trial.probe.delayMs > 0) trial.search.died(trial.probe.delayMs)
      outs.push(...this.#goOn(trial, now))
    }
    if (this.#againAt <= now) {
      this.#againAt = Infinity
      outs.push(...this.#begin())
    }
    return outs
  }

  #goOn(trial: Trial, now: number): readonly ServiceOut[] {
    if (!trial.greeted) {
      if (++trial.greetings < GREETINGS) return this.#ask(trial, 0, now)
      this.#againAt = now + AGAIN_MS
      return this.#end()
    }
    const { next } = trial.search
    if (next !== undefined) return this.#ask(trial, next, now)
    this.#againAt = now + AGAIN_MS
    return [this.#measured(trial, now), ...this.#end()]
  }

  #measured({ search, sa }: Trial, now: number): ServiceOut {
    if (search.low === 0) return assumed(now)
    const source = `measured beside the traffic with ${sa.peer}`
    return { type: 'fact', name: 'mappingLifetime', fact: { value: search.low, source, at: now } }
  }

  #end(): readonly ServiceOut[] {
    const socket = this.#trial?.socket
    this.#trial = undefined
    return socket === undefined ? [] : [{ type: 'unbind', local: socket }]
  }
}

const assumed = (now: number): ServiceOut => ({
  type: 'fact',
  name: 'mappingLifetime',
  fact: { value: ASSUMED_MS, source: 'assumed until it is measured here', at: now },
})
