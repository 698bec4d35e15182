import {
  type Application,
  buildApplication,
  buildCommand,
  buildRouteMap,
  type CommandContext,
  numberParser,
} from '@stricli/core'
import type { LogLevel } from '../contracts/log.ts'
import { EXIT_CODES } from './exit.ts'
import type { PkiKeyType } from './pki/authority.ts'

/** The command line: what there is to say. Each command's code is loaded only when it runs, so that --help is quick. */

const path = (value: string): string => value
const name = (value: string): string => value

const json = { kind: 'boolean', brief: 'Print JSON', default: false, withNegated: false } as const
const force = { kind: 'boolean', brief: 'Overwrite', default: false, withNegated: false } as const
const config = {
  kind: 'parsed',
  parse: path,
  brief: 'Configuration file instead of the one found',
  optional: true,
  placeholder: 'file',
} as const
const socket = {
  kind: 'parsed',
  parse: path,
  brief: 'Control socket of the instance',
  optional: true,
  placeholder: 'path',
} as const
const onePeer = {
  kind: 'tuple',
  parameters: [{ brief: 'Peer as named in the configuration', parse: name, placeholder: 'peer' }],
} as const

/** Of commands that run a build. */
const running = {
  config,
  socket,
  detach: { kind: 'boolean', brief: 'Go to the background once it is up', default: false, withNegated: false },
  keylog: {
    kind: 'parsed',
    parse: path,
    brief: 'Write all session keys to this file, for decoding captures',
    optional: true,
    placeholder: 'file',
  },
  logLevel: {
    kind: 'enum',
    values: ['debug', 'info', 'warn', 'error'] as readonly LogLevel[],
    brief: 'How much to log',
    optional: true,
  },
  json,
} as const

const up = buildCommand({
  loader: async () => import('./commands/up.ts'),
  parameters: {
    flags: running,
  },
  docs: {
    brief: 'Run natweave: answer peers, connect those with start: connect',
    customUsage: [
      { input: '', brief: 'in the foreground, until Ctrl-C' },
      { input: '--detach', brief: 'in the background; natweave down ends it' },
      { input: '--config office.yaml --json', brief: 'events as JSON lines' },
    ],
  },
})

const mediate = buildCommand({
  loader: async () => import('./commands/mediate.ts'),
  parameters: { flags: running },
  docs: {
    brief: 'Run a mediation server, by which peers behind NATs find each other',
    customUsage: [
      { input: '', brief: 'in the foreground, telling who registers and who asks for whom' },
      { input: '--detach', brief: 'in the background; natweave down ends it' },
    ],
  },
})

const connect = buildCommand({
  loader: async () => (await import('./commands/talk.ts')).connect,
  parameters: { flags: { socket, json }, positional: onePeer },
  docs: {
    brief: 'Connect a peer and show how it goes',
    customUsage: [{ input: 'gateway', brief: 'bring up the peer named gateway' }],
  },
})

const disconnect = buildCommand({
  loader: async () => (await import('./commands/talk.ts')).disconnect,
  parameters: { flags: { socket, json }, positional: onePeer },
  docs: { brief: 'Delete all SAs with a peer', customUsage: [{ input: 'gateway', brief: 'tell the gateway goodbye' }] },
})

const rekey = buildCommand({
  loader: async () => (await import('./commands/talk.ts')).rekey,
  parameters: {
    flags: {
      child: {
        kind: 'parsed',
        parse: name,
        brief: 'This Child SA instead of the IKE SA',
        optional: true,
        placeholder: 'child',
      },
      socket,
      json,
    },
    positional: onePeer,
  },
  docs: {
    brief: 'Make new keys now',
    customUsage: [{ input: 'gateway --child lan', brief: 'new keys for one Child SA' }],
  },
})

const status = buildCommand({
  loader: async () => (await import('./commands/talk.ts')).status,
  parameters: { flags: { socket, json } },
  docs: { brief: 'Show peers, SAs and counters', customUsage: [{ input: '--json', brief: 'for scripts' }] },
})

const down = buildCommand({
  loader: async () => (await import('./commands/talk.ts')).down,
  parameters: { flags: { socket, json } },
  docs: { brief: 'End the running natweave; peers get a DELETE' },
})

const plan = buildCommand({
  loader: async () => import('./commands/plan.ts'),
  parameters: { flags: { config, socket, json }, positional: onePeer },
  docs: {
    brief: 'Show what policy would do for a peer, and why',
    customUsage: [
      { input: 'gateway', brief: 'with what the running instance knows of the network' },
      { input: 'gateway --config office.yaml', brief: 'from a configuration alone' },
    ],
  },
})

