import type { Machine, Rng } from '../../core/contracts/machine.ts'
import { type Endpoint, sameEndpoint } from '../../core/contracts/net.ts'
import { isReachable } from '../../core/path/index.ts'
import { PMP_RESULTS, parsePmp, serializeAddressRequest, serializePmpMap } from './nat-pmp.ts'
import { type MapResponse, PCP_VERSION, PcpResult, parseMapResponse, serializeMapRequest } from './pcp.ts'
import { type MappingProtocol, PROTOCOL_NAME } from './protocols.ts'

const UDP = 17
/** What is asked for; RFC 6886 §3.3 recommends it. */
const LIFETIME_S = 7_200
/** A gateway that gives less has it renewed no more often than this; one that gives more is asked every hour. */
const RENEW_MS = { least: 4_000, most: 3_600_000 } as const
/** RFC 6887 §8.1.1. */
const PCP_TIMING = { first: 3_000, most: 1_024_000 } as const
/** RFC 6886 §3.1. */
const PMP_TIMING = { first: 250, most: 64_000 } as const
/** Transmissions before it is said that nobody answers; PCP goes on asking, ever more seldom. */
const PATIENCE = 4
/** Transmissions before UPnP is tried, which many a gateway has alone. */
const PATIENCE_BEFORE_UPNP = 2
/** After a refusal. */
const REFUSED_MS = { least: 60_000, most: 1_800_000 } as const
/** RFC 6887 §8.5: how far the gateway's clock may be from ours. */
const EPOCH_SLACK_S = 2

export type MappingIn =
  | { readonly type: 'start' }
  | { readonly type: 'timeout' }
  | { readonly type: 'answer'; readonly bytes: Uint8Array }

export type MappingOut =
  | { readonly type: 'send'; readonly bytes: Uint8Array }
  /** Peers reach the base here. */
  | { readonly type: 'mapped'; readonly external: Endpoint; readonly by: MappingProtocol; readonly until: number }
  | { readonly type: 'unmapped'; readonly why: string }
  | { readonly type: 'drop'; readonly reason: string }

interface Held {
  readonly external: Endpoint
  readonly until: number
}

/**
 * One local port kept open at one gateway: by PCP; where the gateway does not know that, by NAT-PMP; where it is silent or
 * forwards nothing, by UPnP, whose requests and responses are those of PCP (`IgdTransport`).
 */
export class Mapping implements Machine<MappingIn, MappingOut> {
  readonly #base: Endpoint
  readonly #rng: Rng
  readonly #nonce: Uint8Array
  readonly #protocols: readonly MappingProtocol[]
  #by: MappingProtocol
  #held: Held | undefined
  /** NAT-PMP tells address and port in two answers. */
  #pmpAddress: string | undefined
  /** Of the last answer: the gateway's clock, and ours. */
  #epoch: { readonly theirs: number; readonly ours: number } | undefined
  #sent = 0
  #wait = 0
  #due = Infinity
  #asking = false

  /** @param protocols - which may be spoken, at least one, in the order of PROTOCOLS */
  constructor(base: Endpoint, rng: Rng, protocols: readonly MappingProtocol[]) {
    this.#base = base
    this.#protocols = protocols
    this.#by = protocols[0]!
    this.#rng = rng
    this.#nonce = rng.bytes(12)
  }

  /** What is spoken now: what is to be sent is of it, and answers of others are none. */
  get by(): MappingProtocol {
    return this.#by
  }

