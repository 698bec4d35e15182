import './built.ts'
import 'reflect-metadata'
import { buildApplication, buildCommand, run, type StricliProcess } from '@stricli/core'
import { Lab } from '../interop/lab.ts'
import { codec } from './codec.ts'
import { dos } from './dos.ts'
import { esp } from './esp.ts'
import { handshakes } from './handshakes.ts'
import { established } from './ike/established.ts'
import { memory } from './ike/memory.ts'
import { responder } from './ike/responder.ts'
import type { Bench, BenchOptions, Result } from './measure.ts'
import { mediation } from './mediation.ts'
import { overhead } from './overhead.ts'
import { writePage } from './page.ts'
import { peers } from './peers.ts'
import { simulation } from './simulation.ts'
import { startup } from './startup.ts'
import { table } from './text.ts'
import { threads } from './threads.ts'
import { tunnel } from './tunnel.ts'

const BENCHES: readonly Bench[] = [
  tunnel,
  threads,
  responder,
  memory,
  established,
  mediation,
  handshakes,
  peers,
  simulation,
  esp,
  codec,
  overhead,
  dos,
  startup,
]
const INTERRUPTED = 130
const USAGE = 2

interface Flags {
  readonly only?: readonly Bench[]
  readonly list: boolean
  readonly json: boolean
  readonly docs?: string
  readonly sas: number
}

function named(name: string): Bench {
  const found = BENCHES.find(bench => bench.name === name)
  if (found === undefined) throw new Error(`there is none; there are ${BENCHES.map(b => b.name).join(', ')}`)
  return found
}

function count(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new Error('not a whole number above 0')
  return value
}

const say = (text: string): void => void process.stdout.write(`${text}\n`)

async function measured({ name, about, obstacle, run, goals }: Bench, options: BenchOptions): Promise<Result> {
  const notRun = obstacle?.()
  if (notRun !== undefined) return { bench: name, about, figures: [], notRun }
  const figures = await run(options)
  const reached = goals?.(figures)
  return { bench: name, about, figures, ...(reached !== undefined && { goals: reached }) }
}

function show(bench: Bench, { figures, goals = [], notRun }: Result): void {
  if (notRun !== undefined) return say(`  not run: ${notRun}`)
  say((bench.show ?? table)(figures))
  for (const how of new Set(figures.map(f => f.how))) say(`  - ${how}`)
  for (const { goal, reached, met } of goals) say(`  ${met ? 'goal reached' : 'GOAL NOT REACHED'}: ${goal}: ${reached}`)
}

async function benchmarks({ only = BENCHES, list, json, docs, sas }: Flags): Promise<void> {
  if (list) {
    for (const { name, about } of only) say(json ? JSON.stringify({ name, about }) : `${name.padEnd(12)}${about}`)
    return
  }
  tidyOnSignals()
  const results: Result[] = []
  for (const bench of only) {
    if (!json) say(`\n${bench.name}: ${bench.about}`)
    const result = await measured(bench, { sas })
    results.push(result)
    if (!json) show(bench, result)
    if (docs !== undefined) writePage(docs, [result])
  }
  if (json) {
    const platform = `${process.platform} ${process.arch}`
    say(JSON.stringify({ node: process.version, platform, results }, undefined, 2))
  }
}

/** Ctrl-C leaves no network behind, and no process in it. */
function tidyOnSignals(): void {
  let stopping = false
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, async () => {
      if (stopping) process.exit(INTERRUPTED)
      stopping = true
      process.stderr.write(`\n${signal}: cleaning up\n`)
      if (process.getuid?.() === 0) await new Lab(process.env.LAB_PREFIX ?? 'nwbench').close().catch(() => {})
      process.exit(INTERRUPTED)
    })
}

// whoever reads along may stop, as `head` does
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})

const command = buildCommand({
  func: benchmarks,
  parameters: {
    flags: {
      only: {
        kind: 'parsed',
        parse: named,
        brief: 'This bench, and others named alike; all when left out',
        optional: true,
        variadic: ',',
        placeholder: 'bench',
      },
      list: { kind: 'boolean', brief: 'Name them and end', default: false, withNegated: false },
      json: { kind: 'boolean', brief: 'Print JSON', default: false, withNegated: false },
      docs: {
        kind: 'parsed',
        parse: String,
        brief: 'Also write what came of them into this page, each in place of its last run',
        optional: true,
        placeholder: 'file',
      },
      sas: {
        kind: 'parsed',
        parse: count,
        brief: 'How many SAs the bench memory makes of natweave',
        default: '100000',
        placeholder: 'count',
      },
    },
  },
  docs: {
    brief: 'Measures how fast natweave is, beside others where there are any',
    customUsage: [
      { input: '', brief: 'all of them; those with network namespaces need root' },
      { input: '--only tunnel,responder', brief: 'two of them' },
      { input: '--only esp --docs docs/bench.md', brief: 'one, and its part of the page' },
    ],
  },
})

await run(
  buildApplication(command, {
    name: 'npm run bench --',
    scanner: { caseStyle: 'allow-kebab-for-camel' },
    documentation: { disableAnsiColor: process.env.NO_COLOR !== undefined || process.stdout.isTTY !== true },
  }),
  process.argv.slice(2),
  { process: process as StricliProcess },
)
// the library numbers its own refusals below zero: all of them mean that the command line is wrong
if (typeof process.exitCode === 'number' && (process.exitCode < 0 || process.exitCode > 200)) process.exitCode = USAGE
