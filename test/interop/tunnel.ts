import { setTimeout as sleep } from 'node:timers/promises'
import { inspect, type Outside, type Seen } from './capture.ts'
import { Charon } from './charon.ts'
import { ADDRESS, type Host, type Lab, type NatType } from './lab.ts'
import { NatweaveProcess } from './natweave.ts'
import type { ChildMode, Party, PartyAuth, Ppk, Product, SaView, TunnelConfig } from './party.ts'
import { until } from './process.ts'
import type { End } from './traffic.ts'
import { type Decoded, decode, expectUnderstood } from './tshark.ts'

/** What a case asks for; the rest has defaults that fit most. */
export interface TunnelOptions {
  /** Of alice, the initiator. */
  readonly initiator: Product
  /** Of moon, the gateway of mars. */
  readonly responder: Product
  /** In front of alice; undefined: no NAT anywhere. */
  readonly nat?: NatType
  readonly ike?: string
  readonly esp?: string
  readonly dpdSeconds?: number
  /** Of the responder's tickets (RFC 5723), natweave's alone. */
  readonly ticketKey?: string
  /** Of the initiator. */
  readonly reauthSeconds?: number
  readonly childless?: boolean
  /** With MOBIKE; alice has a second way, to the public segment. */
  readonly mobike?: boolean
  /** Which ends have raw sockets; only natweave can. Undefined: none. */
  readonly raw?: 'both' | 'initiator'
  /** Both ends meet by IPv6; without a NAT only. */
  readonly outer6?: boolean
  /** Default: tunnel. */
  readonly mode?: ChildMode
  /** Where moon's is another one: it decides. */
  readonly responderMode?: ChildMode
  /** Default: ESP. AH needs natweave with raw sockets at both ends. */
  readonly protocol?: 'esp' | 'ah'
  /** What moon protects: its LAN, or mars alone. */
  readonly protects?: string
  /** strongSwan sends its vendor ID. */
  readonly vendorId?: boolean
  /** Octets of the largest IP datagram with IKE in it. */
  readonly fragmentSize?: Readonly<Record<Product, number>>
  /** The end whose cryptography is noble's alone. */
  readonly noble?: TunnelConfig['role']
  /** natweave prefers proposals with this additional key exchange. */
  readonly hybrid?: string
  /** Post-quantum preshared keys, by end. */
  readonly ppk?: Readonly<Partial<Record<TunnelConfig['role'], Ppk>>>
  /** The NAT drops fragments of IP packets. */
  readonly dropFragments?: boolean
  /** By role; absent: a pre-shared key. */
  readonly auth?: Readonly<Record<TunnelConfig['role'], PartyAuth>>
}

/**
 * What has happened before the checks: with `rekeyed`, there were other SAs before the present ones; with `rebooted`, a
 * NAT has dropped packets on the way, and strongSwan may have rekeyed to follow a new mapping; with `moved`, alice has
 * sent some into the void and missed others.
 */
type Story = 'plain' | 'rekeyed' | 'rebooted' | 'moved'

const IKE = 'aes256gcm16-prfsha256-x25519'
const ESP = 'aes128gcm16-x25519'
const GROUP = /-(x25519|ecp\d+|modp\d+)(-ke\d_\w+)*$/

const make = { natweave: NatweaveProcess, strongSwan: Charon } as const satisfies Record<Product, unknown>

/**
 * alice with a virtual address from moon's pool → (NAT) → public segment → moon → mars, both ends up and the public
 * segment captured from before the first message.
 */
export class Tunnel {
  readonly lab: Lab
  readonly alice: Party
  readonly moon: Party
  readonly #esp: string
  readonly #ike: string
  readonly #outside: Outside
  readonly #mode: ChildMode
  readonly #endCapture: () => Promise<string>

  private constructor(lab: Lab, options: TunnelOptions, alice: Party, moon: Party, endCapture: () => Promise<string>) {
    this.lab = lab
    this.alice = alice
    this.moon = moon
    this.#esp = options.esp ?? ESP
    this.#ike = options.ike ?? IKE
    const encapsulated = options.raw !== 'both' || options.nat !== undefined
    this.#outside = options.protocol === 'ah' ? 'ah' : encapsulated ? 'udp' : 'plain'
    this.#mode = options.responderMode ?? options.mode ?? 'tunnel'
    this.#endCapture = endCapture
  }

