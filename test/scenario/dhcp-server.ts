import type { Host, VirtualInternet } from '../kit/index.ts'

/** A small DHCP server, written by RFC 2131 without the codec under test. */
export interface DhcpServer {
  /** What came: `DISCOVER 255…`, by name and client identifier. */
  readonly log: string[]
  /** Addresses by client identifier. */
  readonly leases: Map<string, string>
  /** Changes or withholds (undefined) what it is about to say: type, octets. */
  bend: (type: number, bytes: Uint8Array) => Uint8Array | undefined
  /** Answers every REQUEST with NAK. */
  refuses: boolean
}

const NAMES: Record<number, string> = { 1: 'DISCOVER', 3: 'REQUEST', 7: 'RELEASE' }

export function dhcpServer(net: VirtualInternet, host: Host, id: string, lease = 600): DhcpServer {
  const socket = host.udp(67)
  const server: DhcpServer = { log: [], leases: new Map(), bend: (_, bytes) => bytes, refuses: false }
  const free = ['10.9.0.100', '10.9.0.101', '10.9.0.102']
  socket.onMessage = ({ data, from, to }) => {
    const options = new Map<number, Uint8Array>()
    for (let at = 240; at < data.length && data[at] !== 255; at += 2 + data[at + 1]!)
      options.set(data[at]!, data.slice(at + 2, at + 2 + data[at + 1]!))
    const type = options.get(53)![0]!
    const client = Buffer.from(options.get(61)!).toString('hex')
    const ciaddr = data.subarray(12, 16).join('.')
    server.log.push(`${NAMES[type]} ${ciaddr} ${net.clock.now()}`)
    if (type === 7) return void server.leases.delete(client)
    const chosen = options.get(54)?.join('.') ?? id
    if (chosen !== id) return
    const held = new Set(server.leases.values())
    const address = server.leases.get(client) ?? free.find(a => !held.has(a))
    if (address === undefined) return
    const answer = type === 1 ? 2 : server.refuses ? 6 : 5
    // an offer is held for whom it was made
    server.leases.set(client, address)
    const bytes = new Uint8Array(300)
    bytes.set(data.subarray(0, 44))
    bytes[0] = 2
    bytes.set(address.split('.').map(Number), 16)
    const four = (value: number): number[] => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]
    bytes.set([99, 130, 83, 99, 53, 1, answer, 54, 4, ...id.split('.').map(Number), 51, 4, ...four(lease)], 236)
    bytes.set([6, 4, 10, 3, 0, 53, 255], 255)
    const bent = server.bend(answer, bytes)
    if (bent !== undefined) socket.send(bent, from.address, from.port, { source: to })
  }
  return server
}
