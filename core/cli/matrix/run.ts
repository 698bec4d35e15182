import { COLUMNS, type Column } from './columns.ts'
import { PROBLEMS, type Problem } from './problems.ts'
import { CellTrace } from './trace.ts'

export type Verdict = 'cured' | 'not-cured' | 'not-applicable'

/** What one cure does to one problem, as it was observed. */
export interface Cell {
  readonly problem: string
  readonly column: Column['name']
  readonly verdict: Verdict
  readonly saw: string
  /** Whether that is what the literature says; undefined where it says nothing. */
  readonly asExpected: boolean | undefined
  /** What crossed the public segment, one message or run of packets a line. */
  readonly trace: readonly string[]
}

export interface Matrix {
  readonly seed: number
  readonly cells: readonly Cell[]
}

/**
 * Every problem with every column, each on a virtual internet of its own.
 *
 * @param progress - called after each cell
 */
export async function runProblems(
  seed: number,
  progress: (cell: Cell) => void = () => {},
  problems: readonly Problem[] = PROBLEMS,
): Promise<Matrix> {
  const cells: Cell[] = []
  for (const problem of problems)
    for (const column of COLUMNS) {
      const cell = await observe(problem, column, seed)
      cells.push(cell)
      progress(cell)
    }
  return { seed, cells }
}

async function observe(problem: Problem, column: Column, seed: number): Promise<Cell> {
  let trace: CellTrace | undefined
  const {
    cured,
    saw,
    applies = true,
  } = await problem.run({
    column,
    seed,
    stage: topology => {
      trace = new CellTrace(topology.net, topology.inet)
      return topology
    },
  })
  return {
    problem: problem.name,
    column: column.name,
    verdict: !applies ? 'not-applicable' : cured ? 'cured' : 'not-cured',
    saw,
    asExpected: expected(problem, column) === undefined ? undefined : expected(problem, column) === cured,
    trace: trace?.lines() ?? [],
  }
}

function expected({ literature, curable, name }: Problem, column: Column): boolean | undefined {
  if (column.name === 'policy') return curable
  if (column.name === 'none') return name === 'integrity-only' ? undefined : false
  return literature[column.name]
}
