import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { networkInterfaces } from 'node:os'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { silentLog } from '../../../core/contracts/log.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { newPacket, octets, type Packet } from '../../../core/contracts/packet.ts'
import type { LocalEndpoint } from '../../../core/contracts/transport.ts'
import type { Interfaces } from '../../../plugins/udp/addresses.ts'
import { type UdpOptions, UdpTransport } from '../../../plugins/udp/index.ts'
import { bindError } from '../../../plugins/udp/udp-socket.ts'

/** A transport on real loopback sockets that remembers what it heard. */
class Listener {
  readonly transport: UdpTransport
  readonly heard: { text: string; flow: Flow; packet: Packet }[] = []
  readonly failures: Error[] = []
  changes = 0
  #wake = (): void => {}

  constructor(options: UdpOptions, batches?: () => Promise<undefined>) {
    this.transport = new UdpTransport({ ikePort: 0, nattPort: 0, ...options }, silentLog, undefined, batches)
  }

  async open(): Promise<this> {
    open.push(this.transport)
    await this.transport.open({
      receive: (packet, flow) => {
        this.heard.push({ text: Buffer.from(octets(packet)).toString(), flow, packet })
        this.#wake()
      },
      changed: () => this.changes++,
      failed: error => this.failures.push(error),
    })
    return this
  }

  async until(count: number): Promise<void> {
    while (this.heard.length < count) {
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  local(role: 'ike' | 'natt'): LocalEndpoint {
    return this.transport.locals().find(local => local.role === role)!
  }
}

const open: UdpTransport[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map(transport => transport.close()))
})

const datagram = (text: string): Packet => {
  const packet = newPacket()
  packet.bytes.set(Buffer.from(text), packet.start)
  packet.end = packet.start + text.length
  return packet
}

const between = (from: LocalEndpoint, { address, port }: LocalEndpoint): Flow => ({
  protocol: 17,
  local: from,
  remote: { address, port },
})

/** Where there is no package koffi. */
const nodeAlone = async (): Promise<undefined> => undefined

const hasIPv6 = Object.values(networkInterfaces()).some(infos => infos?.some(one => one.address === '::1'))

const EACH_WAY = [
  ['by the batch', undefined],
  ['by Node alone', nodeAlone],
] as const

for (const address of hasIPv6 ? ['127.0.0.1', '::1'] : ['127.0.0.1'])
  test.each(EACH_WAY)(`${address}: datagrams go both ways, on shared flows, %s`, async (_, batches) => {
    const a = await new Listener({ addresses: [address] }, batches).open()
    const b = await new Listener({ addresses: [address] }, batches).open()
    const flow = between(a.local('ike'), b.local('natt'))
    const packet = datagram('one')
    a.transport.send(packet, flow)
    packet.bytes.fill(0) // the packet is ours again
    a.transport.send(datagram('two'), flow)
    a.transport.send(datagram('from 4500'), between(a.local('natt'), b.local('natt')))
    a.transport.send(datagram('three'), flow)
    await b.until(4)
    expect(b.heard.map(({ text }) => text).sort()).toEqual(['from 4500', 'one', 'three', 'two'])
    const onFlow = b.heard.filter(({ flow }) => flow.remote.port === a.local('ike').port)
    expect(onFlow).toHaveLength(3)
    expect(new Set(onFlow.map(({ flow }) => flow)).size).toBe(1)
    // one object for what Node reads, one for what comes by the batch
    expect(new Set(b.heard.map(({ packet }) => packet)).size).toBeLessThanOrEqual(2)
    const { port } = a.local('ike')
    expect(onFlow[0]!.flow).toEqual({ protocol: 17, local: b.local('natt'), remote: { address, port } })
    // the flow a datagram came on is the one to answer on
    expect(b.transport.carries(onFlow[0]!.flow)).toBe(true)
    b.transport.send(datagram('back'), onFlow[0]!.flow)
    await a.until(1)
    expect(a.heard[0]).toMatchObject({ text: 'back', flow })
    expect(a.transport.stats()).toMatchObject({
      sent: 4,
      sentOctets: 20,
      received: 1,
      receivedOctets: 4,
      sendErrors: {},
    })
  })

test.each(EACH_WAY)('the largest datagrams pass, %s', async (_, batches) => {
  const a = await new Listener({ addresses: ['127.0.0.1'] }, batches).open()
  const texts = ['1', '2', '3'].map(each => each.repeat(65_507))
  for (const text of texts) a.transport.send(datagram(text), between(a.local('ike'), a.local('natt')))
  await a.until(3)
  expect(a.heard.map(({ text }) => text)).toEqual(texts)
})

