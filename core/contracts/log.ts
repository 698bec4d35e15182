export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** Structured log. Never hand it keys, nonces, secrets or plaintext. */
export interface Log {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void
  info(message: string, fields?: Readonly<Record<string, unknown>>): void
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void
  error(message: string, fields?: Readonly<Record<string, unknown>>): void
  /** A log whose lines carry these fields too. */
  child(fields: Readonly<Record<string, unknown>>): Log
}

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silentLog }
