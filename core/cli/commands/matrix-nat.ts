import { asPossible, type NatMatrix, type PairResult, runNatPairs, SIDE_NAMES } from '../matrix/nat-pairs.ts'
import { guarded, type Output, table } from '../output.ts'

export interface MatrixNatFlags {
  readonly seed: number
  readonly relay: boolean
  readonly json: boolean
}

/** Runs all pairs of NATs; exit code 1 when a pair is not connected as well as theory allows. */
export default async function matrixNat(this: unknown, flags: MatrixNatFlags): Promise<void> {
  await guarded(flags.json, async out => {
    const shows = out.terminal && !flags.json
    let done = 0
    const matrix = await runNatPairs(flags.seed, flags.relay, ({ alice, bob }) => {
      if (shows) process.stderr.write(`\r\x1b[K${++done}/${SIDE_NAMES.length ** 2} ${alice} – ${bob}`)
    })
    if (shows) process.stderr.write('\r\x1b[K')
    if (flags.json) out.json(matrix)
    else for (const line of renderNatMatrix(matrix, out)) out.line(line)
    return matrix.pairs.every(pair => asPossible(pair, flags.relay)) ? 0 : 1
  })
}

/** A row for each NAT of the one who asks. */
export function renderNatMatrix(matrix: NatMatrix, out: Output): string[] {
  const { pairs, roundTripMs, seed, relay } = matrix
  const { colours: c } = out
  const cell = (alice: string, bob: string): string => {
    const pair = pairs.find(p => p.alice === alice && p.bob === bob)!
    return asPossible(pair, relay) ? shown(pair, out) : c.red('FAILED')
  }
  const rows = SIDE_NAMES.map(alice => [c.bold(alice), ...SIDE_NAMES.map(bob => cell(alice, bob))])
  return [
    ...table([['', ...SIDE_NAMES.map(name => c.bold(name))], ...rows]),
    '',
    'rows: who asks; columns: who is asked; direct unless a cell says otherwise',
    'the time from the call to the tunnel, and the packets of both ends',
    ...(relay ? ['relay: through a TURN relay; → the time until a direct way was found and taken'] : []),
    'no UDP: server and relay could be reached by TCP only, which is not simulated',
    c.dim(
      `round trip between two homes ${roundTripMs} ms; seed ${seed}; --json has the pair of endpoints that was chosen, and why`,
    ),
  ]
}

function shown({ way, directMs, ms, packets, possible }: PairResult, { colours: c }: Output): string {
  const took = `${ms} ms, ${packets}`
  if (way === 'direct') return c.green(took)
  if (way === 'relayed')
    return c.yellow(`relay ${took}${directMs === undefined ? '' : ` → ${(directMs / 1_000).toFixed(1)} s`}`)
  return possible === 'nothing' ? c.dim('no UDP') : c.yellow('needs a relay')
}