const detect = buildCommand({
  loader: async () => import('./commands/detect.ts'),
  parameters: {
    flags: {
      server: {
        kind: 'parsed',
        parse: name,
        brief: 'STUN server, HOST or HOST:PORT, instead of those configured; more than one is fine',
        optional: true,
        variadic: true,
        placeholder: 'host',
      },
      ipv6: { kind: 'boolean', brief: 'Ask over IPv6', default: false, withNegated: false },
      timeout: {
        kind: 'parsed',
        parse: numberParser,
        brief: 'Seconds after which it says what it knows',
        default: '30',
        placeholder: 'seconds',
      },
      lifetime: {
        kind: 'parsed',
        parse: numberParser,
        brief: 'Wait so long to see whether an idle mapping is still there',
        optional: true,
        placeholder: 'seconds',
      },
      config,
      json,
    },
  },
  docs: {
    brief: 'Find out what kind of NAT this host is behind, with the evidence',
    customUsage: [
      { input: '--server stun.example.com', brief: 'without a configuration, and without any privilege' },
      { input: '--lifetime 120', brief: 'also how long an idle mapping lives, up to two minutes' },
    ],
  },
})

const check = buildCommand({
  loader: async () => import('./commands/check.ts'),
  parameters: { flags: { config, json } },
  docs: {
    brief: 'Check the configuration without starting anything',
    customUsage: [{ input: '--config office.yaml', brief: 'check this file' }],
  },
})

const dir = { kind: 'parsed', parse: path, brief: 'Folder of the CA', default: 'pki', placeholder: 'folder' } as const
const init = buildCommand({
  loader: async () => import('./commands/init.ts'),
  parameters: {
    flags: {
      auth: {
        kind: 'enum',
        values: ['psk', 'certificate'] as const,
        brief: 'Share a secret, or trust a CA, which is made where there is none',
        default: 'psk',
      },
      id: { kind: 'parsed', parse: name, brief: 'With certificates: who this host is', optional: true },
      peer: {
        kind: 'parsed',
        parse: name,
        brief: 'With certificates: the gateway to connect to; without it this host is one',
        optional: true,
      },
      network: {
        kind: 'parsed',
        parse: name,
        brief: 'With certificates: what lies behind the gateway',
        default: '10.3.0.0/24',
        placeholder: 'prefix',
      },
      dir,
      force,
      json,
    },
    positional: {
      kind: 'tuple',
      parameters: [{ brief: 'Where to write it', parse: path, placeholder: 'file', optional: true }],
    },
  },
  docs: {
    brief: 'Write a commented configuration to start from',
    customUsage: [
      { input: '--auth certificate --id gw.example.org', brief: 'a gateway, with a CA of its own' },
      { input: '--auth certificate --id alice@example.org --peer gw.example.org', brief: 'a client of it' },
    ],
  },
})

const days = (count: string) =>
  ({ kind: 'parsed', parse: numberParser, brief: 'How long it is valid', default: count }) as const
const keyType = {
  kind: 'enum',
  values: ['p256', 'p384', 'p521', 'ed25519', 'rsa'] as readonly PkiKeyType[],
  brief: 'Type of the key',
  default: 'p256',
} as const
const several = (brief: string, placeholder: string, minimum: number) =>
  ({ kind: 'array', parameter: { brief, parse: name, placeholder }, minimum }) as const

const pki = buildRouteMap({
  routes: {
    init: buildCommand({
      loader: async () => (await import('./commands/pki.ts')).init,
      parameters: {
        flags: { dir, type: keyType, days: days('3650'), force, json },
        positional: {
          kind: 'tuple',
          parameters: [{ brief: 'Name of the CA', parse: name, placeholder: 'name', optional: true }],
        },
      },
      docs: {
        brief: 'Make a CA: ca.pem, which nodes trust, and ca.key',
        customUsage: [{ input: "'O=Example, CN=Example CA'", brief: 'with a name of its own' }],
      },
    }),
    issue: buildCommand({
      loader: async () => (await import('./commands/pki.ts')).issue,
      parameters: {
        flags: { dir, type: keyType, days: days('825'), force, json },
        positional: several('Domain name, user@host, address; the first names the files', 'identity', 1),
      },
      docs: {
        brief: 'Make a key and a certificate for a node',
        customUsage: [
          { input: 'gw.example.org 192.0.2.1', brief: 'a gateway known by a name and an address' },
          { input: 'alice@example.org --type ed25519', brief: 'somebody who calls' },
        ],
      },
    }),
    crl: buildCommand({
      loader: async () => (await import('./commands/pki.ts')).crl,
      parameters: { flags: { dir, days: days('30'), json }, positional: several('What to revoke', 'certificate', 0) },
      docs: {
        brief: 'Make or renew the CRL, crl.pem, and revoke certificates',
        customUsage: [{ input: 'alice@example.org', brief: 'alice has lost her laptop' }],
      },
    }),
    show: buildCommand({
      loader: async () => (await import('./commands/pki.ts')).show,
      parameters: { flags: { dir, json }, positional: several('Files or nodes; all when left out', 'certificate', 0) },
      docs: { brief: 'Show certificates and CRLs', customUsage: [{ input: 'gw.example.org', brief: 'one of them' }] },
    }),
  },
  docs: { brief: 'A small CA: certificates for nodes in one folder' },
})

