import type { Report } from '../../../plugins/stun/index.ts'
import type { Case } from '../case.ts'
import { type Lab, last, NAT_TYPES, type NatType } from '../lab.ts'
import { COMMAND } from '../natweave.ts'
import { until } from '../process.ts'

/** STUN with coturn and its clients, and with the client of RFC 3489's days, through real NATs, in both roles. */

const FIRST = '203.0.113.10'
const SECOND = '203.0.113.11'
const PORTS = [3478, 3479] as const

type Server = 'natweave' | 'coturn'

/** What each program says of the lab's NATs. */
interface Words {
  /** localNatKind, localNatMapping, localNatFiltering, localPortAllocation. */
  readonly natweave: readonly [kind: string, mapping: string, filtering: string, ports: string]
  /** turnutils_natdiscovery. */
  readonly coturn: readonly [mapping: string, filtering: string]
  /** stun 0.97. */
  readonly classic: string
}

const INDEPENDENT = 'Endpoint Independent'
const WORDS: Readonly<Record<NatType, Words>> = {
  'full-cone': {
    natweave: ['full-cone', 'endpoint-independent', 'endpoint-independent', 'preserving'],
    coturn: [INDEPENDENT, INDEPENDENT],
    classic: 'Independent Mapping, Independent Filter, preserves ports',
  },
  restricted: {
    natweave: ['restricted-cone', 'endpoint-independent', 'address-dependent', 'preserving'],
    coturn: [INDEPENDENT, 'Address Dependent'],
    classic: 'Independent Mapping, Address Dependent Filter, preserves ports',
  },
  'port-restricted': {
    natweave: ['port-restricted-cone', 'endpoint-independent', 'address-and-port-dependent', 'preserving'],
    coturn: [INDEPENDENT, 'Address and Port Dependent'],
    classic: 'Independent Mapping, Port Dependent Filter, preserves ports',
  },
  symmetric: {
    natweave: ['symmetric', 'address-and-port-dependent', 'address-and-port-dependent', 'random'],
    coturn: ['Address and Port Dependent', 'Address and Port Dependent'],
    classic: 'Dependent Mapping, random port',
  },
}

/** A STUN server with two addresses on med. */
async function serve(lab: Lab, server: Server): Promise<void> {
  await lab.exec('med', ['ip', 'address', 'add', `${SECOND}/24`, 'dev', 'eth0'])
  const own = lab.file('med', 'turnserver.pid')
  const config = {
    device: false,
    plugins: ['node-crypto', 'udp', { use: 'stun', options: { serve: [`${FIRST}:3478`, `${SECOND}:3479`] } }],
  }
  const argv =
    server === 'natweave'
      ? [
          ...COMMAND,
          'up',
          '--config',
          lab.write('med', 'natweave.json', JSON.stringify(config)),
          '--socket',
          lab.file('med', 'natweave.sock'),
        ]
      : [
          'turnserver',
          '-n',
          '--stun-only',
          '--no-cli',
          '--no-tls',
          '--no-dtls',
          '--log-file',
          'stdout',
          '--pidfile',
          own,
        ]
  const where = [FIRST, SECOND].flatMap(address => ['--listening-ip', address])
  const ports = ['--listening-port', String(PORTS[0]), '--alt-listening-port', String(PORTS[1])]
  const process = lab.spawn('med', server, server === 'natweave' ? argv : [...argv, ...where, ...ports])
  await until(`STUN server ${server}`, 20_000, async () => {
    if (!process.alive) throw new Error(`${server} ended: ${last(process.log())}`)
    const { stdout } = await lab.exec('med', ['ss', '-Hulpn'])
    return [FIRST, SECOND].every(address => PORTS.every(port => stdout.includes(`${address}:${port}`)))
  })
}

async function detect(lab: Lab, ...options: readonly string[]): Promise<Report> {
  const argv = [...COMMAND, 'detect', '--server', FIRST, '--json', ...options]
  return JSON.parse((await lab.exec('alice', argv, 120_000)).stdout) as Report
}

const value = (report: Report, fact: string): unknown => report.verdicts.find(verdict => verdict.fact === fact)?.value

function expectEqual(what: string, found: unknown, wanted: unknown): void {
  if (found !== wanted) throw new Error(`${what}: ${String(found)} instead of ${String(wanted)}`)
}

async function natweaveAsks(lab: Lab, server: Server, type: NatType): Promise<readonly string[]> {
  await lab.up('nat1', ['--nata', type])
  await serve(lab, server)
  const report = await detect(lab)
  const facts = ['localNatKind', 'localNatMapping', 'localNatFiltering', 'localPortAllocation']
  for (const [i, fact] of facts.entries()) expectEqual(fact, value(report, fact), WORDS[type].natweave[i])
  expectEqual('udpFragments', value(report, 'udpFragments'), true)
  expectEqual('mapped address', report.mapped?.address, '198.51.100.1')
  return [...facts.map(fact => String(value(report, fact))), `${report.probes.length} probes`]
}

