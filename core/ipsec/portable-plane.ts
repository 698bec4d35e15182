import type { PacketCrypto } from '../contracts/crypto.ts'
import type { ChildCounters, ChildSaSpec, DataPlane, PlaneOutlet } from '../contracts/data-plane.ts'
import type { Drop } from '../contracts/drop.ts'
import type { Rng } from '../contracts/machine.ts'
import { type Address, type Flow, sameFlow } from '../contracts/net.ts'
import { HEADROOM, newPacket, octets, type Packet, TAILROOM } from '../contracts/packet.ts'
import type { Selector } from '../contracts/strategy.ts'
import { UsageError } from '../errors.ts'
import {
  Ah,
  ahSequence,
  ahSpi,
  buildTooBig,
  clampMss,
  DONT_FRAGMENT,
  Esp,
  espSequence,
  espSpi,
  getU16,
  IpProtocol,
  Ipv4,
  Ipv6,
  newIpInfo,
  readIp,
} from '../wire/index.ts'
import { AnswerLimit } from './answer-limit.ts'
import { InstalledSa } from './child-sa.ts'
import { Claims, claimant, owner } from './claims.ts'
import { stripTrailer } from './esp.ts'
import { FlowOwners } from './flow-owners.ts'
import { cutIpv4 } from './inner-fragments.ts'
import { PathMtus } from './path-mtu.ts'
import { selectorPair } from './selector.ts'
import { mayAcquire, Spd, type Trap } from './spd.ts'
import { isAh, refusesSuite } from './transforms.ts'

export interface PortablePlaneOptions {
  /** Largest inner packet sent without a word, octets; the device's MTU. 1400 unless told. */
  readonly mtu?: number
  /** Lower the MSS in TCP's SYN packets, of both directions, to what fits the tunnel. Absent: true. */
  readonly clampMss?: boolean
  /** Takes packets from the device that no SA here covers; absent: they are counted, and what a trap waits for is said. */
  readonly unprotected?: (packet: Packet) => void
  /** Who has which selectors, where several planes share them; the plane's own otherwise. */
  readonly claims?: Claims
}

/** Stands in the policies for another plane's SA. */
class Yielded {
  readonly id: string

  constructor(id: string) {
    this.id = id
  }
}

export interface InstallOptions {
  readonly outbound: boolean
  /** `SaMemory.octets` of memory, for an SA whose state others look at or take over. */
  readonly memory?: ArrayBufferLike
}

const DEFAULT_MTU = 1400
/** Least MTU that a "too big" may ask for, RFC 1122 §3.3.3 and RFC 8200 §5: below it packets go out whole. */
const LEAST_MTU_V4 = 576
const LEAST_MTU_V6 = 1280
const TCP_HEADER = 20

/**
 * Child SAs in-process, on any transport, with any strategy: the data plane that carries everything. One packet is
 * copied once on each way, into a buffer of the plane's own, and worked on in place.
 */
export class PortablePlane implements DataPlane {
  readonly name = 'portable'
  /** Packets that belonged to no SA, by reason. */
  readonly drops: Partial<Record<Drop, number>> = {}
  readonly #crypto: PacketCrypto
  readonly #rng: Rng
  readonly #outlet: PlaneOutlet
  readonly #sas = new Map<string, InstalledSa>()
  readonly #bySpi = new Map<number, InstalledSa>()
  /** Those whose encapsulation changes packets, so that their SPI shows only after unwrapping. */
  readonly #wrapped = new Set<InstalledSa>()
  readonly #spd = new Spd<InstalledSa | Yielded>()
  readonly #yielded = new Map<string, Yielded>()
  readonly #claims: Claims
  readonly #unprotected: ((packet: Packet) => void) | undefined
  readonly #owners = new FlowOwners()
  readonly #out = newPacket()
  readonly #in = newPacket()
  readonly #info = newIpInfo()
  /** Of the last outbound packet. */
  #last: InstalledSa | undefined
  /** Octets from its start to TCP's header, where it may be a SYN; else -1. */
  #tcpAt = -1
  readonly #mtu: number
  readonly #clampMss: boolean
  readonly #paths = new PathMtus()
  readonly #answers = new AnswerLimit()
  #deadline = Number.POSITIVE_INFINITY

