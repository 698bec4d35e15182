import { execFile, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Finished {
  /** Exit status; -1 when a signal or the time limit ended it. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end. Never rejects because of its exit status. `timeoutMs` ends it with SIGKILL. */
export function run(
  argv: readonly string[],
  options: { timeoutMs?: number; env?: NodeJS.ProcessEnv } = {},
): Promise<Finished> {
  const [file = '', ...args] = argv
  return new Promise(resolve => {
    const settings = {
      timeout: options.timeoutMs ?? 60_000,
      killSignal: 'SIGKILL' as const,
      maxBuffer: 256 << 20,
      env: { ...process.env, ...options.env },
    }
    execFile(file, args, settings, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      const why = code === -1 && error !== null ? `${stderr}${error.killed ? 'time limit' : error.message}` : stderr
      resolve({ code, stdout, stderr: why })
    })
  })
}

/** A program running in the background with all its output in one log file. */
export class Background {
  readonly pid: number
  readonly logFile: string
  readonly #ended: Promise<number>
  #alive = true

  /** In a session of its own, so that Ctrl-C at the terminal reaches the runner alone and it can clean up in order. */
  constructor(argv: readonly string[], logFile: string, env: NodeJS.ProcessEnv = {}) {
    const [file = '', ...args] = argv
    const log = openSync(logFile, 'w')
    const child = spawn(file, args, { detached: true, stdio: ['ignore', log, log], env: { ...process.env, ...env } })
    closeSync(log)
    this.pid = child.pid ?? -1
    this.logFile = logFile
    this.#ended = new Promise(resolve => {
      const end = (code: number) => {
        this.#alive = false
        resolve(code)
      }
      child.on('exit', code => end(code ?? -1))
      child.on('error', () => end(-1))
    })
  }

  get alive(): boolean {
    return this.#alive
  }

  log(): string {
    return readFileSync(this.logFile, 'latin1')
  }

  signal(name: NodeJS.Signals): void {
    if (this.#alive) process.kill(this.pid, name)
  }

  /** Resolves with the exit status. @throws when it has not ended after `ms` */
  async ended(ms: number): Promise<number> {
    const code = await Promise.race([this.#ended, sleep(ms, undefined, { ref: false })])
    if (code === undefined) throw new Error(`${this.logFile}: still running after ${ms} ms`)
    return code
  }

  /** Ends it: SIGTERM first, SIGKILL if that was not enough in `graceMs`. */
  async stop(graceMs = 5000): Promise<void> {
    if (!this.#alive) return
    this.signal('SIGCONT')
    this.signal('SIGTERM')
    const code = await Promise.race([this.#ended, sleep(graceMs, 'late' as const, { ref: false })])
    if (code === 'late') {
      this.signal('SIGKILL')
      await this.#ended
    }
  }
}

/** Asks again every 50 ms until `probe` gives something. @throws naming `what` after `ms` */
export async function until<T>(what: string, ms: number, probe: () => Promise<T | undefined | false>): Promise<T> {
  const end = Date.now() + ms
  for (;;) {
    const found = await probe()
    if (found !== undefined && found !== false) return found
    if (Date.now() > end) throw new Error(`${what}: not within ${ms / 1000} s`)
    await sleep(50)
  }
}
