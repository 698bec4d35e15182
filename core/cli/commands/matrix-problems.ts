import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { UsageError } from '../../errors.ts'
import { suggestion } from '../../nearest.ts'
import { COLUMNS } from '../matrix/columns.ts'
import { htmlPage, markdownPages, svgDrawing } from '../matrix/pages.ts'
import { PROBLEMS } from '../matrix/problems.ts'
import { runProblems } from '../matrix/run.ts'
import { renderCell, renderMatrix } from '../matrix/text.ts'
import { guarded } from '../output.ts'

export interface MatrixProblemsFlags {
  readonly seed: number
  readonly json: boolean
  readonly html: boolean
  readonly svg: boolean
  readonly trace?: string
  readonly docs?: string
}

/** Runs the eight problems with every cure; exit code 1 when policy does not cure what can be cured. */
export default async function matrixProblems(this: unknown, flags: MatrixProblemsFlags): Promise<void> {
  await guarded(flags.json, async out => {
    const [problem, column] = flags.trace === undefined ? [] : chosen(flags.trace)
    const shown = PROBLEMS.filter(p => problem === undefined || p.name === problem)
    let done = 0
    const matrix = await runProblems(
      flags.seed,
      cell => {
        done++
        if (out.terminal && !flags.json && !flags.html && !flags.svg)
          process.stderr.write(`\r\x1b[K${done}/${shown.length * COLUMNS.length} ${cell.problem}/${cell.column}`)
      },
      shown,
    )
    if (out.terminal && !flags.json && !flags.html && !flags.svg) process.stderr.write('\r\x1b[K')
    if (flags.docs !== undefined) {
      mkdirSync(flags.docs, { recursive: true })
      const pages = [...markdownPages(matrix), ['matrix.svg', svgDrawing(matrix)] as const]
      for (const [name, text] of pages) writeFileSync(join(flags.docs, name), text)
    }
    if (problem !== undefined) {
      const cell = matrix.cells.find(c => c.column === column)!
      if (flags.json) out.json(cell)
      else for (const line of renderCell(cell, out)) out.line(line)
      return 0
    }
    if (flags.json) out.json(matrix)
    else if (flags.html) out.line(htmlPage(matrix))
    else if (flags.svg) out.line(svgDrawing(matrix))
    else for (const line of renderMatrix(matrix, out)) out.line(line)
    const failed = matrix.cells.some(c => c.column === 'policy' && c.asExpected === false)
    return failed ? 1 : 0
  })
}

function chosen(text: string): readonly [problem: string, column: string] {
  const [problem = '', column = ''] = text.split('/')
  const problems = PROBLEMS.map(p => p.name)
  const columns: string[] = COLUMNS.map(c => c.name)
  if (!problems.includes(problem))
    throw new UsageError('USAGE_TRACE', `no problem "${problem}"${suggestion(problem, problems)}`)
  if (!columns.includes(column))
    throw new UsageError('USAGE_TRACE', `no column "${column}"${suggestion(column, columns)}`)
  return [problem, column]
}
