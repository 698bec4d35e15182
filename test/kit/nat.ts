import type { Address } from '../../core/contracts/net.ts'
import { UsageError } from '../../core/errors.ts'
import { getU16, IpProtocol } from '../../core/wire/index.ts'
import { type Ip, isV6, keyAt, parseIp, showIp } from './address.ts'
import { Host } from './host.ts'
import type { Exit, Interface } from './lan.ts'
import type { NatBehaviour } from './nat-behaviour.ts'
import { type End, type Mapping, NatTable } from './nat-table.ts'
import {
  addressLength,
  destinationAt,
  destinationKey,
  isFragment,
  isIcmp,
  isIcmpError,
  isIpv6,
  payloadAt,
  portAt,
  protocolOf,
  sealChecksums,
  sourceAt,
  sourceKey,
} from './packet.ts'
import { rewriteEnd } from './rewrite.ts'
import type { World } from './world.ts'

/** One live mapping as `Nat.mappings()` shows it. */
export interface ShownMapping {
  readonly protocol: number
  readonly inside: { readonly address: Address; readonly port: number }
  readonly outside: { readonly address: Address; readonly port: number }
}

/**
 * A router that translates between its inside LANs and its outside one, or only guards (IPv6 firewall). Fragments are
 * put together before they are looked at (RFC 4787 REQ-14) and taken apart again on the way out.
 */
export class Nat extends Host {
  /** Every field may be changed while running; existing mappings keep the ports they have. */
  readonly behaviour: NatBehaviour
  override forward = true
  readonly #outside: Interface
  readonly #v4: NatTable
  readonly #v6: NatTable
  /** For protocols without ports: who inside spoke last to a remote address. */
  readonly #portless = new Map<string, { readonly inside: Ip; until: number }>()

  constructor(name: string, world: World, behaviour: NatBehaviour, attachOutside: (nat: Nat) => Interface) {
    super(name, world)
    this.behaviour = behaviour
    this.#v4 = new NatTable(behaviour, world.rng(`nat ${name} 4`))
    this.#v6 = new NatTable(behaviour, world.rng(`nat ${name} 6`))
    this.#outside = attachOutside(this)
  }

  /** First outer address of the family. */
  outerAddress(v6 = false): Address | undefined {
    return this.#outside.address(v6)?.text
  }

  /** Power cut: all mappings are gone. */
  reboot(): void {
    this.#v4.clear()
    this.#v6.clear()
    this.#portless.clear()
  }