test('hundreds of datagrams of two senders arrive in order, on their flows', async () => {
  const a = await new Listener({ addresses: ['127.0.0.1'] }).open()
  const b = await new Listener({ addresses: ['127.0.0.1'] }).open()
  const senders = [a.local('ike'), a.local('natt')]
  for (let i = 0; i < 300; i++) {
    const from = senders[Number(i % 7 === 0)]!
    a.transport.send(datagram(`${from.port} ${i}`.padEnd(i * 3)), between(from, b.local('natt')))
  }
  await b.until(300)
  for (const { port } of senders) {
    const heard = b.heard.filter(({ flow }) => flow.remote.port === port)
    const numbers = heard.map(({ text }) => Number(text.trim().split(' ')[1]))
    expect(heard.every(({ text }) => text.startsWith(`${port} `))).toBe(true)
    expect(numbers).toEqual([...numbers].sort((x, y) => x - y))
    expect(new Set(heard.map(({ flow }) => flow)).size).toBe(1)
  }
  expect(a.transport.stats()).toMatchObject({ sent: 300, sendErrors: {}, queueDrops: 0 })
})

test('what was sent before a socket closes goes out', async () => {
  const a = await new Listener({ addresses: ['127.0.0.1'] }).open()
  const b = await new Listener({ addresses: ['127.0.0.1'] }).open()
  a.transport.send(datagram('last words'), between(a.local('ike'), b.local('ike')))
  await a.transport.close()
  await b.until(1)
  expect(b.heard[0]!.text).toBe('last words')
})

test('a busy port is named, and nothing stays bound', async () => {
  const a = await new Listener({ addresses: ['127.0.0.1'] }).open()
  const { port } = a.local('ike')
  const b = new Listener({ addresses: ['127.0.0.1'], nattPort: port })
  await expect(b.open()).rejects.toMatchObject({
    code: 'SYSTEM_PORT_BUSY',
    message: `UDP port ${port} on 127.0.0.1 is in use: stop the other IKE daemon or set listen.ports`,
  })
  expect(b.transport.locals()).toEqual([])
})

test('an address of another host is refused when it was asked for', async () => {
  await expect(new Listener({ addresses: ['127.0.0.1', '192.0.2.77'] }).open()).rejects.toMatchObject({
    code: 'SYSTEM_ADDRESS',
  })
})

test('a detected address that cannot be bound is reported once, and the others serve', async () => {
  const interfaces = hosts('127.0.0.1', '192.0.2.77')
  const a = await new Listener({ interfaces: () => interfaces, watchMs: 0 }).open()
  expect(a.transport.locals().map(local => local.address)).toEqual(['127.0.0.1', '127.0.0.1'])
  expect(a.failures).toHaveLength(2) // one per port
  await a.transport.rescan()
  expect(a.failures).toHaveLength(2)
  expect(a.changes).toBe(0)
})

test('equal ports make one socket, for ESP in UDP', async () => {
  const a = await new Listener({ addresses: ['127.0.0.1'] }).open()
  const { port } = a.local('ike')
  await a.transport.close()
  const b = await new Listener({ addresses: ['127.0.0.1'], ikePort: port, nattPort: port }).open()
  expect(b.transport.locals()).toEqual([{ protocol: 17, role: 'natt', address: '127.0.0.1', port }])
})

test('follows the addresses of the host', async () => {
  let interfaces = hosts('127.0.0.1')
  const a = await new Listener({ interfaces: () => interfaces, watchMs: 0 }).open()
  const kept = a.local('ike')
  interfaces = hosts('127.0.0.1', '127.0.0.2')
  await a.transport.rescan()
  expect(a.transport.locals().map(local => local.address)).toEqual(['127.0.0.1', '127.0.0.1', '127.0.0.2', '127.0.0.2'])
  expect(a.local('ike')).toBe(kept)
  expect(a.changes).toBe(1)

  interfaces = hosts('127.0.0.2')
  await a.transport.rescan()
  await a.transport.rescan()
  expect(a.transport.locals().map(local => local.address)).toEqual(['127.0.0.2', '127.0.0.2'])
  expect(a.changes).toBe(2)
  expect(a.transport.carries(between(kept, kept))).toBe(false)
})

