import type { Log, LogLevel } from '../contracts/log.ts'

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']
const SECRET = /psk|secret|key$|password/i

/** Lines on standard error: for people on a terminal, JSON for everybody else. */
export function stderrLog(
  level: LogLevel,
  format: 'auto' | 'pretty' | 'json',
  bound: Readonly<Record<string, unknown>> = {},
): Log {
  const pretty = format === 'pretty' || (format === 'auto' && process.stderr.isTTY === true)
  const write = (at: LogLevel, message: string, fields: Readonly<Record<string, unknown>> = {}): void => {
    if (LEVELS.indexOf(at) < LEVELS.indexOf(level)) return
    const all = Object.entries({ ...bound, ...fields }).map(([k, v]) => [k, SECRET.test(k) ? '[redacted]' : v] as const)
    const time = new Date().toISOString()
    const line = pretty
      ? `${time.slice(11, 23)} ${at.padEnd(5)} ${message}${all.map(([k, v]) => ` ${k}=${show(v)}`).join('')}`
      : JSON.stringify({ time, level: at, message, ...Object.fromEntries(all) })
    process.stderr.write(`${line}\n`)
  }
  return {
    debug: (message, fields) => write('debug', message, fields),
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, fields) => write('error', message, fields),
    child: fields => stderrLog(level, format, { ...bound, ...fields }),
  }
}

const show = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))