const importConfig = buildCommand({
  loader: async () => import('./commands/import.ts'),
  parameters: {
    flags: {
      output: {
        kind: 'parsed',
        parse: path,
        brief: 'Where to write it, - for standard output',
        default: 'natweave.config.yaml',
        placeholder: 'file',
      },
      secrets: {
        kind: 'parsed',
        parse: path,
        brief: 'Secrets from this file; else from swanctl.conf itself, or ipsec.secrets beside ipsec.conf',
        optional: true,
        placeholder: 'file',
      },
      force: { kind: 'boolean', brief: 'Overwrite', default: false, withNegated: false },
      json,
    },
    positional: {
      kind: 'tuple',
      parameters: [{ brief: 'swanctl.conf or ipsec.conf', parse: path, placeholder: 'file' }],
    },
  },
  docs: {
    brief: 'Translate a strongSwan configuration, and say what could not be carried over',
    customUsage: [
      { input: '/etc/swanctl/swanctl.conf', brief: 'write natweave.config.yaml' },
      { input: '/etc/ipsec.conf --output -', brief: 'only show it' },
      { input: 'swanctl.conf --json', brief: 'every setting that was left behind, with file and line' },
    ],
  },
})

const demo = buildCommand({
  loader: async () => import('./commands/demo.ts'),
  parameters: {
    flags: { seed: { kind: 'parsed', parse: numberParser, brief: 'Seed of the simulation', default: '1' }, json },
  },
  docs: { brief: 'Show a tunnel through two NATs, simulated, in seconds, without any privilege' },
})

const matrixProblems = buildCommand({
  loader: async () => import('./commands/matrix-problems.ts'),
  parameters: {
    flags: {
      seed: { kind: 'parsed', parse: numberParser, brief: 'Seed of the simulation', default: '1' },
      json,
      html: { kind: 'boolean', brief: 'Print one page of HTML', default: false, withNegated: false },
      svg: { kind: 'boolean', brief: 'Print a drawing', default: false, withNegated: false },
      trace: {
        kind: 'parsed',
        parse: name,
        brief: 'One cell: what was observed, and what crossed the wire',
        optional: true,
        placeholder: 'problem/column',
      },
      docs: { kind: 'parsed', parse: path, brief: 'Write pages to this folder', optional: true, placeholder: 'folder' },
    },
  },
  docs: {
    brief: 'What NAT breaks in IPsec, and which cure helps, each observed on the virtual internet',
    customUsage: [
      { input: '', brief: 'the table' },
      { input: '--trace checksums/none', brief: 'how it fails without a cure' },
    ],
  },
})

const matrixNat = buildCommand({
  loader: async () => import('./commands/matrix-nat.ts'),
  parameters: {
    flags: {
      seed: { kind: 'parsed', parse: numberParser, brief: 'Seed of the simulation', default: '1' },
      relay: { kind: 'boolean', brief: 'A TURN relay is there, with an account for both', default: true },
      json,
    },
  },
  docs: {
    brief: 'Which NATs let two hosts find each other through a mediation server, each pair on the virtual internet',
    customUsage: [
      { input: '', brief: 'direct or through a relay, with time and packets' },
      { input: '--no-relay', brief: 'who needs one' },
    ],
  },
})

const matrix = buildRouteMap({
  routes: { problems: matrixProblems, nat: matrixNat },
  docs: { brief: 'Tables of what works, from live runs on the virtual internet' },
})

const root = buildRouteMap({
  routes: {
    up,
    mediate,
    connect,
    disconnect,
    rekey,
    status,
    down,
    plan,
    detect,
    check,
    init,
    import: importConfig,
    pki,
    demo,
    matrix,
  },
  docs: {
    brief: 'IPsec through NATs: IKEv2, ESP, UDP encapsulation',
    fullDescription: [
      'IPsec through NATs: IKEv2, ESP, UDP encapsulation.',
      '',
      'First steps:',
      '  natweave demo                     see a tunnel come up, simulated',
      '  natweave matrix problems          what NAT breaks, and which cure helps',
      '  natweave detect --server HOST     what kind of NAT is this?',
      '  natweave init                     write natweave.config.yaml',
      '  natweave pki init                 a CA for certificates, where no secret is to be shared',
      '  natweave check                    is it right?',
      '  natweave up --detach              run',
      '  natweave connect gateway          bring a peer up',
      '  natweave status                   see how it does',
      '',
      'Exit codes:',
      ...EXIT_CODES.map(([code, meaning]) => `  ${String(code).padStart(3)}  ${meaning}`),
    ].join('\n'),
  },
})

export const app = (version: string): Application<CommandContext> =>
  buildApplication(root, {
    name: 'natweave',
    versionInfo: { currentVersion: version },
    scanner: { caseStyle: 'allow-kebab-for-camel' },
    documentation: { disableAnsiColor: process.env['NO_COLOR'] !== undefined || process.stdout.isTTY !== true },
  })