  get deadline(): number {
    return Math.min(this.#due, this.#held?.until ?? Infinity)
  }

  step(input: MappingIn, now: number): readonly MappingOut[] {
    const out: MappingOut[] = []
    switch (input.type) {
      case 'start':
        this.#begin(now, out)
        break
      case 'timeout':
        this.#timeout(now, out)
        break
      case 'answer':
        this.#answer(input.bytes, now, out)
        break
    }
    return out
  }

  /** What removes it; nobody waits for the answer. */
  farewell(): readonly MappingOut[] {
    if (this.#held === undefined) return []
    const { external } = this.#held
    const bytes = this.#by === 'nat-pmp' ? serializePmpMap(this.#base.port, 0, 0) : this.#pcp(0, external)
    return [{ type: 'send', bytes }]
  }

  #timeout(now: number, out: MappingOut[]): void {
    if (this.#held !== undefined && now >= this.#held.until) this.#lose('the gateway no longer answers', out)
    if (now < this.#due) return
    if (!this.#asking) return this.#begin(now, out)
    if (this.#held === undefined) {
      if (this.#sent === PATIENCE_BEFORE_UPNP && this.#mayBeUpnp) return this.#change('upnp', now, out)
      if (this.#sent === PATIENCE) out.push({ type: 'unmapped', why: this.#silence() })
    }
    this.#send(now, out)
  }

  get #mayBeUpnp(): boolean {
    return this.#by !== 'upnp' && this.#protocols.includes('upnp')
  }

  #change(by: MappingProtocol, now: number, out: MappingOut[]): void {
    this.#by = by
    this.#begin(now, out)
  }

  #silence(): string {
    const names = this.#protocols.map(protocol => PROTOCOL_NAME[protocol])
    return names.length === 1
      ? `the gateway does not answer ${names[0]}`
      : `the gateway answers neither ${names.join(' nor ')}`
  }

  #begin(now: number, out: MappingOut[]): void {
    this.#asking = true
    this.#sent = 0
    this.#wait = 0
    this.#send(now, out)
  }

  #send(now: number, out: MappingOut[]): void {
    const timing = this.#by === 'nat-pmp' ? PMP_TIMING : PCP_TIMING
    this.#sent++
    this.#wait = Math.min(this.#wait === 0 ? timing.first : 2 * this.#wait, timing.most)
    // RFC 6887 §8.1.1: a tenth more or less, so that a house full of hosts does not ask at once after a power cut
    this.#due = now + this.#wait * (0.9 + (this.#rng.bytes(1)[0]! / 255) * 0.2)
    const external = this.#held?.external ?? { address: '0.0.0.0', port: this.#base.port }
    if (this.#by !== 'nat-pmp') out.push({ type: 'send', bytes: this.#pcp(LIFETIME_S, external) })
    else {
      out.push({ type: 'send', bytes: serializeAddressRequest() })
      out.push({ type: 'send', bytes: serializePmpMap(this.#base.port, external.port, LIFETIME_S) })
    }
  }

  #pcp(lifetime: number, external: Endpoint): Uint8Array {
    const { address: client, port: internalPort } = this.#base
    return serializeMapRequest({ lifetime, client, nonce: this.#nonce, protocol: UDP, internalPort, external })
  }

  // ------------------------------------------------------------------ answers

  #answer(bytes: Uint8Array, now: number, out: MappingOut[]): void {
    try {
      if (bytes[0] === PCP_VERSION) this.#pcpAnswer(parseMapResponse(bytes), now, out)
      else this.#pmpAnswer(bytes, now, out)
    } catch {
      out.push({ type: 'drop', reason: 'port-mapping-malformed' })
    }
  }

  #pcpAnswer(response: MapResponse, now: number, out: MappingOut[]): void {
    const ours =
      this.#by !== 'nat-pmp' &&
      response.protocol === UDP &&
      response.internalPort === this.#base.port &&
      response.nonce.every((octet, i) => octet === this.#nonce[i])
    if (!ours) {
      out.push({ type: 'drop', reason: 'port-mapping-unexpected' })
      return
    }
    const { result, lifetime, epoch, external } = response
    if (result !== PcpResult.SUCCESS)
      return this.#refused(
        `${PROTOCOL_NAME[this.#by]}: ${nameOf(result)}`,
        Math.min(lifetime * 1000, REFUSED_MS.most),
        now,
        out,
      )
    this.#stands(external, lifetime, epoch, now, out)
  }

  #pmpAnswer(bytes: Uint8Array, now: number, out: MappingOut[]): void {
    // RFC 6887 §9: what a gateway without PCP says to a request of its
    if (this.#by !== 'nat-pmp') {
      if (bytes[0] !== 0 || !this.#asking || !this.#protocols.includes('nat-pmp'))
        throw new RangeError('neither PCP nor NAT-PMP')
      return this.#change('nat-pmp', now, out)
    }
    const response = parsePmp(bytes)
    switch (response.type) {
      case 'error':
        return this.#refused(`NAT-PMP: ${PMP_RESULTS[response.result] ?? `result ${response.result}`}`, 0, now, out)
      case 'address':
        this.#pmpAddress = response.address
        return
      case 'map':
        if (response.internalPort !== this.#base.port) {
          out.push({ type: 'drop', reason: 'port-mapping-unexpected' })
          return
        }
        // the other answer is on its way, or is asked for again
        if (this.#pmpAddress === undefined) return
        return this.#stands(
          { address: this.#pmpAddress, port: response.externalPort },
          response.lifetime,
          response.epoch,
          now,
          out,
        )
    }
  }

  #stands(external: Endpoint, lifetime: number, epoch: number, now: number, out: MappingOut[]): void {
    if (lifetime === 0 || !isReachable(external))
      return this.#refused(`${PROTOCOL_NAME[this.#by]} gives nothing that can be reached`, 0, now, out)
    const lost = this.#hasLostState(epoch, now)
    this.#epoch = { theirs: epoch, ours: now }
    if (this.#held !== undefined && !sameEndpoint(this.#held.external, external))
      this.#lose(lost ? 'the gateway has started anew' : 'the gateway gives another one', out)
    const until = now + Math.min(lifetime, LIFETIME_S) * 1000
    this.#held = { external, until }
    this.#asking = false
    this.#due = now + Math.min(Math.max((until - now) / 2, RENEW_MS.least), RENEW_MS.most)
    out.push({ type: 'mapped', external, by: this.#by, until })
  }

  /** RFC 6887 §8.5: a clock that goes back, or much slower than ours, is one that was started again. */
  #hasLostState(epoch: number, now: number): boolean {
    if (this.#epoch === undefined) return false
    const theirs = epoch - this.#epoch.theirs
    const ours = (now - this.#epoch.ours) / 1000
    return theirs < -1 || theirs + EPOCH_SLACK_S < ours - ours / 16
  }

  #refused(why: string, wait: number, now: number, out: MappingOut[]): void {
    // UPnP's failure is the end of a round, and the next one begins with the better protocols
    if (this.#by === 'upnp') this.#by = this.#protocols[0]!
    this.#held = undefined
    this.#asking = false
    this.#due = now + Math.max(wait, REFUSED_MS.least)
    out.push({ type: 'unmapped', why })
  }

  #lose(why: string, out: MappingOut[]): void {
    this.#held = undefined
    out.push({ type: 'unmapped', why })
  }
}

const nameOf = (result: number): string =>
  Object.entries(PcpResult).find(([, number]) => number === result)?.[0] ?? `result ${result}`
