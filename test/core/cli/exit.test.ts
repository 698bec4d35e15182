import { expect, test } from 'vitest'
import { EXIT_CODES, Exit, exitCode } from '../../../core/cli/exit.ts'
import { ConfigError, NatweaveError, PeerError, SystemError, UsageError } from '../../../core/errors.ts'

for (const [error, want] of [
  [new ConfigError('peers', 'x'), Exit.CONFIG],
  [new NatweaveError('PLUGIN_API', 'x'), Exit.CONFIG],
  [new UsageError('USAGE_PEER', 'x'), Exit.USAGE],
  [new SystemError('SYSTEM_PORT_BUSY', 'x'), Exit.SYSTEM],
  [new SystemError('SYSTEM_PERMISSION', 'x'), Exit.SYSTEM],
  [new SystemError('SYSTEM_RUNNING', 'x'), Exit.SYSTEM],
  [new SystemError('SYSTEM_RESOLVE', 'x'), Exit.UNREACHABLE],
  [new PeerError('PEER_UNREACHABLE', 'x'), Exit.UNREACHABLE],
  [new PeerError('PEER_AUTH_FAILED', 'x'), Exit.AUTH],
  [new PeerError('PEER_NO_PROPOSAL', 'x'), Exit.PROPOSAL],
  [new PeerError('PEER_TS_UNACCEPTABLE', 'x'), Exit.PROPOSAL],
  [new PeerError('PEER_SOMETHING_ELSE', 'x'), Exit.FAILURE],
  [new NatweaveError('CONTROL_NOT_RUNNING', 'x'), Exit.NOT_RUNNING],
  [new TypeError('a bug'), Exit.FAILURE],
  ['thrown text', Exit.FAILURE],
] as const)
  test(`${typeof error === 'string' ? error : 'code' in error ? error.code : error.name} → ${want}`, () => {
    expect(exitCode(error)).toBe(want)
  })

test('every exit code is documented', () => {
  expect(EXIT_CODES.map(([code]) => code).sort((a, b) => a - b)).toEqual(Object.values(Exit).sort((a, b) => a - b))
})