test.each(EACH_WAY)('sends that cannot work are counted, never thrown, %s', async (_, batches) => {
  const a = await new Listener({ addresses: ['127.0.0.1'], queue: 3 }, batches).open()
  const local = a.local('ike')
  const to = (address: string, port = 9): Flow => ({ protocol: 17, local, remote: { address, port } })
  a.transport.send(datagram('x'), between({ ...local, address: '192.0.2.1' }, local))
  a.transport.send(datagram('x'), { ...to('127.0.0.1'), protocol: 50 })
  expect(a.transport.stats().unbound).toBe(2)
  a.transport.send(datagram('x'), to('127.0.0.1', 0)) // dgram throws, the kernel says EINVAL
  a.transport.send(datagram('x'), to('203.0.113.1')) // from loopback to outside: the kernel refuses
  a.transport.send(datagram('x'.repeat(65_508)), to('127.0.0.1'))
  await new Promise(resolve => setImmediate(resolve))
  const { sendErrors } = a.transport.stats()
  expect(sendErrors).toMatchObject({
    [batches === undefined ? 'EINVAL' : 'ERR_SOCKET_BAD_PORT']: expect.any(Number),
    EMSGSIZE: 1,
  })
  expect(Object.values(sendErrors).reduce((sum, count) => sum + count, 0)).toBe(3)
})

test('datagrams waiting for the kernel are bounded', async () => {
  const a = await new Listener({ addresses: ['127.0.0.1'], queue: 8 }, nodeAlone).open()
  const flow = between(a.local('ike'), a.local('natt'))
  for (let i = 0; i < 20; i++) a.transport.send(datagram(`${i}`), flow)
  expect(a.transport.stats()).toMatchObject({ sent: 8, queueDrops: 12 })
  await a.until(8)
  a.transport.send(datagram('again'), flow)
  await a.until(9)
})

test('flows of endless sources are forgotten', async () => {
  const a = await new Listener({ addresses: ['127.0.0.1'] }).open()
  const { UdpSocket } = await import('../../../plugins/udp/udp-socket.ts')
  const socket = new UdpSocket({ on: () => {} } as never, a.local('ike'), {} as never, {} as never, undefined)
  const remote = (i: number) => ({
    address: `198.51.${i >> 8}.${i & 255}`,
    port: 4500,
    family: 'IPv4' as const,
    size: 1,
  })
  const first = socket.flow(remote(0))
  expect(socket.flow(remote(0))).toBe(first)
  for (let i = 1; i < 4_096; i++) socket.flow(remote(i))
  expect(socket.flow(remote(0))).toBe(first)
  socket.flow(remote(4_096))
  expect(socket.flow(remote(0))).not.toBe(first)
  expect(socket.flow(remote(0))).toEqual(first)
})

test('asks the system for the source address', async () => {
  const a = await new Listener({ addresses: ['127.0.0.1'] }).open()
  expect(await a.transport.source('127.0.0.1')).toBe('127.0.0.1')
  // 127.0.0.2 is not bound: the first bound address of the family serves
  expect(await a.transport.source('127.0.0.2')).toBe('127.0.0.1')
  expect(await a.transport.source('not an address')).toBeUndefined()
})

test('resolves literals without asking anybody, and says what failed', async () => {
  const a = new Listener({}).transport
  expect(await a.resolve('192.0.2.1')).toEqual(['192.0.2.1'])
  expect(await a.resolve('2001:DB8::0:1')).toEqual(['2001:db8::1'])
  expect(await a.resolve('localhost')).toContain('127.0.0.1')
  await expect(a.resolve('bad..name')).rejects.toMatchObject({ code: 'SYSTEM_RESOLVE' })
})

test.each([
  ['EACCES', 'SYSTEM_PERMISSION'],
  ['EPERM', 'SYSTEM_PERMISSION'],
  ['EADDRINUSE', 'SYSTEM_PORT_BUSY'],
  ['EADDRNOTAVAIL', 'SYSTEM_ADDRESS'],
  ['EAFNOSUPPORT', 'SYSTEM_ADDRESS'],
  ['EMFILE', 'SYSTEM_ADDRESS'],
])('bind error %s is %s', (errno, code) => {
  const local: LocalEndpoint = { protocol: 17, role: 'ike', address: '192.0.2.1', port: 500 }
  expect(bindError(Object.assign(new Error(errno), { code: errno }), local).code).toBe(code)
})

test('a closed transport leaves nothing that keeps the process alive', async () => {
  const child = spawn(process.execPath, ['--import', 'tsx', fileURLToPath(new URL('./exits.ts', import.meta.url))], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [output, [code]] = await Promise.all([child.stdout.toArray(), once(child, 'exit')])
  expect({ output: Buffer.concat(output).toString(), code }).toEqual({ output: 'closed\n', code: 0 })
})

function hosts(...addresses: string[]): Interfaces {
  const netmask = '255.0.0.0'
  return {
    eth0: addresses.map(address => ({ address, netmask, mac: '', cidr: null, internal: false, family: 'IPv4' })),
  }
}