  constructor(crypto: PacketCrypto, rng: Rng, outlet: PlaneOutlet, options: PortablePlaneOptions = {}) {
    this.#crypto = crypto
    this.#rng = rng
    this.#outlet = outlet
    this.#mtu = options.mtu ?? DEFAULT_MTU
    this.#clampMss = options.clampMss ?? true
    this.#claims = options.claims ?? new Claims()
    this.#unprotected = options.unprotected
  }

  /** When `timeout` is next due, monotonic ms; may be early. */
  get deadline(): number {
    return this.#deadline
  }

  refuses(spec: ChildSaSpec): string | undefined {
    return this.#refuses(spec) ?? this.#conflict(spec)
  }

  #conflict(spec: ChildSaSpec): string | undefined {
    return this.#claims.conflict(selectorPair(spec.local, spec.remote), claimant(spec))
  }

  #refuses(spec: ChildSaSpec): string | undefined {
    if (this.#sas.has(spec.id)) return `Child SA ${spec.id} is installed`
    if (this.#bySpi.has(spec.inbound.spi)) return `inbound SPI ${hex(spec.inbound.spi)} is in use`
    // whatever stood between IP and AH would have to know what AH covers
    if (isAh(spec.suite) !== (spec.flow.protocol === IpProtocol.AH))
      return `${isAh(spec.suite) ? 'AH' : 'ESP'} cannot go as IP protocol ${spec.flow.protocol}`
    return refusesSuite(this.#crypto, spec.suite, spec.inbound) ?? refusesSuite(this.#crypto, spec.suite, spec.outbound)
  }

  /**
   * @throws UsageError USAGE_POLICY_CONFLICT when the selectors are those of another owner's SA; USAGE_SA_REFUSED for
   * anything else that `refuses` names
   */
  install(spec: ChildSaSpec, options: InstallOptions, now: number): void {
    const conflict = this.#conflict(spec)
    if (conflict !== undefined) throw new UsageError('USAGE_POLICY_CONFLICT', `${spec.id}: ${conflict}`)
    const refusal = this.#refuses(spec)
    if (refusal !== undefined) throw new UsageError('USAGE_SA_REFUSED', `${spec.id}: ${refusal}`)
    const sa = new InstalledSa(spec, this.#crypto, this.#rng, this.#paths, now, options.memory)
    this.#sas.set(spec.id, sa)
    this.#bySpi.set(spec.inbound.spi, sa)
    if (spec.encap.unwrap !== undefined) this.#wrapped.add(sa)
    this.#claims.claim(sa.selectors, claimant(spec))
    if (options.outbound) this.#spd.add(sa.selectors, sa)
    this.#deadline = Math.min(this.#deadline, sa.deadline)
  }

  activate(id: string): void {
    const sa = this.#sas.get(id)
    if (sa !== undefined) this.#spd.add(sa.selectors, sa)
  }

  move(id: string, flow: Flow, wrapping?: Pick<ChildSaSpec, 'encap' | 'follow'>): void {
    const sa = this.#sas.get(id)
    if (sa === undefined) return
    sa.move(flow, wrapping)
    if (sa.spec.encap.unwrap === undefined) this.#wrapped.delete(sa)
    else this.#wrapped.add(sa)
  }

  remove(id: string): void {
    const sa = this.#sas.get(id)
    if (sa === undefined) return
    this.#last = undefined
    this.#sas.delete(id)
    this.#bySpi.delete(sa.spec.inbound.spi)
    this.#wrapped.delete(sa)
    this.#spd.remove(sa)
    this.#claims.release(sa.selectors)
    if (sa.spec.shared && ![...this.#sas.values()].some(other => owner(other.spec) === owner(sa.spec)))
      this.#owners.forget(owner(sa.spec))
    sa.destroy()
  }

  counters(id: string): ChildCounters | undefined {
    return this.#sas.get(id)?.counters()
  }

  /** Where packets of an SA go now; moves with the peer. */
  flow(id: string): Flow | undefined {
    return this.#sas.get(id)?.flow
  }

  /** Traffic with these selectors is to be protected: until an SA covers it, it is dropped and an 'acquire' said. */
  trap(peer: string, child: string, local: readonly Selector[], remote: readonly Selector[]): void {
    this.#spd.trap(selectorPair(local, remote), peer, child)
  }

  untrap(peer: string, child: string): void {
    this.#spd.untrap(peer, child)
  }

  yield(id: string, local: readonly Selector[], remote: readonly Selector[]): void {
    this.regain(id)
    const yielded = new Yielded(id)
    this.#yielded.set(id, yielded)
    this.#spd.add(selectorPair(local, remote), yielded)
  }

  regain(id: string): void {
    const yielded = this.#yielded.get(id)
    if (yielded !== undefined) this.#spd.remove(yielded)
    this.#yielded.delete(id)
  }

  pathMtu(local: Address, remote: Address, mtu: number, now: number): void {
    this.#paths.learn(local, remote, mtu, now)
  }

  /** Counts a packet that belongs to no SA, such as one that `inbound` did not want and nobody else either. */
  count(reason: Drop): void {
    this.drops[reason] = (this.drops[reason] ?? 0) + 1
  }

  /** Says which SAs met a limit of time. */
  timeout(now: number): void {
    if (now < this.#deadline) return
    for (const sa of [...this.#sas.values()]) this.#checkLimits(sa, now)
    this.#deadline = Number.POSITIVE_INFINITY
    for (const { deadline } of this.#sas.values()) this.#deadline = Math.min(this.#deadline, deadline)
  }

  /**
   * An inner IP packet from the device, to be protected.
   *
   * @param inPlace - it may be worked on where it is, with HEADROOM and TAILROOM around it; else it is left as it was
   */
  outbound(packet: Packet, now: number, inPlace = false): void {
    this.#last = undefined
    const info = this.#info
    const malformed = readIp(packet.bytes, packet.start, packet.end, info) !== undefined
    const policy = malformed ? undefined : this.#spd.lookup(packet.bytes, info)
    const newest = policy?.senders.at(-1)
    const own = newest instanceof InstalledSa
    const sa = own && newest.spec.shared ? this.#ownerOf(policy!.senders, packet, now) : newest
    if (own && sa === undefined) this.count('conflict')
    else if (sa instanceof InstalledSa) {
      this.#tcpAt = info.protocol === IpProtocol.TCP && info.fragmentOffset === 0 ? info.upperAt - packet.start : -1
      this.#sendOn(sa, packet, info.end - packet.start, now, inPlace)
      this.#last = sa
    } else if (this.#unprotected !== undefined) this.#unprotected(packet)
    else if (policy?.trap !== undefined) {
      this.count('no-sa')
      this.#acquire(policy.trap, packet, now)
    } else this.count(malformed ? 'inner-malformed' : 'no-policy')
  }

  /**
   * One more packet cut from the large one that the packet before was cut from: it belongs to the same flow, and is whole.
   * Worked on where it is.
   */
  outboundNext(packet: Packet, now: number): void {
    const sa = this.#last
    const length = packet.end - packet.start
    if (sa === undefined || length > Math.min(this.#mtu, sa.innerMtu(now))) return this.outbound(packet, now, true)
    this.#tcpAt = -1
    this.#sendOn(sa, packet, length, now, true)
  }

  #sendOn(sa: InstalledSa, packet: Packet, length: number, now: number, inPlace: boolean): void {
    const failure = this.#send(sa, packet, length, now, inPlace)
    if (failure !== undefined) sa.drop(failure)
    this.#checkLimits(sa, now)
  }

  /** Of SAs that share selectors, the one whose owner opened the flow; a new flow is nobody's unless there is one owner. */
  #ownerOf(all: readonly (InstalledSa | Yielded)[], { bytes }: Packet, now: number): InstalledSa | undefined {
    const senders = all.filter(sa => sa instanceof InstalledSa)
    const newest = senders.at(-1)!
    const known = this.#owners.ownerOf(bytes, this.#info, now)
    if (known !== undefined) return senders.findLast(sa => owner(sa.spec) === known)
    const alone = senders.every(sa => owner(sa.spec) === owner(newest.spec))
    return alone && this.#owners.claim(bytes, this.#info, false, owner(newest.spec), now) ? newest : undefined
  }

  /** @param length - of the packet, which was read into `#info`, or another one of its flow */
  #send(sa: InstalledSa, packet: Packet, length: number, now: number, inPlace: boolean): Drop | undefined {
    const room = sa.innerMtu(now)
    const fit = length <= room && length <= this.#mtu ? 'fits' : this.#oversized(sa, packet, length, room, now)
    if (fit === 'answered') return 'too-big'
    this.#checkLimits(sa, now)
    if (sa.expired) return 'hard-lifetime'
    if (fit === 'cut') {
      this.#out.tos = packet.tos
      // who wants it worked on in place may put the parts where the whole is
      const whole = inPlace ? this.#in : packet
      if (inPlace && !load(whole, packet)) return 'too-big'
      return cutIpv4(whole, whole.start + length, room, this.#out, () => this.#protect(sa, this.#out, true, now))
    }
    const out = inPlace ? packet : this.#out
    if (!inPlace && !load(out, packet)) return 'too-big'
    out.end = out.start + length
    if (this.#tcpAt >= 0) this.#clamp(out, this.#tcpAt, room)
    return this.#protect(sa, out, fit === 'fits', now)
  }

  /** @param keepsDf - false: the outer packet is too big and goes in fragments, whatever the inner one says */
  #protect(sa: InstalledSa, out: Packet, keepsDf: boolean, now: number): Drop | undefined {
    const length = out.end - out.start
    const unfit = sa.spec.mode.encode(out)
    if (unfit !== undefined) return unfit
    if (!keepsDf) out.df = false
    const failure = sa.sealer.seal(out, sa.flow)
    if (failure !== undefined) return failure
    sa.spec.encap.wrap?.(out)
    sa.sent(length, now)
    this.#outlet.transmit(out, sa.flow)
    return undefined
  }

  /**
   * What a transport received and what is no IKE.
   *
   * @param packet - from the SPI on (AH: from the AH header on), or as the encapsulation left it; left as it was unless the encapsulation unwraps
   * @param inPlace - it may be worked on where it is, with HEADROOM in front of it
   * @returns false when it belongs to no SA here; that is not counted, since somebody else may claim it
   */
  inbound(packet: Packet, flow: Flow, now: number, inPlace = false): boolean {
    const sa = this.#find(packet, flow)
    if (sa === undefined) return false
    const failure = this.#receive(sa, packet, flow, now, inPlace)
    if (failure !== undefined) sa.drop(failure)
    if (failure === 'integrity') this.#outlet.event({ type: 'forged', id: sa.spec.id, total: sa.dropped(failure) })
    this.#checkLimits(sa, now)
    return true
  }

  #receive(sa: InstalledSa, packet: Packet, flow: Flow, now: number, inPlace: boolean): Drop | undefined {
    this.#checkLimits(sa, now)
    if (sa.expired) return 'hard-lifetime'
    const onWire = (sa.ah ? ahSequence : espSequence)(packet.bytes, packet.start)
    const sequence = sa.window.check(onWire)
    if (sequence < 0) return 'replay'
    const into = inPlace && sa.growsNot ? packet : this.#in
    if (into === this.#in && !load(into, packet)) return 'too-big'
    const forged = sa.opener.open(into, sequence, flow)
    if (forged !== undefined) return forged

    const newest = sa.window.update(sequence)
    const first = sa.received(now)
    if (first) this.#outlet.event({ type: 'first-inbound', id: sa.spec.id })
    if (newest && flow !== sa.flow) this.#follow(sa, flow)

    const failure = this.#decode(sa, into, flow)
    if (failure !== undefined) return failure
    if (sa.spec.shared && !this.#owners.claim(into.bytes, this.#info, true, owner(sa.spec), now)) return 'conflict'
    const { protocol, fragmentOffset, upperAt } = this.#info
    if (protocol === IpProtocol.TCP && fragmentOffset === 0) this.#clamp(into, upperAt - into.start, sa.innerMtu(now))
    sa.delivered(into.end - into.start)
    this.#outlet.deliver(into)
    return undefined
  }

  #decode(sa: InstalledSa, packet: Packet, flow: Flow): Drop | undefined {
    const padding = sa.ah ? undefined : stripTrailer(packet)
    if (padding !== undefined) return padding
    if (packet.nextHeader === IpProtocol.IPV6_NO_NXT) return 'dummy'
    const failure = sa.spec.mode.decode(packet, flow)
    if (failure !== undefined) return failure
    const info = this.#info
    if (readIp(packet.bytes, packet.start, packet.end, info) !== undefined) return 'inner-malformed'
    packet.end = info.end
    return sa.selectors.matchesInbound(packet.bytes, info) ? undefined : 'selector'
  }

  #find(packet: Packet, flow: Flow): InstalledSa | undefined {
    const sa = this.#bySpiOf(packet, flow)
    if (sa !== undefined && sa.spec.encap.unwrap === undefined) return sa
    for (const candidate of this.#wrapped) {
      const { protocol, local } = candidate.flow
      if (protocol !== flow.protocol || local.port !== flow.local.port || local.address !== flow.local.address) continue
      if (candidate.spec.encap.unwrap!(packet) !== undefined) continue
      return this.#bySpiOf(packet, flow)
    }
    return undefined
  }

  #bySpiOf({ bytes, start, end }: Packet, { protocol }: Flow): InstalledSa | undefined {
    const ah = protocol === IpProtocol.AH
    if (end - start < (ah ? Ah.HEADER : Esp.HEADER)) return undefined
    const sa = this.#bySpi.get((ah ? ahSpi : espSpi)(bytes, start))
    return sa?.ah === ah ? sa : undefined
  }

  /** RFC 7296 §2.23: the other end's address follows its authenticated packets, never back to an older one. */
  #follow(sa: InstalledSa, flow: Flow): void {
    if (!sa.spec.follow || flow.protocol !== sa.flow.protocol || sameFlow(flow, sa.flow)) return
    sa.move(flow)
    this.#outlet.event({ type: 'peer-moved', id: sa.spec.id, flow })
  }

  #acquire(trap: Trap, packet: Packet, now: number): void {
    if (!mayAcquire(trap, now)) return
    const { peer, child } = trap
    this.#outlet.event({ type: 'acquire', peer, child, packet: octets(packet).slice() })
  }

  /**
   * What becomes of a packet above the device's MTU or the SA's: one that must not be fragmented is answered in the name of
   * its destination, RFC 4301 §8.2. Others are cut before they are protected, where the other end takes the parts, so that
   * no fragments meet NATs; else the outer packet is ('whole'), as are those of IPv6 that no rule lets ask for less.
   */
  #oversized(sa: InstalledSa, packet: Packet, length: number, room: number, now: number): 'answered' | 'cut' | 'whole' {
    const { version, destinationAt, addressLength } = this.#info
    const { bytes, start, end } = packet
    const mayFragment = version === 4 && (getU16(bytes, start + Ipv4.FRAGMENT) & DONT_FRAGMENT) === 0
    if (mayFragment) return sa.mayCut && length > room ? 'cut' : 'whole'
    const mtu = Math.max(Math.min(this.#mtu, room), version === 4 ? LEAST_MTU_V4 : LEAST_MTU_V6)
    if (length <= mtu) return 'whole'
    if (!this.#answers.take(now)) return 'answered'
    const destination = bytes.subarray(destinationAt, destinationAt + addressLength)
    const answer = buildTooBig(destination, bytes, start, end, mtu)
    if (answer !== undefined) this.#outlet.deliver({ ...this.#in, bytes: answer, start: 0, end: answer.length })
    return 'answered'
  }

  /** @param upper - octets from the packet's start to TCP's header; the packet was read into `#info` */
  #clamp({ bytes, start, end }: Packet, upper: number, room: number): void {
    if (!this.#clampMss) return
    const v4 = this.#info.version === 4
    const mtu = Math.max(Math.min(this.#mtu, room), v4 ? LEAST_MTU_V4 : LEAST_MTU_V6)
    clampMss(bytes, start + upper, end, mtu - (v4 ? Ipv4.HEADER : Ipv6.HEADER) - TCP_HEADER)
  }

  #checkLimits(sa: InstalledSa, now: number): void {
    if (!sa.isDue(now)) return
    for (let said = sa.expiry(now); said !== undefined; said = sa.expiry(now))
      this.#outlet.event({ type: said, id: sa.spec.id })
  }
}

/** Copies a packet to HEADROOM of the plane's own. @returns false when it is larger than IP allows */
function load(into: Packet, from: Packet): boolean {
  const length = from.end - from.start
  if (HEADROOM + length + TAILROOM > into.bytes.length) return false
  const outer = from.outer !== undefined && from.outer <= HEADROOM ? from.outer : undefined
  into.bytes.set(from.bytes.subarray(from.start - (outer ?? 0), from.end), HEADROOM - (outer ?? 0))
  into.start = HEADROOM
  into.end = HEADROOM + length
  into.nextHeader = from.nextHeader
  into.tos = from.tos
  into.ttl = from.ttl
  into.df = from.df
  into.id = from.id
  into.flowLabel = from.flowLabel
  into.outer = outer
  return true
}

const hex = (spi: number): string => spi.toString(16).padStart(8, '0')
