import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Case } from './case.ts'
import { cases as auth } from './cases/auth.ts'
import { cases as children } from './cases/children.ts'
import { cases as control } from './cases/control.ts'
import { cases as fragmentation } from './cases/fragmentation.ts'
import { baseline, cases as lifecycle } from './cases/lifecycle.ts'
import { cases as mediation } from './cases/mediation.ts'
import { cases as mobike } from './cases/mobike.ts'
import { cases as modes } from './cases/modes.ts'
import { cases as pathMtu } from './cases/path-mtu.ts'
import { cases as plugins } from './cases/plugins.ts'
import { cases as quantum } from './cases/quantum.ts'
import { cases as refusals } from './cases/refusals.ts'
import { cases as renewal } from './cases/renewal.ts'
import { cases as resumption } from './cases/resumption.ts'
import { cases as stun } from './cases/stun.ts'
import { cases as tcp } from './cases/tcp.ts'
import { cases as traffic } from './cases/traffic.ts'
import { cases as unique } from './cases/unique.ts'
import { defaultPrefix, Lab } from './lab.ts'
import { natweaveExists } from './natweave.ts'
import { obstacle } from './preflight.ts'

const PLANES = ['fast', 'fast-1', 'fast-2', 'portable']
const HELP = `Runs natweave and strongSwan against each other through real NATs, in network namespaces. Needs root.

  npm run interop -- [--only PATTERN] [--plane NAME] [--shard K/N] [--again] [--baseline] [--list] [--json] [--keep] [--help]

  --only PATTERN  only the cases whose name matches this regular expression
  --plane NAME    what moves natweave's packets: fast (plugin linux-fast, the default; fast-1, fast-2: with so many threads)
                  or portable
  --shard K/N     only every N-th case, from the K-th on; N runs with LAB_PREFIXes of their own do all, side by side
  --again         cases that failed run once more at the end, and are named whatever comes of it
  --baseline      instead, rekey, deletion and NAT reboot between two strongSwans: they prove the checks, not natweave
  --list          print their names and end
  --json          one JSON object for each case, and one for the sum
  --keep          leave the last network up, to look at: test/interop/lab/lab status

Exit status: 0 all passed, 1 some failed, 2 could not run. LAB_PREFIX names the namespaces and the state directory
(\${TMPDIR:-/var/tmp}/PREFIX); files of failed cases are kept beside it, in PREFIX-failed.
`

const all: readonly Case[] = [
  ...traffic,
  ...lifecycle,
  ...renewal,
  ...children,
  ...unique,
  ...resumption,
  ...refusals,
  ...mobike,
  ...mediation,
  ...modes,
  ...fragmentation,
  ...pathMtu,
  ...quantum,
  ...auth,
  ...tcp,
  ...control,
  ...stun,
  ...plugins,
]

