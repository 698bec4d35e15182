import type { Machine, Rng } from '../../core/contracts/machine.ts'
import { type Endpoint, sameEndpoint, showEndpoint } from '../../core/contracts/net.ts'
import type { ChangeRequest, StunAttribute } from '../../core/wire/index.ts'
import { answerOf, readStun } from './answer.ts'
import { classify, type Verdict } from './classify.ts'
import { Probe, type ProbeOptions, type ProbeOutcome, type ProbeRecord } from './probe.ts'

export interface DetectionOptions {
  readonly server: Endpoint
  /** A second server at another address, for the mapping where the first one has a single address. */
  readonly second?: Endpoint | undefined
  /**
   * Local endpoints, all able to send. The first is the one of interest; the second tries filtering and hairpinning, which
   * the first then need not be spoilt for; three or more further ones show how ports are picked.
   */
  readonly sockets: readonly Endpoint[]
  /** Sockets of their own to wait with, and for how long, ms: how long an idle mapping lives. */
  readonly lifetimes?: readonly { readonly local: Endpoint; readonly wait: number }[]
}

export type DetectionIn =
  | { readonly type: 'start' }
  | { readonly type: 'timeout' }
  /** @property local - index of the socket it came in at; those of `lifetimes` count on behind `sockets` */
  | { readonly type: 'datagram'; readonly socket: number; readonly from: Endpoint; readonly data: Uint8Array }
  /** No more time: what is not known by now stays unknown. */
  | { readonly type: 'stop' }

export type DetectionOut =
  | { readonly type: 'transmit'; readonly socket: number; readonly to: Endpoint; readonly data: Uint8Array }
  /** A probe has ended. */
  | { readonly type: 'progress'; readonly probe: ProbeRecord }
  /** All have. */
  | { readonly type: 'done'; readonly report: Report }

export interface Report {
  readonly server: Endpoint
  readonly local: Endpoint
  /** Outer address of the first socket. */
  readonly mapped: Endpoint | undefined
  readonly verdicts: readonly Verdict[]
  /** All evidence, in the order in which it was asked for. */
  readonly probes: readonly ProbeRecord[]
}

/** Silence counts where losses explain it with less than this probability. */
const DOUBT = 0.001
const FEWEST_TRIES = 4
/** Longer than any Ethernet takes, so that such a request goes in fragments. */
const PADDING = 1600

/**
 * Finds out about the NAT in front of this host, by the tests of RFC 3489 §10.1 and RFC 5780 §4. Answers count by their
 * transaction ID, 96 random bits.
 */
export class Detection implements Machine<DetectionIn, DetectionOut> {
  readonly #options: DetectionOptions
  readonly #rng: Rng
  readonly #sockets: readonly Endpoint[]
  readonly #probes = new Map<string, Probe>()
  readonly #waits = new Map<string, number>()
  #out: DetectionOut[] = []
  #running = false

  constructor(options: DetectionOptions, rng: Rng) {
    this.#options = options
    this.#rng = rng
    this.#sockets = [...options.sockets, ...(options.lifetimes ?? []).map(({ local }) => local)]
  }

