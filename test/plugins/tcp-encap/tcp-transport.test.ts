import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KeyUsageFlags } from '@peculiar/x509'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { silentLog } from '../../../core/contracts/log.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { newPacket, octets, type Packet } from '../../../core/contracts/packet.ts'
import type { TcpEncapOptions } from '../../../plugins/tcp-encap/index.ts'
import { TcpTransport } from '../../../plugins/tcp-encap/index.ts'
import { issue } from '../x509/authority.ts'

/** Of a CA that is its own server. */
const KEY_USAGE_ALL = KeyUsageFlags.keyCertSign | KeyUsageFlags.digitalSignature

/** A transport on loopback that remembers what it heard. */
class End {
  readonly transport: TcpTransport
  readonly heard: { text: string; flow: Flow }[] = []
  #wake = (): void => {}

  constructor(options: TcpEncapOptions) {
    this.transport = new TcpTransport(options, silentLog)
    ends.push(this)
  }

  async open(): Promise<this> {
    await this.transport.open({
      receive: (packet, flow) => {
        this.heard.push({ text: Buffer.from(octets(packet)).toString(), flow })
        this.#wake()
      },
      changed: () => {},
      failed: () => {},
    })
    return this
  }

  get port(): number {
    return this.transport.locals()[0]!.port
  }

  async until(count: number): Promise<void> {
    while (this.heard.length < count)
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
  }

  /** The way to a server on loopback, as the strategy would have it. */
  to(server: End): Flow {
    const remote = { address: '127.0.0.1', port: server.port }
    this.transport.mayCall(remote)
    return { protocol: 6, local: { address: '127.0.0.1', port: 0 }, remote }
  }
}

const ends: End[] = []
afterEach(async () => {
  await Promise.all(ends.splice(0).map(({ transport }) => transport.close()))
})

const packet = (text: string): Packet => {
  const made = newPacket()
  made.bytes.set(Buffer.from(text), made.start)
  made.end = made.start + text.length
  return made
}

const server = (more: TcpEncapOptions = {}): Promise<End> =>
  new End({ listen: 0, addresses: ['127.0.0.1'], ...more }).open()

const certificates = mkdtempSync(join(tmpdir(), 'tcp-encap-'))
afterAll(() => rmSync(certificates, { recursive: true }))
const [key, certificate] = ['key.pem', 'cert.pem'].map(name => join(certificates, name)) as [string, string]
const pem = (kind: string, der: Uint8Array): string =>
  `-----BEGIN ${kind}-----\n${Buffer.from(der).toString('base64')}\n-----END ${kind}-----\n`
const issued = await issue({ ca: true, usages: KEY_USAGE_ALL, names: [{ type: 'dns', value: 'moon.example' }] })
writeFileSync(key, pem('PRIVATE KEY', issued.key))
writeFileSync(certificate, pem('CERTIFICATE', issued.der))

describe.each([
  ['TCP', {}, {}],
  ['TLS', { tls: { certificate, key } }, { tls: { ca: certificate, serverName: 'moon.example' } }],
] as const)('datagrams over %s', (_, his, hers) => {
  test('go both ways on the connection that the client opened, in order and whole', async () => {
    const moon = await server(his)
    const alice = await new End(hers).open()
    const flow = alice.to(moon)
    const texts = Array.from({ length: 300 }, (_, i) => `${i} ${'x'.repeat(i * 7)}`)
    for (const text of texts) alice.transport.send(packet(text), flow)
    await moon.until(texts.length)
    expect(moon.heard.map(h => h.text)).toEqual(texts)
    const back = moon.heard[0]!.flow
    expect(back).toMatchObject({ protocol: 6, local: { address: '127.0.0.1', port: moon.port } })
    expect(new Set(moon.heard.map(h => h.flow)).size).toBe(1)
    moon.transport.send(packet('and back'), back)
    await alice.until(1)
    expect(alice.heard).toMatchObject([{ text: 'and back', flow }])
  })
})