async function coturnAsks(lab: Lab, type: NatType): Promise<readonly string[]> {
  await lab.up('nat1', ['--nata', type])
  await serve(lab, 'natweave')
  const words = []
  for (const [i, flag] of (['-m', '-f'] as const).entries()) {
    const { stdout } = await lab.exec('alice', ['turnutils_natdiscovery', flag, '-p', String(PORTS[0]), FIRST])
    const [, found] = /^NAT with (.*) (?:Mapping|Filtering)!$/m.exec(stdout) ?? []
    expectEqual(`turnutils_natdiscovery ${flag}`, found, WORDS[type].coturn[i])
    words.push(`${flag} ${found}`)
  }
  return words
}

/** It asks for an answer from elsewhere to its next port, which no NAT lets in: without one, and not for ever. */
async function coturnBinds(lab: Lab): Promise<readonly string[]> {
  await lab.up('direct')
  await serve(lab, 'natweave')
  const { stdout } = await lab.exec('alice', ['turnutils_stunclient', FIRST])
  const origins = [FIRST, SECOND].map(address => stdout.includes(`Response origin: : ${address}:`))
  if (!stdout.includes('UDP reflexive addr: 203.0.113.50:') || origins.includes(false))
    throw new Error(`turnutils_stunclient: ${last(stdout)}`)
  return ['RESPONSE-PORT and CHANGE-REQUEST in one request']
}

/** Its exit status is its verdict. */
async function classicAsks(lab: Lab, server: Server, type: NatType): Promise<readonly string[]> {
  await lab.up('nat1', ['--nata', type])
  await serve(lab, server)
  const script = `stun ${FIRST}:${PORTS[0]} || true`
  const { stdout } = await lab.exec('alice', ['sh', '-c', script])
  const [, found = last(stdout)] = /^Primary: (.*), no hairpin/m.exec(stdout) ?? []
  expectEqual('stun', found, WORDS[type].classic)
  return [found]
}

async function direct(lab: Lab): Promise<readonly string[]> {
  await lab.up('direct')
  await serve(lab, 'coturn')
  const report = await detect(lab)
  expectEqual('localNatKind', value(report, 'localNatKind'), 'none')
  expectEqual('localNatFiltering', value(report, 'localNatFiltering'), 'endpoint-independent')
  return ['none']
}

async function lossy(lab: Lab): Promise<readonly string[]> {
  await lab.up('nat1', ['--nata', 'restricted', '--loss', '20'])
  await serve(lab, 'coturn')
  const report = await detect(lab)
  expectEqual('localNatKind', value(report, 'localNatKind'), 'restricted-cone')
  return [`${report.probes.reduce((sum, { sent }) => sum + sent, 0)} requests in ${report.probes.length} probes`]
}

async function fragments(lab: Lab): Promise<readonly string[]> {
  await lab.up('nat1', ['--drop-fragments', 'yes'])
  await serve(lab, 'coturn')
  expectEqual('udpFragments', value(await detect(lab), 'udpFragments'), false)
  return ['fragments do not get through']
}

async function lifetime(lab: Lab, server: Server): Promise<readonly string[]> {
  await lab.up('nat1', ['--mapping-timeout', '15'])
  await serve(lab, server)
  expectEqual('mappingLifetime', value(await detect(lab, '--lifetime', '30'), 'mappingLifetime'), 10_000)
  return ['alive after 10 s, gone after 20 s']
}

async function blocked(lab: Lab): Promise<readonly string[]> {
  await lab.up('nat1', ['--block-ports', PORTS.join(',')])
  await serve(lab, 'coturn')
  const argv = [...COMMAND, 'detect', '--server', FIRST].map(word => `'${word}'`).join(' ')
  const { stdout } = await lab.exec('alice', ['sh', '-c', `${argv}; echo "status $?"`])
  if (!/udp blocked/.test(stdout) || !/^status 5$/m.test(stdout)) throw new Error(`UDP is blocked: ${last(stdout)}`)
  return ['udp blocked, status 5']
}

const SERVERS: readonly Server[] = ['coturn', 'natweave']

export const cases: readonly Case[] = [
  ...NAT_TYPES.flatMap((type): Case[] => [
    ...SERVERS.map(
      (server): Case => ({
        name: `stun nat1/${type} natweave→${server}`,
        needs: 'natweave',
        run: lab => natweaveAsks(lab, server, type),
      }),
    ),
    { name: `stun nat1/${type} coturn→natweave`, needs: 'natweave', run: lab => coturnAsks(lab, type) },
    { name: `stun nat1/${type} RFC 3489→natweave`, needs: 'natweave', run: lab => classicAsks(lab, 'natweave', type) },
  ]),
  { name: 'stun direct natweave→coturn', needs: 'natweave', run: direct },
  { name: 'stun direct coturn→natweave', needs: 'natweave', run: coturnBinds },
  { name: 'stun 20% loss natweave→coturn', needs: 'natweave', run: lossy },
  { name: 'stun no fragments natweave→coturn', needs: 'natweave', run: fragments },
  ...SERVERS.map(
    (server): Case => ({
      name: `stun idle mapping of 15 s natweave→${server}`,
      needs: 'natweave',
      run: lab => lifetime(lab, server),
    }),
  ),
  { name: 'stun UDP blocked natweave→coturn', needs: 'natweave', run: blocked },
]
