import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Host, Lab, last } from '../lab.ts'
import { run, until } from '../process.ts'

/** The client against coturn over all three transports and out of the worst NAT; coturn's own client against the relay. */

const lab = new Lab(`${process.env['LAB_PREFIX'] ?? 'nwi'}-turn`)
const CHILD = fileURLToPath(new URL('./turn-child.ts', import.meta.url))
const ECHO = '203.0.113.20:3480'
let certificate = ''

function child(host: Host, args: readonly string[]): { process: ChildProcess; output: () => string } {
  const [file = '', ...argv] = lab.on(host, [process.execPath, '--import', 'tsx', CHILD, ...args])
  const started = spawn(file, argv, { stdio: ['pipe', 'pipe', 'inherit'] })
  let said = ''
  started.stdout?.on('data', chunk => {
    said += chunk
  })
  return { process: started, output: () => said }
}

async function turnserver(): Promise<void> {
  const files = [lab.file('med', 'key.pem'), lab.file('med', 'cert.pem')] as const
  const made = await run([
    ...['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=turn.example.org'],
    ...['-addext', 'subjectAltName=DNS:turn.example.org', '-keyout', files[0], '-out', files[1]],
  ])
  if (made.code !== 0) throw new Error(last(made.stderr))
  certificate = (await run(['cat', files[1]])).stdout
  const server = lab.spawn('med', 'turnserver', [
    ...['turnserver', '-n', '--listening-ip', '203.0.113.10', '--relay-ip', '203.0.113.10', '--lt-cred-mech'],
    ...['--user', 'alice:wonderland', '--realm', 'example.org', '--stale-nonce', '--no-cli', '--log-file', 'stdout'],
    ...['--cert', files[1], '--pkey', files[0], '--pidfile', lab.file('med', 'turnserver.pid'), '--simple-log'],
    ...['--userdb', lab.file('med', 'turndb')],
  ])
  await until('turnserver', 10_000, async () => {
    if (!server.alive) throw new Error(last(server.log()))
    return (await lab.exec('med', ['ss', '-Hlntu', 'sport', '=', '5349'])).stdout.includes('5349')
  })
}

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error('this test makes network namespaces: run it as root')
  await lab.up('nat1', ['--nata', 'symmetric'])
  await turnserver()
  lab.spawn('moon', 'peer', ['turnutils_peer', '-L', '203.0.113.20', '-p', '3480'])
})

afterAll(() => lab.down())

const SIZES = [1, 2, 3, 4, 100, 1_000, 1_200, 5, 6, 7, 8, 9, 10, 1_250]

test.each([
  ['UDP', 'turn:203.0.113.10', false],
  ['TCP', 'turn:203.0.113.10?transport=tcp', false],
  ['TLS', 'turns:203.0.113.10', true],
] as const)(
  'coturn relays over %s, in indications and a channel, and forgets the allocation at the end',
  async (_, url, tls) => {
    const { process: client, output } = child('alice', ['client', url, ECHO, ...(tls ? [certificate] : [])])
    const code = await new Promise(ended => client.once('exit', ended))
    expect(code).toBe(0)
    const result = JSON.parse(output().trim().split('\n').at(-1)!)
    expect(result).toEqual({ why: 'all came back', sizes: SIZES, sources: [ECHO], relayed: '203.0.113.10', drops: {} })
  },
)

test('a certificate of nobody known is refused', async () => {
  const { process: client, output } = child('alice', ['client', 'turns:203.0.113.10', ECHO])
  await until('the refusal', 20_000, async () => output().includes('turns:203.0.113.10: self-signed certificate'))
  client.stdin?.end()
  await new Promise(ended => client.once('exit', ended))
  expect(JSON.parse(output().trim().split('\n').at(-1)!)).toMatchObject({ why: 'stopped', sizes: [], relayed: '' })
})

test('coturn’s client relays through natweave', async () => {
  const served = child('med', ['relay'])
  await until('the relay', 20_000, async () => served.output().includes('ready'))
  // in indications: with channels it takes numbers of RFC 5766, which RFC 8656 no longer allows
  const done = await lab.exec('alice', [
    ...['turnutils_uclient', '-s', '-u', 'alice', '-w', 'wonderland', '-p', '4500', '-e', '203.0.113.20', '-r', '3480'],
    ...['-n', '20', '-m', '2', '-l', '170', '-c', '203.0.113.10'],
  ])
  const text = `${done.stdout}${done.stderr}`
  expect(text).toMatch(/tot_send_msgs=40, tot_recv_msgs=40/)
  expect(text).toMatch(/Total lost packets 0 /)
  served.process.stdin?.end()
  await new Promise(ended => served.process.once('exit', ended))
})
