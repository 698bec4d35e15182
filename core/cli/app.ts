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

/** The command line: what there is to say. Each command's code is loaded only when it runs, so that --help is quick. */

const path = (value: string): string => value
const name = (value: string): string => value

const json = { kind: 'boolean', brief: 'Print JSON', default: false, withNegated: false } as const
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

const up = buildCommand({
  loader: async () => import('./commands/up.ts'),
  parameters: {
    flags: {
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
    },
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

const check = buildCommand({
  loader: async () => import('./commands/check.ts'),
  parameters: { flags: { config, json } },
  docs: {
    brief: 'Check the configuration without starting anything',
    customUsage: [{ input: '--config office.yaml', brief: 'check this file' }],
  },
})

const init = buildCommand({
  loader: async () => import('./commands/init.ts'),
  parameters: {
    flags: { force: { kind: 'boolean', brief: 'Overwrite', default: false, withNegated: false }, json },
    positional: {
      kind: 'tuple',
      parameters: [{ brief: 'Where to write it', parse: path, placeholder: 'file', optional: true }],
    },
  },
  docs: { brief: 'Write a commented configuration to start from' },
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

const matrix = buildRouteMap({
  routes: { problems: matrixProblems },
  docs: { brief: 'Tables of what works, from live runs on the virtual internet' },
})

const root = buildRouteMap({
  routes: { up, connect, disconnect, rekey, status, down, plan, check, init, demo, matrix },
  docs: {
    brief: 'IPsec through NATs: IKEv2, ESP, UDP encapsulation',
    fullDescription: [
      'IPsec through NATs: IKEv2, ESP, UDP encapsulation.',
      '',
      'First steps:',
      '  natweave demo                     see a tunnel come up, simulated',
      '  natweave matrix problems          what NAT breaks, and which cure helps',
      '  natweave init                     write natweave.config.yaml',
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
