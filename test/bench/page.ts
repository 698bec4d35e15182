import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, release } from 'node:os'
import type { Result } from './measure.ts'
import { rowsOf } from './text.ts'

/**
 * Writes results into a page: each bench has a section between two comments, which a run replaces, so that benches may
 * be run one by one. What stands around the sections is left alone; a bench that is new to the page comes at its end.
 */
export function writePage(file: string, results: readonly Result[]): void {
  let page = existsSync(file) ? readFileSync(file, 'utf8') : '# How fast\n'
  for (const result of results) {
    if (result.notRun !== undefined) continue
    const [from, to] = [`<!-- bench ${result.bench} -->`, `<!-- end of ${result.bench} -->`]
    const text = `${from}\n\n${section(result)}\n${to}`
    const [start, end] = [page.indexOf(from), page.indexOf(to)]
    page = start < 0 || end < start ? `${page}\n${text}\n` : page.slice(0, start) + text + page.slice(end + to.length)
  }
  writeFileSync(file, page)
}

function section({ bench, about, figures, goals = [] }: Result): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const hows = [...new Set(figures.map(f => f.how))]
  const notes = (how: string): string => (hows.length > 1 ? String(hows.indexOf(how) + 1) : '')
  const rows = rowsOf(figures).map((cells, i) => row([...cells, notes(figures[i]!.how)]))
  const day = new Date().toISOString().slice(0, 10)
  const [first, ...others] = cpus()
  return [
    `### ${bench}`,
    '',
    `${about[0]!.toUpperCase()}${about.slice(1)}.`,
    '',
    row(['', '', 'value', 'unit', 'ratio', 'how']),
    row(['---', '---', '--:', '---', '--:', '--:']),
    ...rows,
    '',
    ...hows.map((how, i) => `${hows.length > 1 ? `${i + 1}. ` : ''}${how}`),
    '',
    ...goals.map(({ goal, reached, met }) => `- Goal: ${goal}. ${met ? 'Reached' : '**Not reached**'}: ${reached}.`),
    ...(goals.length > 0 ? [''] : []),
    `Run on ${day}: ${others.length + 1} × ${first?.model.trim()}, Linux ${release()}, Node ${process.version}.`,
    '',
  ].join('\n')
}