  /** The provider hands out another outer address, e.g. `198.51.100.7/24`; all mappings are gone. */
  renumber(prefix: string): void {
    const v6 = prefix.includes(':')
    for (const ip of this.#outside.addresses.filter(({ key }) => isV6(key) === v6))
      this.removeAddress(ip.text, this.#outside)
    this.addAddress(prefix, this.#outside)
    this.reboot()
  }

  mappings(): ShownMapping[] {
    const now = this.world.clock.now()
    return [...this.#v4.live(now), ...this.#v6.live(now)].map(
      ({ protocol, inside, insidePort, outside, outsidePort }) => ({
        protocol,
        inside: { address: inside.text, port: insidePort },
        outside: { address: outside.text, port: outsidePort },
      }),
    )
  }

  /** Port forwarding: everybody may reach `inside` through this outer port. @throws UsageError USAGE_ADDRESS */
  forwardPort(protocol: 6 | 17, outsidePort: number, inside: Address, insidePort = outsidePort): void {
    const ip = parseIp(inside)
    const outside = this.#outside.address(isV6(ip.key))
    if (outside === undefined) throw new UsageError('USAGE_ADDRESS', `${this.name} has no outer address for ${inside}`)
    this.#table(isV6(ip.key)).addStatic(protocol, ip, insidePort, outside, outsidePort)
  }

  unforwardPort(protocol: 6 | 17, outsidePort: number): void {
    for (const { key } of this.#outside.addresses)
      this.#table(isV6(key)).removeStatic(protocol, { address: key, port: outsidePort })
  }

  protected override input(frame: Uint8Array, from: Exit): void {
    const v6 = frame[0]! >> 4 === 6
    if (frame.length < 20 || (v6 && frame.length < 48) || this.#role(v6) === 'route') {
      super.input(frame, from)
      return
    }
    if (this.behaviour.dropFragments && isFragment(frame)) {
      this.world.drop(this.name, frame, 'nat-fragment')
      return
    }
    const outward = this.locals.get(destinationKey(frame)) === this.#outside
    if (from !== this.#outside && !outward) {
      if (!isFragment(frame) || this.locals.has(destinationKey(frame))) {
        super.input(frame, from)
        return
      }
      // Put together here, so that `leaving` sees whole packets only.
      const whole = this.reassembler.add(frame, this.world.clock.now())
      whole === undefined ? undefined : this.forwardPacket(whole, true)
      return
    }
    this.world.seen(this.name, 'in', frame)
    const whole = isFragment(frame) ? this.reassembler.add(frame, this.world.clock.now()) : frame
    if (whole === undefined) return
    if (from === this.#outside) this.#enter(whole, whole !== frame)
    else this.#hairpin(whole, whole !== frame)
  }

  protected override leaving(frame: Uint8Array, exit: Exit): Uint8Array | undefined {
    const v6 = isIpv6(frame)
    if (exit !== this.#outside || this.#role(v6) === 'route') return frame
    const refused = this.#translateOut(frame)
    if (refused !== undefined) {
      this.world.drop(this.name, frame, refused)
      return undefined
    }
    if (this.#role(v6) === 'nat') this.world.record(this.name, 'nat', frame, 'out')
    return frame
  }

  /** The NAT's own ICMP errors about packets it let in quote inner addresses; they must not get out. */
  override output(packet: Uint8Array, bypass = false): boolean {
    if (isIcmp(protocolOf(packet)) && isIcmpError(packet) && this.#role(isIpv6(packet)) === 'nat')
      if (this.routeTo(destinationKey(packet))?.exit === this.#outside) this.#errorOut(packet)
    return super.output(packet, bypass)
  }

  #role(v6: boolean): 'route' | 'firewall' | 'nat' {
    if (!v6) return this.behaviour.translate ? 'nat' : 'route'
    return this.behaviour.v6 === 'nat66' ? 'nat' : this.behaviour.v6
  }

  #table(v6: boolean): NatTable {
    return v6 ? this.#v6 : this.#v4
  }

  /** @returns why not */
  #translateOut(p: Uint8Array): string | undefined {
    const v6 = isIpv6(p)
    const protocol = protocolOf(p)
    const blocked = this.#blocked(p, false)
    if (blocked !== undefined) return blocked
    if (isIcmp(protocol) && isIcmpError(p)) return this.#errorOut(p) ? undefined : 'nat-no-mapping'
    const inside = ipAt(p, sourceAt(p))
    const outside = this.#role(v6) === 'firewall' ? inside : this.#outside.address(v6)
    if (outside === undefined) return 'nat-no-address'
    const at = portAt(p, true)
    const now = this.world.clock.now()
    if (at < 0) {
      if (this.behaviour.dropNonUdpTcp) return 'nat-protocol'
      this.#portless.set(`${protocol} ${destinationKey(p)}`, { inside, until: now + this.behaviour.timeout })
      rewriteEnd(p, true, outside.bytes, 0)
      return undefined
    }
    const mapping = this.#table(v6).outbound(protocol, inside, getU16(p, at), remoteOf(p, false), outside, now)
    if (mapping === undefined) return 'nat-full'
    rewriteEnd(p, true, mapping.outside.bytes, mapping.outsidePort)
    return undefined
  }

  #enter(p: Uint8Array, wasFragmented: boolean): void {
    const blocked = this.#blocked(p, true)
    if (blocked !== undefined) {
      this.world.drop(this.name, p, blocked)
      return
    }
    const v6 = isIpv6(p)
    const forMe = this.locals.has(destinationKey(p))
    if (!forMe && this.#role(v6) === 'nat') {
      this.world.drop(this.name, p, 'nat-not-translated')
      return
    }
    const refused = this.#translateIn(p)
    if (refused === undefined) {
      if (this.#role(v6) === 'nat') this.world.record(this.name, 'nat', p, 'in')
      this.forwardPacket(p, wasFragmented)
    } else if (forMe && refused !== 'nat-filtered' && this.#isForItself(p)) this.deliver(p)
    else this.world.drop(this.name, p, refused)
  }

  #hairpin(p: Uint8Array, wasFragmented: boolean): void {
    const protocol = protocolOf(p)
    const mapped = protocol === IpProtocol.UDP || protocol === IpProtocol.TCP
    if (!mapped) {
      this.deliver(p)
      return
    }
    if (!this.behaviour.hairpin) {
      this.world.drop(this.name, p, 'nat-no-hairpin')
      return
    }
    const refused = this.#translateOut(p) ?? this.#translateIn(p)
    if (refused !== undefined) {
      this.world.drop(this.name, p, refused)
      return
    }
    this.world.record(this.name, 'nat', p, 'hairpin')
    this.forwardPacket(p, wasFragmented)
  }

  /** @returns why not */
  #translateIn(p: Uint8Array): string | undefined {
    const protocol = protocolOf(p)
    if (isIcmp(protocol) && isIcmpError(p)) return this.#errorIn(p) ? undefined : 'nat-no-mapping'
    const now = this.world.clock.now()
    const at = portAt(p, false)
    if (at < 0) {
      const spoke = this.#portless.get(`${protocol} ${sourceKey(p)}`)
      if (spoke === undefined || spoke.until <= now) return 'nat-no-mapping'
      if (this.behaviour.refresh === 'both') spoke.until = now + this.behaviour.timeout
      rewriteEnd(p, false, spoke.inside.bytes, 0)
      return undefined
    }
    const outside = { address: destinationKey(p), port: getU16(p, at) }
    const found = this.#table(isIpv6(p)).inbound(protocol, outside, remoteOf(p, true), now)
    if (typeof found === 'string') return found
    rewriteEnd(p, false, found.inside.bytes, found.insidePort)
    return undefined
  }

  /** An ICMP error from outside about a packet from inside: inner addresses in both headers, RFC 5508 §4.2. */
  #errorIn(p: Uint8Array): boolean {
    const quoted = payloadAt(p) + 8
    const mapping = this.#quotedMapping(p, quoted, true)
    const inside = mapping?.inside ?? this.#portlessOf(p, quoted)
    if (inside === undefined) return false
    rewriteEnd(p, true, inside.bytes, mapping?.insidePort ?? 0, quoted)
    p.set(inside.bytes, destinationAt(p))
    sealChecksums(p)
    return true
  }

  /** The other way: an error from inside about a packet that came in. */
  #errorOut(p: Uint8Array): boolean {
    const v6 = isIpv6(p)
    const quoted = payloadAt(p) + 8
    const mapping = this.#quotedMapping(p, quoted, false)
    const outside = this.#role(v6) === 'firewall' ? undefined : this.#outside.address(v6)
    if (outside === undefined) return this.#role(v6) === 'firewall'
    if (mapping !== undefined) rewriteEnd(p, false, mapping.outside.bytes, mapping.outsidePort, quoted)
    else if (quotesPorts(p, quoted)) return false
    else rewriteEnd(p, false, outside.bytes, 0, quoted)
    p.set(outside.bytes, sourceAt(p))
    sealChecksums(p)
    return true
  }

  #quotedMapping(p: Uint8Array, quoted: number, atSource: boolean): Mapping | undefined {
    if (!quotesPorts(p, quoted)) return undefined
    const v6 = isIpv6(p)
    const protocol = protocolOf(p, quoted)
    const address = keyAt(p, atSource ? sourceAt(p, quoted) : destinationAt(p, quoted), v6)
    const end = { address, port: getU16(p, portAt(p, atSource, quoted)) }
    const now = this.world.clock.now()
    const table = this.#table(v6)
    return atSource ? table.find(protocol, end, now) : table.findInside(protocol, end, now)
  }

  #portlessOf(p: Uint8Array, quoted: number): Ip | undefined {
    if (p.length < quoted + 20 + (isIpv6(p) ? 20 : 0)) return undefined
    return this.#portless.get(`${protocolOf(p, quoted)} ${destinationKey(p, quoted)}`)?.inside
  }

  #blocked(p: Uint8Array, inward: boolean): string | undefined {
    const { blockUdp, blockedPorts } = this.behaviour
    const protocol = protocolOf(p)
    if (protocol === IpProtocol.UDP && blockUdp) return 'nat-blocked-udp'
    if (blockedPorts.length === 0 || (protocol !== IpProtocol.UDP && protocol !== IpProtocol.TCP)) return undefined
    const at = portAt(p, inward)
    return at >= 0 && blockedPorts.includes(getU16(p, at)) ? 'nat-blocked-port' : undefined
  }

  /** What reaches the NAT's outer address without a mapping and is still answered: pings, its own sockets. */
  #isForItself(p: Uint8Array): boolean {
    const protocol = protocolOf(p)
    if (isIcmp(protocol)) return true
    return protocol === IpProtocol.UDP && portAt(p, false) >= 0 && this.hasUdp(getU16(p, portAt(p, false)))
  }
}

const ipAt = (p: Uint8Array, at: number): Ip => {
  const v6 = isIpv6(p)
  return { text: showIp(p, at, v6), bytes: p.slice(at, at + addressLength(p)), key: keyAt(p, at, v6) }
}

/** The far end of a packet: its source when it comes in, its destination when it goes out. Echo has no remote port. */
function remoteOf(p: Uint8Array, atSource: boolean): End {
  const at = isIcmp(protocolOf(p)) ? -1 : portAt(p, atSource)
  return { address: atSource ? sourceKey(p) : destinationKey(p), port: at < 0 ? 0 : getU16(p, at) }
}

/** True when the packet quoted in an ICMP error is there with its ports or identifier. */
const quotesPorts = (p: Uint8Array, quoted: number): boolean =>
  p.length >= quoted + (isIpv6(p) ? 48 : 28) && portAt(p, true, quoted) >= 0
