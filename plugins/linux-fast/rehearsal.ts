import { Tunnel } from '../../core/ipsec/index.ts'
import { Encr, IpProtocol, Ipv4, setU16 } from '../../core/wire/index.ts'
import { openSocket } from './descriptors.ts'
import { type Libc, loadLibc, Sys } from './libc.ts'
import type { RemoteSpec } from './messages.ts'
import type { Pump } from './pump.ts'
import { Gso, NEEDS_CHECKSUM, Tcp, TcpFlag, Vnet } from './vnet.ts'

/** Rounds: enough that the engine has compiled what runs for every packet; some tens of ms. */
const ROUNDS = 150
/** Small packets between two large ones. */
const SMALL = 8
const DATA = 40_000
const HEADERS = Ipv4.HEADER + Tcp.HEADER
const MTU = 1_400
const ID = 'rehearsal'
/** No real socket's number. */
const SOCKET = -2

/**
 * Sends made-up packets to itself through a pump that has nothing yet, so that the first real ones find compiled code:
 * interpreted they take several times as long, which a ping on a new tunnel would show. Where the loopback device is down,
 * nothing comes back, and the rehearsal ends early; it leaves nothing behind.
 *
 * @param wakeFd - ends the pump's waits
 */
export async function rehearse(pump: Pump, wakeFd: number, now: number): Promise<void> {
  const libc = loadLibc()
  const memory = new Uint8Array(Vnet.OCTETS + HEADERS + DATA)
  const at = libc.address(memory)
  const opened = pair(libc, memory)
  try {
    const [device, outside] = opened
    if (device === undefined || outside === undefined) return
    const { fd, local } = openSocket(libc, { protocol: 17, address: '127.0.0.1', port: 0, role: 'extra' }, 1 << 20)
    opened.push(fd)
    await pump.obey({ type: 'socket', id: SOCKET, fd, local })
    await pump.obey({ type: 'tun', fd: device, udp: false })
    const shared = new SharedArrayBuffer(1 << 12)
    await pump.obey({ type: 'install', spec: spec(local), outbound: true, now, memory: shared })
    const turn = (): void => {
      memory.fill(0, 0, 8)
      memory[0] = 1
      libc.write(wakeFd, at, 8) // so that it does not wait
      pump.turn(() => false)
    }
    for (let round = 0; round < ROUNDS; round++) {
      for (let i = 0; i < SMALL; i++) libc.write(outside, at, small(memory, i))
      turn() // out
      turn() // and in
      libc.write(outside, at, large(memory))
      turn()
      turn()
      let back = 0
      while (libc.read(outside, at, memory.length) > 0) back++
      if (back === 0) break
    }
    await pump.obey({ type: 'remove', id: ID })
    await pump.obey({ type: 'close-tun' })
    await pump.obey({ type: 'close-socket', id: SOCKET })
  } catch {
    // no socket: the real ones will say so
  } finally {
    for (const fd of opened) libc.close(fd)
  }
}

/** Two descriptors that keep packets apart as a TUN device does: what is written to one is read from the other. */
function pair(libc: Libc, memory: Uint8Array): number[] {
  if (
    libc.socketpair(Sys.AF_UNIX, Sys.SOCK_SEQPACKET | Sys.SOCK_NONBLOCK | Sys.SOCK_CLOEXEC, 0, libc.address(memory)) < 0
  )
    return []
  const view = new DataView(memory.buffer)
  return [view.getInt32(0, true), view.getInt32(4, true)]
}

/** One SA for both ways: what it sends comes back to it. */
function spec(local: RemoteSpec['flow']['local']): RemoteSpec {
  const keys = { spi: 0x100, encr: random(16), salt: random(4), integ: new Uint8Array(0) }
  const all = {
    family: 4,
    protocol: 0,
    startPort: 0,
    endPort: 65_535,
    start: '0.0.0.0',
    end: '255.255.255.255',
  } as const
  const never = Number.POSITIVE_INFINITY
  return {
    id: ID,
    peer: ID,
    child: ID,
    plan: { path: 'direct', encap: 'udp-encap', mode: 'tunnel' },
    suite: { encr: Encr.ENCR_AES_GCM_16, keyBits: 128, esn: false },
    inbound: keys,
    outbound: keys,
    mode: new Tunnel().create().origin!,
    encap: { name: 'udp-encap', overhead: 8 },
    flow: { protocol: IpProtocol.UDP, local, remote: local },
    local: [all],
    remote: [all],
    lifetime: {
      softMs: never,
      hardMs: never,
      softOctets: never,
      hardOctets: never,
      softPackets: never,
      hardPackets: never,
    },
    replayWindow: 1_024,
    follow: true,
  }
}

const random = (octets: number): Uint8Array => crypto.getRandomValues(new Uint8Array(octets))

/** A packet as the device gives it, without offload. @returns its octets with the virtio header */
function small(memory: Uint8Array, id: number): number {
  header(memory, 64, IpProtocol.ICMP, id)
  return Vnet.OCTETS + 64
}

/** A large packet of TCP that is to be cut. */
function large(memory: Uint8Array): number {
  const view = new DataView(memory.buffer)
  header(memory, HEADERS + DATA, IpProtocol.TCP, 0)
  memory[Vnet.FLAGS] = NEEDS_CHECKSUM
  memory[Vnet.GSO_TYPE] = Gso.TCP4
  view.setUint16(Vnet.HEADER_LENGTH, HEADERS, true)
  view.setUint16(Vnet.GSO_SIZE, MTU - HEADERS, true)
  view.setUint16(Vnet.CHECKSUM_START, Ipv4.HEADER, true)
  view.setUint16(Vnet.CHECKSUM_OFFSET, Tcp.CHECKSUM, true)
  const tcp = Vnet.OCTETS + Ipv4.HEADER
  memory[tcp + Tcp.DATA_OFFSET] = (Tcp.HEADER / 4) << 4
  memory[tcp + Tcp.FLAGS] = TcpFlag.ACK
  return Vnet.OCTETS + HEADERS + DATA
}

function header(memory: Uint8Array, length: number, protocol: number, id: number): void {
  memory.fill(0, 0, Vnet.OCTETS + HEADERS)
  const ip = Vnet.OCTETS
  memory[ip] = 0x45
  setU16(memory, ip + Ipv4.TOTAL_LENGTH, length)
  setU16(memory, ip + Ipv4.ID, id)
  memory[ip + Ipv4.TTL] = 64
  memory[ip + Ipv4.PROTOCOL] = protocol
  memory[ip + Ipv4.SOURCE] = memory[ip + Ipv4.DESTINATION] = 10
}
