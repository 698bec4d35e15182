import { writeFileSync } from 'node:fs'
import { MARKER, readCapture } from '../capture.ts'
import type { Case } from '../case.ts'
import { ADDRESS, type Lab, last } from '../lab.ts'
import { NatweaveProcess } from '../natweave.ts'
import type { TunnelConfig } from '../party.ts'
import { run, until } from '../process.ts'
import { ping, transfer } from '../traffic.ts'
import { decode, expectUnderstood } from '../tshark.ts'

const TCP = 6
const PORT = 4500
const OCTETS = 1_000_000

const COMMON = {
  ike: 'aes256gcm16-prfsha256-x25519',
  esp: 'aes128gcm16-x25519',
  gateway: ADDRESS.moon,
  dpdSeconds: 0,
  forceEncapsulation: false,
  mobike: false,
  raw: false,
  mode: 'tunnel',
  protocol: 'esp',
  protects: ADDRESS.moonLan,
  vendorId: false,
} as const satisfies Partial<TunnelConfig>

/** IKE and ESP in TCP (RFC 9329) through a NAT that lets no UDP pass. */
async function blocked(lab: Lab, { tls = false, usual = false }): Promise<readonly string[]> {
  await lab.up('nat1', ['--nata', 'port-restricted', '--block-ports', '1-65535'])
  const [mine, his] = tls ? await certificates(lab) : [{}, {}]
  const alice = new NatweaveProcess(lab, 'alice', {
    ...COMMON,
    role: 'initiator',
    ...(usual ? { usual } : { tcp: mine }),
  })
  const moon = new NatweaveProcess(lab, 'moon', { ...COMMON, role: 'responder', tcp: { listen: PORT, ...his } })
  const endCapture = await lab.capture('inet', 'br0', 'public')
  await Promise.all([alice.start(), moon.start()])
  await alice.connect()
  const address = await virtual(alice)
  const [inner, mars] = [{ host: 'alice', address } as const, { host: 'mars', address: ADDRESS.mars } as const]
  const pings = [await ping(lab, 'alice', mars.address), await ping(lab, 'mars', address)]
  await transfer(lab, inner, mars, OCTETS)
  await transfer(lab, mars, inner, OCTETS)
  for (const [name, end] of [
    ['alice', alice],
    ['moon', moon],
  ] as const)
    if ((await end.fact('outerProtocol')) !== 'tcp') throw new Error(`${name} does not know that IKE goes in TCP`)
  const capture = await endCapture()
  expectOnlyTcp(capture)
  const facts = [`ping ${pings.join(' ')}`, '1 MB sha256 ok both ways', 'no UDP, nothing in clear']
  if (tls) return [...facts, await expectTls(capture)]
  return [...facts, await expectStream(lab, capture, alice)]
}

/** UDP is blocked while a tunnel stands: it goes on over TCP by itself, with another IKE SA. */
async function blockedLater(lab: Lab): Promise<readonly string[]> {
  await lab.up('nat1', ['--nata', 'port-restricted'])
  const alice = new NatweaveProcess(lab, 'alice', { ...COMMON, role: 'initiator', dpdSeconds: 1, usual: true })
  const moon = new NatweaveProcess(lab, 'moon', { ...COMMON, role: 'responder', tcp: { listen: PORT }, usual: true })
  await Promise.all([alice.start(), moon.start()])
  await alice.connect()
  const before = await ping(lab, 'alice', ADDRESS.mars)
  if ((await alice.fact('outerProtocol')) !== 'udp') throw new Error('the tunnel has not begun in UDP')
  await lab.nat('nata', 'port-restricted', '--block-ports', '1-65535')
  const start = performance.now()
  await until('the tunnel goes on in TCP', 60_000, async () => (await alice.fact('outerProtocol')) === 'tcp')
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  const after = [await ping(lab, 'alice', ADDRESS.mars), await ping(lab, 'mars', await virtual(alice))]
  return [`in UDP: ping ${before}`, `in TCP after ${seconds} s: ping ${after.join(' ')}`]
}

async function virtual(alice: NatweaveProcess): Promise<string> {
  const address = (await alice.sas())[0]?.virtualAddress
  if (address === undefined) throw new Error('alice has no virtual address')
  return address
}