test('TLS with a certificate that the CA did not make carries nothing', async () => {
  const moon = await server({ tls: { certificate, key } })
  const alice = await new End({ tls: { ca: certificate, serverName: 'mars.example' } }).open()
  alice.transport.send(packet('secret'), alice.to(moon))
  while (alice.transport.stats().refused === 0) await new Promise(resolve => setImmediate(resolve))
  expect(moon.heard).toEqual([])
})

test('a client that lost its connection calls again, from another port', async () => {
  const moon = await server()
  const alice = await new End({}).open()
  const flow = alice.to(moon)
  alice.transport.send(packet('one'), flow)
  await moon.until(1)
  const port = moon.port
  await moon.transport.close()
  while (alice.transport.stats().links > 0) await new Promise(resolve => setImmediate(resolve))
  const again = await new End({ listen: port, addresses: ['127.0.0.1'] }).open()
  alice.to(again)
  alice.transport.send(packet('two'), flow)
  await again.until(1)
  expect(again.heard[0]!.text).toBe('two')
  expect(again.heard[0]!.flow.remote.port).not.toBe(moon.heard[0]!.flow.remote.port)
})

test('calls nobody whom the strategy has not named, and carries only its own flows', async () => {
  const moon = await server()
  const alice = await new End({}).open()
  const flow: Flow = {
    protocol: 6,
    local: { address: '127.0.0.1', port: 0 },
    remote: { address: '127.0.0.1', port: moon.port },
  }
  expect(alice.transport.carries(flow)).toBe(false)
  alice.transport.send(packet('x'), flow)
  expect(alice.transport.stats()).toMatchObject({ links: 0, queueDrops: 1 })
  expect(alice.transport.carries({ ...flow, protocol: 17 })).toBe(false)
  alice.to(moon)
  expect(alice.transport.carries(flow)).toBe(true)
})

describe('whoever calls', () => {
  test('and does not speak IKE over TCP is cut off', async () => {
    const moon = await server()
    const stranger = connect(moon.port, '127.0.0.1')
    stranger.write('GET / HTTP/1.1\r\n\r\n')
    await new Promise(resolve => stranger.once('close', resolve))
    expect(moon.heard).toEqual([])
    expect(moon.transport.stats()).toMatchObject({ links: 0, refused: 1 })
  })

  test('from one address too often is refused', async () => {
    const moon = await server({ connectionsPerAddress: 2 })
    const callers = [1, 2, 3].map(() => connect(moon.port, '127.0.0.1'))
    await new Promise(resolve => {
      for (const caller of callers) {
        caller.on('error', () => {})
        caller.once('close', resolve)
      }
    })
    expect(moon.transport.stats()).toMatchObject({ links: 2, refused: 1 })
    for (const caller of callers) caller.destroy()
  })

  test('and does not read has packets dropped instead of memory filled', async () => {
    const moon = await server()
    const deaf = connect(moon.port, '127.0.0.1')
    deaf.pause()
    deaf.write(Buffer.from('IKETCP\0\x06abcd'))
    await moon.until(1)
    const large = packet('y'.repeat(60_000))
    for (let i = 0; i < 200; i++) moon.transport.send(large, moon.heard[0]!.flow)
    expect(moon.transport.stats().queueDrops).toBeGreaterThan(100)
    deaf.destroy()
  })
})

test('a port that is in use says so', async () => {
  const moon = await server()
  const other = new End({ listen: moon.port, addresses: ['127.0.0.1'] })
  await expect(other.open()).rejects.toMatchObject({ code: 'SYSTEM_PORT_BUSY' })
})

test('a CA file that is not there is told at the start, not when a peer is called', async () => {
  const alice = new End({ tls: { ca: '/nowhere/ca.pem' } })
  await expect(alice.open()).rejects.toMatchObject({
    code: 'USAGE_OPTION',
    message: expect.stringMatching(/^tls\.ca: /),
  })
})