  /** Builds the network, starts both ends and connects. */
  static async up(lab: Lab, options: TunnelOptions): Promise<Tunnel> {
    const tunnel = await Tunnel.prepare(lab, options)
    await tunnel.alice.connect()
    await tunnel.settled()
    return tunnel
  }

  /** The same up to the moment before the first message. */
  static async prepare(lab: Lab, options: TunnelOptions): Promise<Tunnel> {
    if (options.nat === undefined) await lab.up('direct')
    else {
      const fragments = options.dropFragments ? ['--drop-fragments', 'yes'] : []
      await lab.up(options.mobike ? 'roam' : 'nat1', ['--nata', options.nat, ...fragments])
    }
    if (options.outer6) await enableIpv6(lab)
    const config = {
      ike: options.ike ?? IKE,
      esp: options.esp ?? ESP,
      gateway: options.outer6 ? MOON_V6 : ADDRESS.moon,
      dpdSeconds: options.dpdSeconds ?? 0,
      mobike: options.mobike ?? false,
      protocol: options.protocol ?? 'esp',
      protects: options.protects ?? ADDRESS.moonLan,
      vendorId: options.vendorId ?? false,
      ...(options.hybrid !== undefined && { hybrid: options.hybrid }),
    }
    const end = (role: TunnelConfig['role'], raw: boolean): TunnelConfig => {
      // strongSwan's user-space ESP needs UDP, whatever the peer could do without
      return {
        ...config,
        role,
        raw,
        noble: options.noble === role,
        ...(role === 'initiator' && options.reauthSeconds !== undefined && { reauthSeconds: options.reauthSeconds }),
        ...(role === 'initiator' && options.childless && { childless: true }),
        ...(role === 'responder' && options.ticketKey !== undefined && { ticketKey: options.ticketKey }),
        ...(options.ppk?.[role] !== undefined && { ppk: options.ppk[role] }),
        ...(options.fragmentSize !== undefined && { fragmentSize: options.fragmentSize[options[role]] }),
        ...(options.auth === undefined ? {} : { auth: options.auth[role] }),
        mode: (role === 'responder' ? options.responderMode : undefined) ?? options.mode ?? 'tunnel',
        forceEncapsulation: (options.nat === undefined || options.mobike === true) && !raw,
      }
    }
    const alice = new make[options.initiator](lab, 'alice', end('initiator', options.raw !== undefined))
    const moon = new make[options.responder](lab, 'moon', end('responder', options.raw === 'both'))
    const endCapture = await lab.capture('inet', 'br0', 'public')
    await Promise.all([alice.start(), moon.start()])
    return new Tunnel(lab, options, alice, moon, endCapture)
  }

  /** What moves the packets of both ends, of those that say it. */
  async planes(): Promise<readonly string[]> {
    const { alice, moon } = await this.settled()
    return [alice, moon].flatMap(({ plane }) => plane ?? [])
  }

  /** The end of the tunnel at alice, under its virtual address. */
  async inner(): Promise<End> {
    const address = (await this.alice.sas())[0]?.virtualAddress
    if (address === undefined) throw new Error('alice has no virtual address')
    return { host: 'alice', address }
  }

  get mars(): End {
    return { host: 'mars', address: ADDRESS.mars }
  }

  /** Waits until both ends have exactly one pair of SAs and it is the same. */
  settled(ms = 10_000): Promise<{ alice: SaView; moon: SaView }> {
    return until('one common pair of SAs on both ends', ms, async () => {
      const [mine, theirs] = await Promise.all([this.alice.sas(), this.moon.sas()])
      const [alice, moon] = [mine[0], theirs[0]]
      if (alice === undefined || moon === undefined || mine.length !== 1 || theirs.length !== 1) return undefined
      return alice.spiIn === moon.spiOut && alice.spiOut === moon.spiIn ? { alice, moon } : undefined
    })
  }

