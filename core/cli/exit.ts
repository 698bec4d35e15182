import { ConfigError, NatweaveError } from '../errors.ts'

/** Exit codes of the command; scripts rely on them, so they only ever grow. */
export const Exit = {
  OK: 0,
  FAILURE: 1,
  USAGE: 2,
  CONFIG: 3,
  SYSTEM: 4,
  UNREACHABLE: 5,
  AUTH: 6,
  PROPOSAL: 7,
  NOT_RUNNING: 8,
  INCOMPLETE: 9,
  INTERRUPTED: 130,
} as const

/** For `--help` and the documentation. */
export const EXIT_CODES: readonly (readonly [code: number, meaning: string])[] = [
  [Exit.OK, 'done'],
  [Exit.FAILURE, 'failed for a reason of no other kind'],
  [Exit.USAGE, 'the command line is wrong, or names a peer that is not configured'],
  [Exit.CONFIG, 'the configuration is missing, wrong or readable by others'],
  [Exit.SYSTEM, 'the system refuses: busy port, missing privilege, missing program'],
  [Exit.UNREACHABLE, 'the peer does not answer or cannot be found'],
  [Exit.AUTH, 'authentication failed: pre-shared key or identity'],
  [Exit.PROPOSAL, 'nothing in common: algorithms, traffic selectors, addresses or plan'],
  [Exit.NOT_RUNNING, 'no natweave is running (natweave up)'],
  [Exit.INCOMPLETE, 'done, but something could not be carried over (natweave import)'],
  [Exit.INTERRUPTED, 'interrupted'],
]

/** By the start of an error's code, the longest match first. */
const BY_CODE: readonly (readonly [prefix: string, code: number])[] = [
  ['SYSTEM_RESOLVE', Exit.UNREACHABLE],
  ['SYSTEM_UNREACHABLE', Exit.UNREACHABLE],
  ['SYSTEM_', Exit.SYSTEM],
  ['USAGE_', Exit.USAGE],
  ['CONFIG_', Exit.CONFIG],
  ['PLUGIN_', Exit.CONFIG],
  ['PEER_UNREACHABLE', Exit.UNREACHABLE],
  ['PEER_TIMEOUT', Exit.UNREACHABLE],
  ['PATH_', Exit.UNREACHABLE],
  ['PEER_AUTH', Exit.AUTH],
  ['PEER_NO_PROPOSAL', Exit.PROPOSAL],
  ['PEER_TS_UNACCEPTABLE', Exit.PROPOSAL],
  ['PEER_NO_ADDRESS', Exit.PROPOSAL],
  ['PEER_MODE', Exit.PROPOSAL],
  ['PLAN_', Exit.PROPOSAL],
  ['CONTROL_NOT_RUNNING', Exit.NOT_RUNNING],
  ['INTERRUPTED', Exit.INTERRUPTED],
]

export function exitCode(error: unknown): number {
  if (error instanceof ConfigError) return Exit.CONFIG
  if (!(error instanceof NatweaveError)) return Exit.FAILURE
  return BY_CODE.find(([prefix]) => error.code.startsWith(prefix))?.[1] ?? Exit.FAILURE
}
