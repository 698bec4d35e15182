import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { SystemError } from '../../core/errors.ts'

const run = promisify(execFile)

/**
 * Runs iproute2's `ip`.
 * @returns its output
 * @throws SystemError SYSTEM_MISSING, SYSTEM_PERMISSION, SYSTEM_DEVICE
 */
export async function ip(args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await run('ip', args, { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } })
    return stdout
  } catch (error) {
    throw ipError(args, error as NodeJS.ErrnoException & { stderr?: string })
  }
}

/** Runs `ip -json`; an empty list where the system lacks the feature (IPv6 switched off). */
export async function ipList<T>(args: readonly string[]): Promise<readonly T[]> {
  const output = await ip(['-json', ...args]).catch(() => '')
  return output.trim() === '' ? [] : (JSON.parse(output) as T[])
}

/** Says what a failed `ip` means and what to do about it. */
export function ipError(
  args: readonly string[],
  error: { code?: unknown; stderr?: string; message: string },
): SystemError {
  const command = `ip ${args.join(' ')}`
  const said = error.stderr?.trim() || error.message
  const options = { cause: error }
  if (error.code === 'ENOENT') {
    return new SystemError('SYSTEM_MISSING', 'the command ip was not found: install iproute2', options)
  }
  if (/not permitted|permission denied/i.test(said)) {
    return new SystemError('SYSTEM_PERMISSION', `${command} needs CAP_NET_ADMIN: run as root (${said})`, options)
  }
  return new SystemError('SYSTEM_DEVICE', `${command}: ${said}`, options)
}