  /**
   * Waits until all packets that went into one end have come out of the other, over all SAs, whatever became of them.
   *
   * @returns how many packets, and how many of them a full socket has cost; undefined where an end merges packets, so that
   *   its device counts others than were sent
   * @throws saying how many are lost without an excuse
   */
  async nothingLost(): Promise<{ readonly packets: number | undefined; readonly excused: number }> {
    if (this.alice.merges || this.moon.merges)
      return { packets: undefined, excused: (await this.#socketFull('alice')) + (await this.#socketFull('moon')) }
    for (const end = Date.now() + 2000; ; ) {
      const [alice, moon] = await Promise.all([this.#device(this.alice), this.#device(this.moon)])
      const lost = alice.out + moon.out - alice.in - moon.in
      const excused = (await this.#socketFull('alice')) + (await this.#socketFull('moon'))
      if (lost === excused) return { packets: alice.out + moon.out, excused }
      if (Date.now() > end)
        throw new Error(`${lost} of ${alice.out + moon.out} packets lost, ${excused} by a full socket`)
      await sleep(100)
    }
  }

  /** Packets that a TUN device has carried since it was made. */
  async #device({ host, device }: Party): Promise<{ in: number; out: number }> {
    const files = ['tx_packets', 'rx_packets'].map(name => `/sys/class/net/${device}/statistics/${name}`)
    const [out, into] = (await this.lab.exec(host, ['cat', ...files])).stdout.split('\n').map(Number)
    return { in: into ?? 0, out: out ?? 0 }
  }

  /**
   * The checks that an answered ping does not replace: the SA's mode, cipher, encapsulation and counters on both sides,
   * and the capture of the public segment. To be called once, at the end, when no traffic is running.
   *
   * @returns facts for the case's line
   */
  async expectProtected(story: Story = 'plain'): Promise<string[]> {
    const { alice, moon } = await this.settled()
    for (const [name, sa] of [
      ['alice', alice],
      ['moon', moon],
    ] as const) {
      equal(`${name}: mode`, sa.mode, this.#mode)
      equal(`${name}: cipher`, sa.cipher, this.#esp.replace(GROUP, ''))
      equal(`${name}: IKE`, sa.ikeSuite, this.#ike)
      equal(`${name}: ESP in UDP`, sa.encapsulated, this.#outside === 'udp')
    }
    const capture = await this.#endCapture()
    const seen = inspect(capture, this.#outside)
    expectNoClear(seen)
    const full = { alice: await this.#socketFull('alice'), moon: await this.#socketFull('moon') }
    const here = { there: packetsOf(seen, alice.spiOut), back: packetsOf(seen, alice.spiIn) }
    if (here.there === 0 || here.back === 0) throw new Error('no ESP packet of the SAs on the public segment')
    const unsent = story === 'moved' ? Math.max(0, alice.packetsOut - here.there) : 0
    equal('packets sent by alice, on the wire', alice.packetsOut - unsent, here.there)
    received('moon', moon.packetsIn, full.moon, here.there, story)
    equal('packets sent by moon, on the wire', moon.packetsOut, here.back)
    // what was on its way to the old mapping is on this side of the NAT only
    if (story !== 'rebooted' && story !== 'moved') received('alice', alice.packetsIn, full.alice, here.back, story)
    for (const [spi, numbers] of seen.esp) {
      const wrong = numbers.findIndex((number, i) =>
        story === 'moved' ? number <= (numbers[i - 1] ?? 0) : number !== i + 1,
      )
      if (wrong >= 0)
        throw new Error(`SPI ${spi}: packet ${wrong + 1} on the wire has sequence number ${numbers[wrong]}`)
    }
    if (story === 'plain') equal('SPIs on the wire', seen.esp.size, 2)
    const decoded = await this.#decode(capture, story !== 'plain')
    const fromMoon = seen.fragments.get(ADDRESS.moon) ?? 0
    const fromAlice = [...seen.fragments.values()].reduce((sum, n) => sum + n, 0) - fromMoon
    return [
      ...(seen.fragments.size > 0 ? [`IKE fragments=${fromAlice}+${fromMoon}`] : []),
      ...(decoded.followUps > 0 ? [`IKE_FOLLOWUP_KE=${decoded.followUps}`] : []),
      `mode=${alice.mode}`,
      `ike=${alice.ikeSuite}`,
      `${this.#outside === 'ah' ? 'ah' : 'esp'}=${alice.cipher}${this.#outside === 'plain' ? ' without UDP' : ''}`,
      `packets=${here.there}+${here.back} (socket full: ${full.moon}+${full.alice}) on both ends and on the wire, clear=0`,
      `tshark=${this.#outside === 'ah' ? `${decoded.ah} AH` : `${decoded.espGoodIcv}/${decoded.esp} ESP`} ${decoded.ikeDecrypted}/${decoded.ikeEncrypted} IKE`,
    ]
  }

  /**
   * The checks where nothing may have come up: no SAs on both ends, and nothing but IKE on the public segment. To be
   * called once, at the end.
   */
  async expectNothing(): Promise<string[]> {
    await until('both ends without SAs', 5000, async () =>
      (await Promise.all([this.alice.sas(), this.moon.sas()])).every(({ length }) => length === 0),
    )
    const capture = await this.#endCapture()
    const { ike, esp, clear, clearCount } = inspect(capture, this.#outside)
    if (clearCount > 0) throw new Error(`${clearCount} clear packets on the public segment: ${clear.join('; ')}`)
    if (ike === 0) throw new Error('no IKE on the public segment')
    if (esp.size > 0) throw new Error(`ESP or AH of ${esp.size} SAs on the public segment`)
    const exporter = this.alice.product === 'natweave' ? this.alice : this.moon
    const { complaints, ikeEncrypted, ikeDecrypted } = await decode(capture, await exporter.keys())
    if (complaints.length > 0) throw new Error(`tshark: ${complaints.join('; ')}`)
    equal('tshark: IKE messages that decrypt', ikeDecrypted, ikeEncrypted)
    return [
      `${ike} IKE messages, no SA on both ends, nothing else on the wire`,
      `tshark=${ikeDecrypted}/${ikeEncrypted} IKE`,
    ]
  }

  /** Datagrams that the host's kernel has dropped because TCP was faster than the program that reads the socket. */
  async #socketFull(host: Host): Promise<number> {
    if (this.#outside !== 'udp') {
      // a header, then a line per raw socket, which ends with its drops
      const { stdout } = await this.lab.exec(host, ['cat', '/proc/net/raw', '/proc/net/raw6'])
      const sockets = stdout.split('\n').filter(line => /^\s*\d+:/.test(line))
      return sockets.reduce((sum, line) => sum + Number(line.trim().split(' ').at(-1)), 0)
    }
    const lines = (await this.lab.exec(host, ['grep', '^Udp:', '/proc/net/snmp'])).stdout.split('\n')
    const [names = [], values = []] = lines.map(line => line.split(' '))
    return Number(values[names.indexOf('RcvbufErrors')] ?? 0)
  }

  /** Lets Wireshark judge every packet, with the keys that one end exports. */
  async #decode(capture: string, rekeyed: boolean): Promise<Decoded> {
    const exporter = [this.alice, this.moon].find(({ product }) => product === 'natweave')
    // charon's keys are known for its first SAs only; see charon-keys.ts
    const keys = exporter !== undefined ? await exporter.keys() : rekeyed ? [] : await this.alice.keys()
    const decoded = await decode(capture, keys)
    const inside = this.#outside === 'ah' ? 'ah' : this.#mode === 'beet' ? 'no IP header' : 'ip'
    expectUnderstood(decoded, exporter !== undefined || !rekeyed, inside)
    return decoded
  }
}

/** @throws when a capture of the public segment shows something else than IKE, ESP in UDP and keepalives */
function expectNoClear(seen: Seen): void {
  if (seen.clearCount > 0)
    throw new Error(`${seen.clearCount} clear packets on the public segment: ${seen.clear.join('; ')}`)
  if (seen.esp.size === 0 || seen.ike === 0) throw new Error('no ESP or no IKE on the public segment')
}

const packetsOf = (seen: Seen, spi: string): number => seen.esp.get(spi)?.length ?? 0

function equal<T>(what: string, found: T, wanted: T): void {
  if (found !== wanted) throw new Error(`${what}: ${found}, wanted ${wanted}`)
}

/**
 * An SA has counted what was on the wire for it, but for what a full socket has cost. After a rekey some of that cost may
 * have fallen on earlier SAs; `nothingLost` has counted over all of them.
 */
function received(host: Host, counted: number, full: number, wire: number, story: Story): void {
  const fits = story === 'plain' ? counted + full === wire : counted <= wire && wire <= counted + full
  if (!fits)
    throw new Error(`packets received by ${host}: ${counted} and ${full} lost in a full socket, ${wire} on the wire`)
}

const MOON_V6 = '2001:db8::20'

/** The networks of the lab have no IPv6 by themselves. */
async function enableIpv6(lab: Lab): Promise<void> {
  for (const [host, address] of [
    ['alice', '2001:db8::50'],
    ['moon', MOON_V6],
  ] as const) {
    const on = ['lo', 'eth0'].map(name => `net.ipv6.conf.${name}.disable_ipv6=0`)
    await lab.exec(host, ['sysctl', '-qw', ...on])
    await lab.exec(host, ['ip', 'addr', 'add', `${address}/64`, 'dev', 'eth0', 'nodad'])
  }
}
