import { type Output, table } from '../output.ts'
import { COLUMNS } from './columns.ts'
import { PROBLEMS } from './problems.ts'
import type { Cell, Matrix } from './run.ts'

/** The matrix for a terminal. */

const MARK = {
  cured: ['✔', 'green', 'cured'],
  'not-cured': ['✘', 'red', 'not cured'],
  'not-applicable': ['–', 'dim', 'not applicable'],
} as const

export const cellOf = ({ cells }: Matrix, problem: string, column: string): Cell =>
  cells.find(cell => cell.problem === problem && cell.column === column)!

export function renderMatrix(matrix: Matrix, { colours: c }: Output): string[] {
  const head = ['', ...COLUMNS.map(({ title }) => c.bold(title))]
  const rows = PROBLEMS.map(({ name, title }) => [
    title,
    ...COLUMNS.map(column => {
      const { verdict, asExpected } = cellOf(matrix, name, column.name)
      const [mark, colour, words] = MARK[verdict]
      return `${c[colour](mark)} ${words}${asExpected === false ? c.yellow(' *') : ''}`
    }),
  ])
  const differing = matrix.cells.filter(cell => cell.asExpected === false)
  return [
    ...table([head, ...rows]),
    ...(differing.length === 0 ? [] : ['', c.yellow('* other than the literature says:')]),
    ...differing.map(cell => `  ${cell.problem}/${cell.column}: ${cell.saw}`),
    '',
    c.dim('natweave matrix problems --trace PROBLEM/COLUMN shows what was observed, and what crossed the wire'),
    c.dim(`problems: ${PROBLEMS.map(p => p.name).join(', ')}`),
    c.dim(`columns: ${COLUMNS.map(column => column.name).join(', ')}; seed ${matrix.seed}`),
  ]
}

export function renderCell(cell: Cell, { colours: c }: Output): string[] {
  const { title, story } = PROBLEMS.find(p => p.name === cell.problem)!
  const [mark, colour, words] = MARK[cell.verdict]
  return [c.bold(title), story, '', `${cell.column}: ${c[colour](`${mark} ${words}`)}, ${cell.saw}`, '', ...cell.trace]
}