  get deadline(): number {
    if (!this.#running) return Infinity
    const [enough, grace] = this.#patience()
    return Math.min(...Array.from(this.#probes.values(), probe => probe.deadline(enough, grace)))
  }

  /** Whether the transaction is a probe's that has no answer yet. */
  awaits(id: string): boolean {
    return (
      this.#running && Array.from(this.#probes.values()).some(p => p.outcome === undefined && p.transaction.id === id)
    )
  }

  step(input: DetectionIn, now: number): readonly DetectionOut[] {
    switch (input.type) {
      case 'start':
        this.#running = true
        break
      case 'timeout':
        break
      case 'datagram':
        if (this.#running) this.#datagram(input.socket, input.from, input.data, now)
        break
      case 'stop':
        for (const probe of this.#probes.values())
          if (probe.outcome === undefined) this.#finish(probe, { type: 'stopped' }, now)
        return this.#end()
    }
    if (!this.#running) return []
    this.#advance(now)
    for (let more = true; more; ) {
      const before = this.#out.length
      this.#send(now)
      this.#advance(now) // silence may open the way for the next probe
      more = this.#out.length > before
    }
    const pending = Array.from(this.#probes.values()).some(({ outcome }) => outcome === undefined)
    return pending ? this.#flush() : this.#end()
  }

  #end(): readonly DetectionOut[] {
    if (!this.#running) return []
    this.#running = false
    const probes = Array.from(this.#probes.values(), ({ record }) => record)
    const first = probes.find(({ name }) => name === 'I')?.outcome
    const report: Report = {
      server: this.#options.server,
      local: this.#sockets[0]!,
      mapped: first?.type === 'answered' ? first.mapped : undefined,
      verdicts: classify(probes, this.#loss(), this.#waits),
      probes,
    }
    return [...this.#flush(), { type: 'done', report }]
  }

  #flush(): readonly DetectionOut[] {
    const out = this.#out
    this.#out = []
    return out
  }

  #send(now: number): void {
    const [enough, grace] = this.#patience()
    for (const probe of this.#probes.values()) {
      if (probe.outcome !== undefined) continue
      if (probe.due(enough, grace, now)) {
        const { to, octets } = probe.transaction
        this.#out.push({ type: 'transmit', socket: probe.socket, to, data: octets })
      }
      // due() settles what stays silent
      if (probe.outcome !== undefined) this.#out.push({ type: 'progress', probe: probe.record })
    }
  }

  #datagram(socket: number, from: Endpoint, data: Uint8Array, now: number): void {
    const found = this.#probeOf(data)
    if (found === undefined || found.probe.outcome !== undefined || found.probe.answers !== socket) return
    const { probe, message } = found
    if (probe.answers !== probe.socket && message.class === 'request') {
      this.#finish(probe, { type: 'answered', from, mapped: from }, now) // our own, by the hairpin
      return
    }
    const answer = answerOf(message)
    if (answer === undefined) return
    if (answer.type === 'error') this.#finish(probe, { ...answer, type: 'refused' }, now)
    else if (wrongOrigin(probe.name, this.#options.server, from))
      this.#finish(probe, { type: 'refused', code: 0, reason: `answers from ${showEndpoint(from)}` }, now)
    else {
      const { mapped, other } = answer
      this.#finish(probe, { type: 'answered', from, mapped, ...(other !== undefined && { other }) }, now)
    }
  }

  #probeOf(data: Uint8Array) {
    const read = readStun(data)
    if (read === undefined) return undefined
    for (const probe of this.#probes.values())
      if (probe.transaction.id === read.id) return { probe, message: read.message }
    return undefined
  }

  #finish(probe: Probe, outcome: ProbeOutcome, now: number): void {
    probe.finish(outcome, now)
    this.#out.push({ type: 'progress', probe: probe.record })
  }

  /** Starts whatever can start; names are those that `classify` looks for. */
  #advance(now: number): void {
    const { server, second, sockets, lifetimes = [] } = this.#options
    const first = this.#ask({ name: 'I', asked: 'mapped address', socket: 0, to: server }, now)
    const outcome = first.outcome
    if (outcome?.type !== 'answered') return
    const other = usable(outcome.other, server)
    const two = sockets.length > 1
    const baseline = two ? this.#ask({ name: 'port-1', asked: 'mapped address', socket: 1, to: server }, now) : first
    const opened = baseline.outcome?.type === 'answered'
    let filtered = other === undefined || two
    if (other !== undefined && opened) {
      const socket = two ? 1 : 0
      const filters = [
        this.#ask(change('II', { changeIp: true, changePort: true }, socket, server), now),
        this.#ask(change('III', { changeIp: false, changePort: true }, socket, server), now),
      ]
      filtered ||= filters.every(({ outcome }) => outcome !== undefined)
    }
    // asking other addresses opens the filter for them, so that a lone socket has to be done with it
    const mappings: Probe[] = []
    const map = (name: string, to: Endpoint): void =>
      void mappings.push(this.#ask({ name, asked: 'mapped address', socket: 0, to }, now))
    if (filtered && other !== undefined) {
      map('mapping-port', { address: server.address, port: other.port })
      map('mapping-address', { address: other.address, port: server.port })
      map('I′', other)
    } else if (filtered && second !== undefined) map(second.port === server.port ? 'mapping-address' : 'I′', second)
    for (let socket = 2; socket < sockets.length; socket++)
      mappings.push(this.#ask({ name: `port-${socket}`, asked: 'mapped address', socket, to: server }, now))
    if (!filtered || !mappings.every(({ outcome }) => outcome !== undefined)) return
    if (other !== undefined) {
      const attributes: StunAttribute[] = [{ type: 'PADDING', value: new Uint8Array(PADDING) }]
      this.#ask(
        { name: 'fragments', asked: 'in fragments', socket: 0, to: server, attributes, silenceCounts: true },
        now,
      )
    }
    const back = baseline.outcome
    if (two && back?.type === 'answered' && !sameEndpoint(outcome.mapped, sockets[0]!)) {
      const asked = 'own mapped address'
      this.#ask({ name: 'hairpin-back', asked, socket: 0, answers: 1, to: back.mapped, silenceCounts: true }, now)
      this.#ask({ name: 'hairpin', asked, socket: 1, answers: 0, to: outcome.mapped, silenceCounts: true }, now)
    }
    for (const [i, { wait }] of lifetimes.entries()) this.#await(sockets.length + i, wait, now)
  }

  /** A mapping on a socket of its own, and after `wait` a request from another one to be answered there. */
  #await(socket: number, wait: number, now: number): void {
    const { server, sockets } = this.#options
    const { outcome } = this.#ask({ name: `idle-${wait / 1000}`, asked: 'mapped address', socket, to: server }, now)
    const name = `alive-${wait / 1000}`
    if (outcome?.type !== 'answered' || this.#probes.has(name)) return
    this.#waits.set(name, wait)
    const attributes: StunAttribute[] = [{ type: 'RESPONSE-PORT', value: outcome.mapped.port }]
    const asked = `answer to port ${outcome.mapped.port}, idle for ${wait / 1000} s`
    const from = sockets.length - 1
    this.#ask({ name, asked, socket: from, answers: socket, to: server, attributes, silenceCounts: true }, now + wait)
  }

  #ask(options: ProbeOptions, when: number): Probe {
    let probe = this.#probes.get(options.name)
    if (probe === undefined) {
      probe = new Probe(options, this.#sockets[options.socket]!, this.#rng, when)
      this.#probes.set(options.name, probe)
    }
    return probe
  }

  /** A cautious guess at the share of requests that are lost, they or their answers. */
  #loss(): number {
    let sent = 0
    let answered = 0
    for (const probe of this.#probes.values()) {
      if (probe.outcome?.type !== 'answered') continue
      sent += probe.transaction.sent
      answered++
    }
    if (sent === 0) return 0.5
    const share = (sent - answered + 1) / (sent + 2)
    // few samples may flatter the line: one standard deviation on top
    return share + Math.sqrt((share * (1 - share)) / (sent + 2))
  }

  /** After how many requests silence counts, and how long to wait after the last of them, ms. */
  #patience(): readonly [enough: number, grace: number] {
    const enough = Math.max(FEWEST_TRIES, Math.ceil(Math.log(DOUBT) / Math.log(this.#loss())))
    const slowest = Math.max(0, ...Array.from(this.#probes.values(), ({ tookMs = 0 }) => Math.min(tookMs, 1000)))
    return [enough, 200 + 2 * slowest]
  }
}

const change = (name: string, value: ChangeRequest, socket: number, to: Endpoint): ProbeOptions => ({
  name,
  asked: value.changeIp ? 'answer from another address and port' : 'answer from another port',
  socket,
  to,
  attributes: [{ type: 'CHANGE-REQUEST', value }],
  silenceCounts: true,
})

/** Some servers do not know CHANGE-REQUEST and answer as if it were not there. */
const wrongOrigin = (name: string, server: Endpoint, from: Endpoint): boolean =>
  (name === 'II' && (from.address === server.address || from.port === server.port)) ||
  (name === 'III' && (from.address !== server.address || from.port === server.port))

/** The other address, if it is one: both its parts have to differ, and its family not. */
function usable(other: Endpoint | undefined, server: Endpoint): Endpoint | undefined {
  if (other === undefined || other.port === 0 || other.port === server.port || other.address === server.address)
    return undefined
  return other.address.includes(':') === server.address.includes(':') ? other : undefined
}
