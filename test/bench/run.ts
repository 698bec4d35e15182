import 'reflect-metadata'
import { codec } from './codec.ts'
import { dos } from './dos.ts'
import { esp } from './esp.ts'
import { handshakes } from './handshakes.ts'
import type { Bench, Figure } from './measure.ts'
import { mediation } from './mediation.ts'
import { overhead } from './overhead.ts'
import { peers } from './peers.ts'
import { tunnel } from './tunnel.ts'

const BENCHES: readonly Bench[] = [tunnel, peers, esp, handshakes, codec, overhead, mediation, dos]
const USAGE = `usage: npm run bench -- [--only ${BENCHES.map(b => b.name).join('|')}] [--json]`

const number = new Intl.NumberFormat('en', { maximumSignificantDigits: 4 })

/** What a figure is compared with, as multiples of the slowest beside it. */
function ratio(figure: Figure, all: readonly Figure[]): string {
  const beside = all.filter(f => f.compare !== undefined && f.compare === figure.compare)
  if (beside.length < 2) return ''
  return `${(figure.value / Math.min(...beside.map(f => f.value))).toFixed(2)}×`
}

function table(figures: readonly Figure[]): string {
  const rows = figures.map((figure, i) => {
    const repeated = figure.compare !== undefined && figures[i - 1]?.compare === figure.compare
    return [
      repeated ? '' : (figure.compare ?? ''),
      figure.what,
      number.format(figure.value),
      figure.unit,
      ratio(figure, figures),
    ]
  })
  const widths = [0, 1, 2, 3, 4].map(column => Math.max(...rows.map(row => row[column]!.length)))
  const cell = (text: string, column: number): string =>
    column === 2 || column === 4 ? text.padStart(widths[column]!) : text.padEnd(widths[column]!)
  return rows.map(row => `  ${row.map(cell).join('  ')}`.trimEnd()).join('\n')
}

async function main(args: readonly string[]): Promise<void> {
  const json = args.includes('--json')
  const only = args.includes('--only') ? args[args.indexOf('--only') + 1] : undefined
  const chosen = BENCHES.filter(b => only === undefined || b.name === only)
  if (chosen.length === 0) {
    process.stderr.write(`${USAGE}\n`)
    process.exitCode = 2
    return
  }
  const results: { bench: string; about: string; figures: readonly Figure[]; notRun?: string }[] = []
  for (const { name, about, run, show = table, obstacle } of chosen) {
    if (!json) process.stdout.write(`\n${name}: ${about}\n`)
    const why = obstacle?.()
    if (why !== undefined) {
      results.push({ bench: name, about, figures: [], notRun: why })
      if (!json) process.stdout.write(`  not run: ${why}\n`)
      continue
    }
    const figures = await run()
    results.push({ bench: name, about, figures })
    if (json) continue
    process.stdout.write(`${show(figures)}\n`)
    for (const how of new Set(figures.map(f => f.how))) process.stdout.write(`  - ${how}\n`)
  }
  if (json)
    process.stdout.write(
      `${JSON.stringify({ node: process.version, platform: `${process.platform} ${process.arch}`, results }, undefined, 2)}\n`,
    )
}

// whoever reads along may stop, as `head` does
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})

await main(process.argv.slice(2))