interface Outcome {
  readonly case: string
  readonly ok: boolean
  readonly seconds: number
  readonly facts: readonly string[]
  readonly error?: string
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: '' },
      plane: { type: 'string', default: 'fast' },
      shard: { type: 'string', default: '1/1' },
      again: { type: 'boolean', default: false },
      baseline: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  const pattern = new RegExp(values.only)
  const [, shard, shards] = /^([1-9]\d*)\/([1-9]\d*)$/.exec(values.shard) ?? []
  if (shard === undefined || Number(shard) > Number(shards)) {
    console.error(`INTEROP COULD NOT RUN: --shard ${values.shard}; K/N is wanted, such as 1/2`)
    return 2
  }
  const chosen = (values.baseline ? baseline : all)
    .filter(({ name }) => pattern.test(name))
    .filter((_, i) => i % Number(shards) === Number(shard) - 1)
  if (values.list) {
    for (const { name } of chosen) console.log(name)
    return 0
  }
  if (!PLANES.includes(values.plane)) {
    console.error(`INTEROP COULD NOT RUN: there is no plane ${values.plane}; there are ${PLANES.join(', ')}`)
    return 2
  }
  process.env.NATWEAVE_PLANE = values.plane
  const lab = new Lab(defaultPrefix())
  const reason = chosen.length === 0 ? `no case matches ${values.only}` : await blocked(lab, chosen)
  if (reason !== undefined) {
    console.error(`INTEROP COULD NOT RUN: ${reason}`)
    return 2
  }
  const unlock = lock(lab)
  const stopping = stopOnSignals(lab, unlock)
  const failed = `${lab.state}-failed`
  rmSync(failed, { recursive: true, force: true })
  const outcomes = new Map<Case, Outcome>()
  const unstable: string[] = []
  const runAll = async (cases: readonly Case[]): Promise<void> => {
    for (const each of cases) {
      const outcome = await runOne(lab, each)
      if (stopping()) return
      if (outcomes.has(each)) unstable.push(each.name)
      outcomes.set(each, outcome)
      print(outcome, values.json)
      if (!outcome.ok && existsSync(lab.state)) cpSync(lab.state, `${failed}/${fileName(each.name)}`, KEEP)
    }
  }
  try {
    await runAll(chosen)
    if (values.again) await runAll(chosen.filter(each => outcomes.get(each)?.ok === false))
    if (stopping()) return 130
  } finally {
    if (!values.keep) await lab.down()
    if (!stopping()) unlock()
  }
  const passed = [...outcomes.values()].filter(({ ok }) => ok).length
  const sum = { passed, failed: outcomes.size - passed }
  if (unstable.length > 0 && !values.json) console.log(`failed at first: ${unstable.join('; ')}`)
  if (sum.failed > 0 && !values.json) console.log(`logs and captures of failed cases: ${failed}`)
  console.log(values.json ? JSON.stringify(sum) : `${sum.passed} passed, ${sum.failed} failed`)
  return sum.failed === 0 ? 0 : 1
}

async function blocked(lab: Lab, chosen: readonly Case[]): Promise<string | undefined> {
  if (chosen.some(({ needs }) => needs === 'natweave') && !natweaveExists()) return 'natweave has no command to run'
  return obstacle(lab)
}

async function runOne(lab: Lab, each: Case): Promise<Outcome> {
  const start = performance.now()
  const seconds = () => Math.round((performance.now() - start) / 100) / 10
  try {
    const facts = await each.run(lab)
    return { case: each.name, ok: true, seconds: seconds(), facts }
  } catch (error) {
    return { case: each.name, ok: false, seconds: seconds(), facts: [], error: (error as Error).message }
  }
}

function print(outcome: Outcome, json: boolean): void {
  if (json) console.log(JSON.stringify(outcome))
  else if (outcome.ok) console.log(`ok   ${outcome.case}  ${outcome.facts.join('  ')}  ${outcome.seconds}s`)
  else console.log(`FAIL ${outcome.case}  ${outcome.error}  ${outcome.seconds}s`)
}

const KEEP = { recursive: true, filter: (path: string) => !path.endsWith('.vici') && !path.endsWith('.sock') }
const fileName = (name: string): string => name.replace(/[^\w.-]+/g, '_')

/** Two runs with one prefix would take each other's network down. @returns removes the lock */
function lock(lab: Lab): () => void {
  const file = `${lab.state}.pid`
  const other = existsSync(file) ? readFileSync(file, 'utf8').trim() : ''
  if (other !== '' && existsSync(`/proc/${other}`)) {
    console.error(
      `INTEROP COULD NOT RUN: process ${other} is using the prefix ${lab.prefix}; set LAB_PREFIX to another`,
    )
    process.exit(2)
  }
  mkdirSync(lab.state, { recursive: true })
  writeFileSync(file, `${process.pid}\n`)
  return () => rmSync(file, { force: true })
}

/** @returns whether a signal has come; then the process ends by itself as soon as everything is cleaned up */
function stopOnSignals(lab: Lab, unlock: () => void): () => boolean {
  let stopping = false
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, async () => {
      if (stopping) return
      stopping = true
      console.error(`\n${signal}: cleaning up`)
      await lab.close()
      unlock()
      process.exit(130)
    })
  return () => stopping
}

process.exitCode = await main()