/** Every packet between the two ends is TCP on the port, and none shows what is inside. */
function expectOnlyTcp(capture: string): void {
  const { packets } = readCapture(capture)
  const stray = packets.find(p => p.protocol !== TCP || p.data.includes(MARKER))
  if (packets.length === 0 || stray !== undefined)
    throw new Error(`on the public segment: ${stray === undefined ? 'nothing' : `protocol ${stray.protocol}`}`)
}

/** What the stream says is, put into UDP datagrams by its lengths, IKE and ESP that decrypt by the keys. */
async function expectStream(lab: Lab, capture: string, alice: NatweaveProcess): Promise<string> {
  const { stdout } = await run(['tshark', '-n', '-r', capture, '-q', '-z', 'follow,tcp,raw,0'], { timeoutMs: 120_000 })
  const lines = stdout.split('\n').filter(line => /^\t?[0-9a-f]+$/.test(line))
  const side = (back: boolean): Buffer =>
    Buffer.from(
      lines
        .filter(line => line.startsWith('\t') === back)
        .map(line => line.trim())
        .join(''),
      'hex',
    )
  const [there, here] = [side(false), side(true)]
  if (there.toString('latin1', 0, 6) !== 'IKETCP') throw new Error('the stream does not begin with IKETCP')
  const datagrams = [...split(there.subarray(6)), ...split(here)]
  const file = lab.file('inet', 'stream.txt')
  writeFileSync(file, datagrams.map(d => `0000 ${d.toString('hex').replace(/../g, '$& ')}\n`).join(''))
  const pcap = lab.file('inet', 'stream.pcap')
  const made = await run(['text2pcap', '-q', '-F', 'pcap', '-u', `${PORT},${PORT}`, file, pcap])
  if (made.code !== 0) throw new Error(`text2pcap: ${last(made.stderr)}`)
  const decoded = await decode(pcap, await alice.keys())
  expectUnderstood(decoded, true)
  return `tshark decrypts ${decoded.ikeDecrypted} IKE messages and ${decoded.espDecrypted} ESP packets of the stream`
}

function* split(stream: Buffer): Generator<Buffer> {
  for (let at = 0; at + 2 <= stream.length; ) {
    const length = stream.readUInt16BE(at)
    if (length < 2 || at + length > stream.length) throw new Error(`a length of ${length} at ${at} of ${stream.length}`)
    yield stream.subarray(at + 2, at + length)
    at += length
  }
}

async function expectTls(capture: string): Promise<string> {
  const argv = ['tshark', '-n', '-r', capture, '-d', `tcp.port==${PORT},tls`, '-Y', 'tls.app_data']
  const { stdout } = await run([...argv, '-T', 'fields', '-e', 'frame.number'], { timeoutMs: 120_000 })
  const records = stdout.split('\n').filter(line => line !== '').length
  if (records === 0) throw new Error('no TLS application data on the public segment')
  return `${records} packets with TLS application data`
}

/** @returns the options of alice and of moon */
async function certificates(lab: Lab): Promise<readonly [object, object]> {
  const [key, certificate] = [lab.file('moon', 'key.pem'), lab.file('moon', 'cert.pem')]
  const subject = ['-subj', '/CN=moon.lab.test', '-addext', 'subjectAltName=DNS:moon.lab.test']
  const kind = ['-x509', '-newkey', 'ed25519', '-nodes', '-days', '2']
  await lab.exec('moon', ['openssl', 'req', ...kind, '-keyout', key, '-out', certificate, ...subject])
  return [{ tls: { ca: certificate, serverName: 'moon.lab.test' } }, { tls: { certificate, key } }]
}

const rows: readonly Case[] = (
  [
    ['', {}],
    [', in TLS', { tls: true }],
    [', and no rule names TCP', { usual: true }],
  ] as const
).map(([how, wish]) => ({
  name: `tcp nat1 natweave→natweave, no UDP passes${how}`,
  needs: 'natweave',
  run: lab => blocked(lab, wish),
}))

export const cases: readonly Case[] = [
  ...rows,
  {
    name: 'tcp nat1 natweave→natweave, UDP is blocked while the tunnel stands',
    needs: 'natweave',
    run: blockedLater,
  },
]
