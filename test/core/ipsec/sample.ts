import type { CryptoProvider } from '../../../core/contracts/crypto.ts'
import type { ChildSaSpec, EspKeys, EspSuite, Lifetime, PlaneEvent } from '../../../core/contracts/data-plane.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { HEADROOM, newPacket, octets, type Packet } from '../../../core/contracts/packet.ts'
import type { EncapStrategy, ModeContext, Selector } from '../../../core/contracts/strategy.ts'
import { espTransform, PortablePlane, type PortablePlaneOptions, Tunnel } from '../../../core/ipsec/index.ts'
import { addressBytes, buildIp, buildUdp, Encr, familyOf, Integ, IpProtocol } from '../../../core/wire/index.ts'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { SeededRng } from '../../kit/rng.ts'

/** What the tests of this folder protect, and with what. */

export const PROVIDERS: readonly CryptoProvider[] = [nobleProvider, nodeCryptoProvider]

export const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'))
export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** Suites by the short names of the kernel's vectors; key bits follow the key. */
const NAMED: Readonly<Record<string, readonly [encr: number, keyBits: number | undefined, integ?: number]>> = {
  aes128gcm8: [Encr.ENCR_AES_GCM_8, 128],
  aes128gcm12: [Encr.ENCR_AES_GCM_12, 128],
  aes128gcm16: [Encr.ENCR_AES_GCM_16, 128],
  aes256gcm16: [Encr.ENCR_AES_GCM_16, 256],
  aes128ccm16: [Encr.ENCR_AES_CCM_16, 128],
  chacha20poly1305: [Encr.ENCR_CHACHA20_POLY1305, undefined],
  'aes128-sha1': [Encr.ENCR_AES_CBC, 128, Integ.AUTH_HMAC_SHA1_96],
  'aes128-sha256': [Encr.ENCR_AES_CBC, 128, Integ.AUTH_HMAC_SHA2_256_128],
  'aes256-sha384': [Encr.ENCR_AES_CBC, 256, Integ.AUTH_HMAC_SHA2_384_192],
  'aes256-sha512': [Encr.ENCR_AES_CBC, 256, Integ.AUTH_HMAC_SHA2_512_256],
  'aes128ctr-sha256': [Encr.ENCR_AES_CTR, 128, Integ.AUTH_HMAC_SHA2_256_128],
  'null-sha256': [Encr.ENCR_NULL, undefined, Integ.AUTH_HMAC_SHA2_256_128],
  aes128gmac: [Encr.ENCR_NULL_AUTH_AES_GMAC, 128],
  'aes128-xcbc': [Encr.ENCR_AES_CBC, 128, Integ.AUTH_AES_XCBC_96],
  'aes128-cmac': [Encr.ENCR_AES_CBC, 128, Integ.AUTH_AES_CMAC_96],
}

export function suiteNamed(name: string, esn = false): EspSuite {
  const [encr, keyBits, integ] = NAMED[name]!
  return {
    encr,
    ...(keyBits === undefined ? {} : { keyBits }),
    ...(integ === undefined ? {} : { integ }),
    esn,
  }
}

/** Those natweave carries with this provider. */
export const suitesOf = (crypto: CryptoProvider): string[] =>
  Object.keys(NAMED).filter(name => {
    const { encr, keyBits, integ } = suiteNamed(name)
    return (
      espTransform(encr) !== undefined &&
      crypto.supports(1, encr, keyBits) &&
      (integ === undefined || crypto.supports(3, integ))
    )
  })

const INTEG_KEY: Readonly<Record<number, number>> = { 2: 20, 5: 16, 8: 16, 12: 32, 13: 48, 14: 64 }

/** Keying material as IKE would derive it, out of a seed. */
export function keysFor(suite: EspSuite, spi: number, seed = `keys ${spi}`): EspKeys {
  const rng = new SeededRng(seed)
  const fixed = suite.encr === Encr.ENCR_CHACHA20_POLY1305 ? 32 : 0
  const nonce = suite.encr === Encr.ENCR_AES_CTR ? 4 : 0
  return {
    spi,
    encr: rng.bytes(fixed + (suite.keyBits ?? 0) / 8 + nonce),
    salt: rng.bytes(espTransform(suite.encr)!.salt),
    integ: rng.bytes(INTEG_KEY[suite.integ ?? 0] ?? 0),
  }
}

export const selector = (start: string, end = start, limits: Partial<Selector> = {}): Selector => ({
  family: familyOf(start),
  protocol: 0,
  startPort: 0,
  endPort: 65_535,
  start,
  end,
  ...limits,
})

