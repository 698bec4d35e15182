import { type Pen, pen, speaksUtf8, wrap } from './canvas.ts'
import { chart } from './chart.ts'
import type { DemoResult } from './result.ts'
import { run } from './run.ts'
import { scenario } from './scenario.ts'
import { association, bulk, eavesdropper, facts, heading, ping, plans, summary } from './sections.ts'
import { picture } from './topology.ts'

export interface DemoOptions {
  /** One JSON object (`DemoResult`) in place of the text. */
  readonly json: boolean
  /** Same seed, same output, apart from real seconds. */
  readonly seed: number
  readonly colour: boolean
  write(text: string): void
}

/**
 * Two nodes behind NATs on the virtual internet, with the real engine, told as a story. Everything shown was measured.
 *
 * @returns exit code: 0 when all went well, 1 when something failed; the last line says what
 */
export async function runDemo({ json, seed, colour, write }: DemoOptions): Promise<number> {
  const world = scenario(seed)
  const realNow = (): number => performance.now()
  if (json) {
    const result = await run(world, seed, realNow)
    write(`${JSON.stringify(result, undefined, 2)}\n`)
    return result.ok ? 0 : 1
  }
  const drawing = pen({ unicode: speaksUtf8(process.env), colour, columns: process.stdout.columns })
  // the stage first: what follows takes a moment
  for (const line of opening(seed, drawing)) write(`${line}\n`)
  for (const line of picture(world.topology, drawing)) write(`${line}\n`)
  const result = await run(world, seed, realNow)
  for (const line of story(result, drawing)) write(`${line}\n`)
  return result.ok ? 0 : 1
}

function opening(seed: number, { width, paint }: Pen): string[] {
  const text =
    'Two nodes, each behind a NAT, build an IPsec tunnel: real IKEv2 and ESP on a virtual internet, ' +
    `no privilege, no socket. Times are virtual milliseconds; seed ${seed}.`
  return [
    '',
    `  ${paint('natweave demo', 'bold')}`,
    ...wrap(text, width - 4).map(line => `  ${paint(line, 'dim')}`),
    '',
  ]
}

const caption = ({ width, paint }: Pen): string[] => {
  const text =
    'Each part of an arrow bears the address that counts there: the sender as translated so far, and on the last part ' +
    'the receiver as translated by its own NAT. Only headers are in the clear; alice tells what is inside.'
  return [...wrap(text, width - 4).map(line => `  ${paint(line, 'dim')}`), '']
}

/** Everything that comes after the picture; a section with nothing to show is left out. */
export function story(result: DemoResult, drawing: Pen): string[] {
  const lifelines = result.topology.row.map(({ name, address }) => ({ name, address }))
  const payloads = new Map(Object.entries(result.payloads))
  const sections: [title: string, lines: string[]][] = [
    ['messages on the wire', [...caption(drawing), ...chart(lifelines, result.messages, payloads, drawing)]],
    ['what the nodes found out', facts(result.facts, drawing)],
    ["alice's choice of plan", plans(result.plans, drawing)],
    ['security associations', result.sa === undefined ? [] : association(result.sa, drawing)],
    ['ping through the tunnel', result.ping === undefined ? [] : ping(result.ping, drawing)],
    ['a file through the tunnel', result.bulk === undefined ? [] : bulk(result.bulk, drawing)],
    ['what an eavesdropper between the NATs saw', eavesdropper(result.eavesdropper, drawing)],
  ]
  const shown = sections.filter(([, lines]) => lines.length > 0)
  return [...shown.flatMap(([title, lines]) => [...heading(title, drawing), ...lines]), '', summary(result, drawing)]
}
