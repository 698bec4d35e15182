import { createColors } from 'picocolors'
import { NatweaveError } from '../errors.ts'
import { exitCode } from './exit.ts'

/** Where a command writes, and whether it may be colourful. */
export interface Output {
  readonly colours: ReturnType<typeof createColors>
  readonly terminal: boolean
  line(text: string): void
  json(value: unknown): void
  /** One line on standard error. */
  complain(text: string): void
}

function output(): Output {
  const { env, stdout, stderr } = process
  const terminal = stdout.isTTY === true
  const colours = createColors(terminal && env['NO_COLOR'] === undefined && env['TERM'] !== 'dumb')
  return {
    colours,
    terminal,
    line: text => void stdout.write(`${text}\n`),
    json: value => void stdout.write(`${JSON.stringify(value, replacer)}\n`),
    complain: text => void stderr.write(`${text}\n`),
  }
}

/** Infinity has no JSON form; nothing else in our data lacks one. */
const replacer = (_key: string, value: unknown): unknown => (value === Infinity ? null : value)

/** Columns as wide as their widest cell; ANSI colours take no room. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = []
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, visible(cell))
  return rows.map(row =>
    row
      .map((cell, i) => cell + ' '.repeat(widths[i]! - visible(cell)))
      .join('  ')
      .trimEnd(),
  )
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what an ANSI sequence begins with
const visible = (text: string): number => text.replace(/\x1b\[[0-9;]*m/g, '').length

/** Runs a command's body, which may return its exit code; what it throws becomes one clear line and the documented exit code, never a stack trace. */
export async function guarded(json: boolean, body: (out: Output) => Promise<unknown>): Promise<void> {
  const out = output()
  try {
    const code = await body(out)
    process.exitCode = typeof code === 'number' ? code : 0
  } catch (error) {
    process.exitCode = exitCode(error)
    const code = error instanceof NatweaveError ? error.code : 'INTERNAL'
    const message = error instanceof Error ? error.message : String(error)
    if (json) out.json({ error: { code, message, exitCode: process.exitCode } })
    if (error instanceof NatweaveError) out.complain(`natweave: ${message}`)
    // a bug: whoever reports it needs the trace
    else out.complain(`natweave: internal error: ${error instanceof Error ? (error.stack ?? message) : message}`)
  }
}