export const udpFlow = (local: string, remote: string, remotePort = 4500): Flow => ({
  protocol: 17,
  local: { address: local, port: 4500 },
  remote: { address: remote, port: remotePort },
})

/** An encapsulation that does nothing. */
export const plain: EncapStrategy = {
  slot: 'encap',
  name: 'plain',
  solves: [],
  overhead: 8,
  assess: () => ({ usable: true, cost: { octets: 8, roundTrips: 0, trusts: [] } }),
  ikeFlow: flow => flow,
  espFlow: flow => flow,
}

export const context = (
  flow: Flow,
  local: readonly Selector[],
  remote: readonly Selector[],
  facts: Readonly<Record<string, boolean>> = {},
): ModeContext => ({
  local,
  remote,
  initiator: true,
  facts: Object.fromEntries(Object.entries(facts).map(([name, value]) => [name, { value, source: 'test', at: 0 }])),
  flow: () => flow,
})

export const FOREVER: Lifetime = {
  softMs: Number.POSITIVE_INFINITY,
  hardMs: Number.POSITIVE_INFINITY,
  softOctets: Number.POSITIVE_INFINITY,
  hardOctets: Number.POSITIVE_INFINITY,
  softPackets: Number.POSITIVE_INFINITY,
  hardPackets: Number.POSITIVE_INFINITY,
}

const A = { inner: '10.1.0.1', outer: '192.0.2.1' }
const B = { inner: '10.2.0.1', outer: '198.51.100.1' }

/** Both ends' view of one tunnel between 10.1.0.0/16 and 10.2.0.0/16; `serial` tells SAs apart. */
export function specPair(
  serial: number,
  options: Partial<ChildSaSpec> = {},
  suite: EspSuite = suiteNamed('chacha20poly1305'),
): readonly [ChildSaSpec, ChildSaSpec] {
  const toB = keysFor(suite, 0x1000 + serial)
  const toA = keysFor(suite, 0x2000 + serial)
  const netA = [selector('10.1.0.0', '10.1.255.255')]
  const netB = [selector('10.2.0.0', '10.2.255.255')]
  const spec = (flow: Flow, local: readonly Selector[], remote: readonly Selector[]) => ({
    id: `peer/net{${serial}}`,
    peer: 'peer',
    child: 'net',
    plan: { path: 'direct', encap: 'plain', mode: 'tunnel' },
    suite,
    mode: new Tunnel().create(),
    encap: plain,
    flow,
    local,
    remote,
    lifetime: FOREVER,
    replayWindow: 64,
    follow: false,
  })
  return [
    { ...spec(udpFlow(A.outer, B.outer), netA, netB), inbound: toA, outbound: toB, ...options },
    { ...spec(udpFlow(B.outer, A.outer), netB, netA), inbound: toB, outbound: toA, ...options },
  ]
}

/** A plane with everything it hands out kept. */
export function observedPlane(name: string, options: PortablePlaneOptions = {}, crypto = nodeCryptoProvider) {
  const sent: { readonly bytes: Uint8Array; readonly flow: Flow; readonly df: boolean }[] = []
  const delivered: Uint8Array[] = []
  const events: PlaneEvent[] = []
  const plane = new PortablePlane(
    crypto,
    new SeededRng(name),
    {
      transmit: (packet, flow) => sent.push({ bytes: octets(packet).slice(), flow, df: packet.df }),
      deliver: packet => delivered.push(octets(packet).slice()),
      event: event => events.push(event),
    },
    options,
  )
  return { plane, sent, delivered, events }
}

/** `bytes` at HEADROOM of a packet of its own. */
export function packetOf(bytes: Uint8Array, capacity = bytes.length): Packet {
  const packet = newPacket(HEADROOM + capacity + 320)
  packet.bytes.set(bytes, HEADROOM)
  packet.end = HEADROOM + bytes.length
  return packet
}

/** A UDP packet, by default from A's net to B's. */
export function udpPacket(
  payload: Uint8Array | string,
  { source = A.inner, destination = B.inner, df = false, tos = 0, sourcePort = 1000, destinationPort = 53 } = {},
): Uint8Array {
  const [from, to] = [addressBytes(source), addressBytes(destination)]
  const data = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload
  const datagram = buildUdp(from, sourcePort, to, destinationPort, data)
  return buildIp({ source: from, destination: to, protocol: IpProtocol.UDP, df, tos }, datagram)
}
