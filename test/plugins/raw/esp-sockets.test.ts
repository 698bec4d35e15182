import { expect, test } from 'vitest'
import { silentLog } from '../../../core/contracts/log.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { newPacket, octets } from '../../../core/contracts/packet.ts'
import type { BoundSocket, PacketIo, PacketIoSink } from '../../../core/contracts/packet-io.ts'
import type { LocalEndpoint } from '../../../core/contracts/transport.ts'
import type { Interfaces } from '../../../plugins/raw/addresses.ts'
import { RawTransport } from '../../../plugins/raw/index.ts'

/** A data plane's sockets, without a kernel. */
class FakeIo implements PacketIo {
  readonly name = 'fake'
  available = true
  readonly open = new Map<string, PacketIoSink<Flow>>()
  readonly sent: string[] = []
  /** By address, what `bind` fails with. */
  readonly failures: Record<string, string> = {}

  async bind(local: LocalEndpoint, _: number, sink: PacketIoSink<Flow>): Promise<BoundSocket> {
    const code = this.failures[local.address]
    if (code !== undefined) throw Object.assign(new Error(code), { code })
    this.open.set(local.address, sink)
    return {
      local,
      send: (packet, remote) => {
        this.sent.push(`${local.protocol} ${local.address} ${remote.address} ${octets(packet).length}`)
        return packet.end - packet.start > 1_400 ? 'EMSGSIZE' : undefined
      },
      close: async () => {
        this.open.delete(local.address)
      },
    }
  }

  async openTun(): Promise<never> {
    throw new Error('no device')
  }
}

const up = (...addresses: string[]): Interfaces => ({
  eth0: addresses.map(address => ({ address, internal: false }) as never),
})
const flowTo = (local: string, remote: string, protocol: Flow['protocol'] = 50): Flow => ({
  protocol,
  local: { address: local, port: 0 },
  remote: { address: remote, port: 0 },
})
const ofLength = (length: number) => {
  const packet = newPacket()
  packet.end += length
  return packet
}

function transportOn(io: FakeIo, ...addresses: string[]) {
  const said = { received: [] as string[], failed: [] as string[], told: [] as string[], changes: 0 }
  const state = { addresses }
  const options = { protocols: [50 as const], watchMs: 0, interfaces: () => up(...state.addresses) }
  const transport = new RawTransport(options, silentLog, io)
  const opened = transport.open({
    receive: (packet, { local, remote }) =>
      said.received.push(`${remote.address} ${local.address} ${octets(packet)[0]}`),
    changed: () => said.changes++,
    failed: error => said.failed.push(error.message),
    pathMtu: (local, remote, mtu) => said.told.push(`${local} ${remote} ${mtu}`),
  })
  return { transport, opened, said, state }
}

test('ESP goes by the sockets of the data plane that has some: one for each address', async () => {
  const io = new FakeIo()
  const { transport, opened, said, state } = transportOn(io, '192.0.2.1', '2001:db8::1')
  await opened
  expect(transport.locals()).toEqual(
    ['192.0.2.1', '2001:db8::1'].map(address => ({ protocol: 50, role: 'raw', address, port: 0 })),
  )
  const flow = flowTo('192.0.2.1', '198.51.100.1')
  expect(
    [flow, flowTo('192.0.2.9', '198.51.100.1'), { ...flow, protocol: 51 as const }].map(f => transport.carries(f)),
  ).toEqual([true, false, false])
  transport.send(ofLength(100), flow)
  transport.send(ofLength(1_500), flow)
  transport.send(ofLength(100), flowTo('192.0.2.9', '198.51.100.1'))
  expect(io.sent).toEqual(['50 192.0.2.1 198.51.100.1 100', '50 192.0.2.1 198.51.100.1 1500'])
  expect(transport.stats()).toMatchObject({ sent: 1, sentOctets: 100, unbound: 1, sendErrors: { EMSGSIZE: 1 } })

  const sink = io.open.get('192.0.2.1')!
  sink.receive(Object.assign(ofLength(1), { bytes: new Uint8Array(200).fill(7) }), flow)
  sink.pathMtu!('198.51.100.1', 1_300)
  sink.failed(new Error('gone'))
  expect(said).toMatchObject({
    received: ['198.51.100.1 192.0.2.1 7'],
    told: ['192.0.2.1 198.51.100.1 1300'],
    failed: ['gone'],
    changes: 0,
  })
  expect(transport.stats()).toMatchObject({ received: 1, receivedOctets: 1 })

  // addresses come and go; what cannot be opened is said once, and tried again
  io.failures['192.0.2.3'] = 'EADDRNOTAVAIL'
  state.addresses = ['192.0.2.1', '192.0.2.3']
  await transport.rescan()
  await transport.rescan()
  expect([...io.open.keys()]).toEqual(['192.0.2.1'])
  expect([said.changes, said.failed.length]).toEqual([1, 2])
  expect(said.failed[1]).toBe('opening a raw socket for ESP on 192.0.2.3: EADDRNOTAVAIL')
  delete io.failures['192.0.2.3']
  await transport.rescan()
  expect([...io.open.keys()]).toEqual(['192.0.2.1', '192.0.2.3'])
  expect(said.changes).toBe(2)

  await transport.close()
  expect([io.open.size, transport.locals().length]).toEqual([0, 0])
})

test('an address that is not ready yet stops nothing; none at all does', async () => {
  const io = new FakeIo()
  io.failures['2001:db8::1'] = 'EADDRNOTAVAIL'
  const { transport, opened, said } = transportOn(io, '192.0.2.1', '2001:db8::1')
  await opened
  expect(transport.locals().map(({ address }) => address)).toEqual(['192.0.2.1'])
  expect(said.failed).toHaveLength(1)
  await transport.close()

  io.failures['192.0.2.1'] = 'EPERM'
  const refused = transportOn(io, '192.0.2.1')
  await expect(refused.opened).rejects.toMatchObject({ code: 'SYSTEM_PERMISSION' })
  expect(io.open.size).toBe(0)
})
