import { type NatMatrix, type PairResult, runNatPairs, SIDE_NAMES } from '../matrix/nat-pairs.ts'
import { guarded, type Output, table } from '../output.ts'

export interface MatrixNatFlags {
  readonly seed: number
  readonly json: boolean
}

/** Runs all pairs of NATs; exit code 1 when a pair is not connected directly that theory allows to be. */
export default async function matrixNat(this: unknown, flags: MatrixNatFlags): Promise<void> {
  await guarded(flags.json, async out => {
    const shows = out.terminal && !flags.json
    let done = 0
    const matrix = await runNatPairs(flags.seed, ({ alice, bob }) => {
      if (shows) process.stderr.write(`\r\x1b[K${++done}/${SIDE_NAMES.length ** 2} ${alice} – ${bob}`)
    })
    if (shows) process.stderr.write('\r\x1b[K')
    if (flags.json) out.json(matrix)
    else for (const line of renderNatMatrix(matrix, out)) out.line(line)
    return matrix.pairs.some(p => p.possible === 'direct' && !p.connected) ? 1 : 0
  })
}

/** A row for each NAT of the one who asks. */
export function renderNatMatrix({ pairs, roundTripMs, seed }: NatMatrix, { colours: c }: Output): string[] {
  const cell = (alice: string, bob: string): string => {
    const pair = pairs.find(p => p.alice === alice && p.bob === bob)!
    return pair.connected ? c.green(`${pair.ms} ms, ${pair.packets}`) : c[COLOUR[pair.possible]](WORD[pair.possible])
  }
  const rows = SIDE_NAMES.map(alice => [c.bold(alice), ...SIDE_NAMES.map(bob => cell(alice, bob))])
  return [
    ...table([['', ...SIDE_NAMES.map(name => c.bold(name))], ...rows]),
    '',
    'rows: who asks; columns: who is asked; all direct, with the time from the call to the tunnel and the packets of both ends',
    c.dim(
      `round trip between two homes ${roundTripMs} ms; seed ${seed}; --json has the pair of endpoints that was chosen, and why`,
    ),
  ]
}

const WORD = { direct: 'FAILED', relayed: 'needs a relay', nothing: 'no UDP' } as const satisfies Record<
  PairResult['possible'],
  string
>
const COLOUR = { direct: 'red', relayed: 'yellow', nothing: 'dim' } as const
