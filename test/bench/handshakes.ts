import {
  createNatweave,
  type Flow,
  type LocalEndpoint,
  type Natweave,
  newPacket,
  octets,
  type Packet,
  type PeerSettings,
  type Plugin,
  TRANSPORT,
  type Transport,
  type TransportSink,
} from '../../core/index.ts'
import { noble } from '../../plugins/noble/index.ts'
import { nodeCrypto } from '../../plugins/node-crypto/index.ts'
import { udpEncap } from '../../plugins/udp-encap/index.ts'
import { child, peer, settings } from '../scenario/nodes.ts'
import { type Bench, type Figure, realNow } from './measure.ts'

const SUITES = ['aes256gcm16-prfsha256-x25519', 'aes256gcm16-prfsha256-ecp256', 'aes256gcm16-prfsha256-modp2048']
const PROVIDERS = { noble, 'node-crypto': nodeCrypto }
const SECONDS = 1.2

/** Two builds in one process with a wire of function calls: connect (4 messages, IKE SA and Child SA), disconnect (2). */
export const handshakes: Bench = {
  name: 'handshakes',
  about: 'complete negotiations between two engines in memory; both ends on one core',
  async run(): Promise<readonly Figure[]> {
    const figures: Figure[] = []
    for (const suite of SUITES)
      for (const [name, crypto] of Object.entries(PROVIDERS)) {
        const value = await perSecond(suite, crypto)
        const how = 'connect() and disconnect() one after the other through two in-memory transports'
        figures.push({ what: name, value, unit: '/s', compare: suite, how })
      }
    return figures
  },
}

async function perSecond(suite: string, crypto: () => Plugin): Promise<number> {
  const [left, right] = [new Wired('192.0.2.1'), new Wired('192.0.2.2')]
  left.other = right
  right.other = left
  const hosts = [child({ name: 'hosts', local: ['dynamic'], remote: ['dynamic'] })]
  const common = { proposals: [suite], children: hosts }
  const a = build(left, crypto, peer({ ...common, name: 'b', me: 'a', remote: '192.0.2.2' }))
  const b = build(right, crypto, peer({ ...common, name: 'a', me: 'b' }))
  await Promise.all([a.start(), b.start()])
  const once = async (): Promise<void> => {
    await a.connect('b')
    await a.disconnect('b')
  }
  for (let i = 0; i < 5; i++) await once()
  const from = realNow()
  let done = 0
  while (realNow() - from < SECONDS * 1_000) {
    await once()
    done++
  }
  const value = (done / (realNow() - from)) * 1_000
  await Promise.all([a.stop(), b.stop()])
  return value
}

function build(transport: Transport, crypto: () => Plugin, one: PeerSettings): Natweave {
  const wire: Plugin = { name: 'wire', api: 1, register: c => c.register(TRANSPORT, { useValue: transport }) }
  return createNatweave({ plugins: [crypto(), udpEncap(), wire], settings: settings({ peers: [one], pools: {} }) })
}

/** One end of a wire: datagrams arrive as microtasks. */
class Wired implements Transport {
  readonly name = 'wire'
  readonly address: string
  other: Wired | undefined
  readonly #packet: Packet = newPacket()
  #sink: TransportSink | undefined

  constructor(address: string) {
    this.address = address
  }

  async open(sink: TransportSink): Promise<void> {
    this.#sink = sink
  }

  async close(): Promise<void> {
    this.#sink = undefined
  }

  locals(): readonly LocalEndpoint[] {
    const { address } = this
    return [
      { address, port: 500, protocol: 17, role: 'ike' },
      { address, port: 4500, protocol: 17, role: 'natt' },
      { address, port: 0, protocol: 50, role: 'raw' },
    ]
  }

  async source(): Promise<string> {
    return this.address
  }

  async resolve(host: string): Promise<readonly string[]> {
    return [host]
  }

  carries(): boolean {
    return true
  }

  send(packet: Packet, { protocol, local, remote }: Flow): void {
    const bytes = octets(packet).slice()
    queueMicrotask(() => this.other?.receive(bytes, { protocol, local: remote, remote: local }))
  }

  receive(bytes: Uint8Array, flow: Flow): void {
    const packet = this.#packet
    packet.bytes.set(bytes, packet.start)
    packet.end = packet.start + bytes.length
    this.#sink?.receive(packet, flow)
  }
}
