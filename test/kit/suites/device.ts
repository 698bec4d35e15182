import type { DeviceState, PacketDevice } from '../../../core/contracts/device.ts'
import { HEADROOM, newPacket, octets, TAILROOM } from '../../../core/contracts/packet.ts'
import { addressBytes, buildIp, buildUdp, IpProtocol } from '../../../core/wire/index.ts'
import { type Awaitable, check, quiet, type SuiteRunner, same } from './check.ts'

/** A device and the other side of it. */
export interface DeviceUnderTest {
  /** Closed. */
  readonly device: PacketDevice
  /** Sends this IP packet into the device as the inner host would, from 10.9.0.1 to 10.3.0.5. */
  readonly inject?: (packet: Uint8Array) => Awaitable<void>
  /** The packets that came out of the device on the inner host's side since the last call. */
  readonly delivered?: () => Awaitable<readonly Uint8Array[]>
  /** The state that is in force now, as far as it can be told. */
  readonly state?: () => Awaitable<DeviceState | undefined>
}

const stateWith = (mtu: number): DeviceState => ({
  addresses: [{ address: '10.9.0.1', bits: 32 }],
  routes: [{ to: { address: '10.3.0.0', bits: 24 }, source: '10.9.0.1' }],
  mtu,
  dns: [],
  bypassPorts: [500, 4500],
})

/** What every `PacketDevice` must do. */
export function deviceSuite(make: () => Awaitable<DeviceUnderTest>, { test }: SuiteRunner): void {
  const [here, there] = [addressBytes('10.9.0.1'), addressBytes('10.3.0.5')]
  const outgoing = (length: number): Uint8Array => {
    const datagram = buildUdp(here, 4000, there, 4001, new Uint8Array(length).fill(7))
    return buildIp({ source: here, destination: there, protocol: IpProtocol.UDP }, datagram)
  }
  const incoming = (length: number): Uint8Array => {
    const datagram = buildUdp(there, 4001, here, 4000, new Uint8Array(length).fill(9))
    return buildIp({ source: there, destination: here, protocol: IpProtocol.UDP }, datagram)
  }
  const packetOf = (bytes: Uint8Array) => {
    const packet = newPacket()
    packet.bytes.set(bytes, packet.start)
    packet.end = packet.start + bytes.length
    return packet
  }
  const deaf = { packet() {}, failed() {} }

  test('device: has a name; writing to it while it is closed does nothing', async () => {
    const { device } = await make()
    check(device.name !== '', 'a name')
    quiet('write before open', () => device.write(packetOf(incoming(10))))
    await device.open(deaf)
    await device.close()
    quiet('write after close', () => device.write(packetOf(incoming(10))))
    await device.close() // twice is once
  })

  test('device: of configurations that overlap, the last one wins', async () => {
    const { device, state } = await make()
    await device.open(deaf)
    try {
      await Promise.all([1400, 1300, 1280].map(mtu => device.configure(stateWith(mtu))))
      if (state !== undefined) same((await state())?.mtu, 1280, 'the MTU')
      await device.configure({ addresses: [], routes: [], mtu: 1400, dns: [], bypassPorts: [] })
      if (state !== undefined) same((await state())?.routes, [], 'the routes')
    } finally {
      await device.close()
    }
  })

  test('device: hands up whole packets with room around them', async () => {
    const { device, inject } = await make()
    if (inject === undefined) return
    const seen: Uint8Array[] = []
    let rooms = true
    let arrived: () => void = () => {}
    await device.open({
      packet: packet => {
        rooms &&= packet.start >= HEADROOM && packet.bytes.length - packet.end >= TAILROOM
        seen.push(new Uint8Array(octets(packet)))
        packet.bytes.fill(0, packet.start, packet.end) // the receiver may change it
        arrived()
      },
      failed() {},
    })
    try {
      await device.configure(stateWith(1400))
      for (const length of [0, 1, 1000, 1372]) {
        const arrival = new Promise<void>(resolve => {
          arrived = resolve
        })
        await inject(outgoing(length))
        await arrival
        same(seen.pop(), outgoing(length), `a packet of ${length} octets`)
      }
      check(rooms, `HEADROOM before and TAILROOM behind each packet`)
    } finally {
      await device.close()
    }
  })

  test('device: delivers what is written and leaves the packet to its owner', async () => {
    const { device, delivered } = await make()
    await device.open(deaf)
    try {
      await device.configure(stateWith(1400))
      for (const length of [0, 1, 1372]) {
        const bytes = incoming(length)
        const packet = packetOf(bytes)
        const { start, end } = packet
        quiet('write', () => device.write(packet))
        same([packet.start, packet.end], [start, end], 'start and end')
        packet.bytes.fill(0xee)
        if (delivered !== undefined) same(await delivered(), [bytes], `a packet of ${length} octets`)
      }
      quiet('writing what is no IP packet', () => device.write(packetOf(Uint8Array.of(0, 1, 2))))
      quiet('writing nothing', () => device.write(newPacket()))
    } finally {
      await device.close()
    }
  })
}
