import { availableParallelism } from 'node:os'
import { UsageError } from '../../core/errors.ts'
import type { Side } from './messages.ts'

export interface LinuxFastOptions {
  /**
   * 1: one thread moves packets of both directions. 2: one for each. Absent: 2 where the process may use four processors or
   * more, which leaves one for the kernel's part of each direction; else 1.
   */
  readonly threads?: 1 | 2
}

/** What each thread does. Numbers of an SA are drawn by one, its replay window belongs to one. */
const SIDES = { 1: ['both'], 2: ['in', 'out'] } as const satisfies Record<number, readonly Side[]>
/** Processors from which on a second thread does not take what the first one needs. */
const ROOMY = 4

/** @throws UsageError USAGE_OPTION naming the value */
export function sidesOf(options: LinuxFastOptions): readonly Side[] {
  for (const name of Object.keys(options))
    if (name !== 'threads') throw new UsageError('USAGE_OPTION', `${name}: no such option; there is: threads`)
  const threads: unknown = options.threads ?? (availableParallelism() >= ROOMY ? 2 : 1)
  if (threads !== 1 && threads !== 2)
    throw new UsageError('USAGE_OPTION', `threads: ${JSON.stringify(threads)}; 1, or 2 for one each way, is wanted`)
  return SIDES[threads]
}
