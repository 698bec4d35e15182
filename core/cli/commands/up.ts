import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { type Loaded, loadConfig } from '../../config/index.ts'
import type { LogLevel } from '../../contracts/log.ts'
import type { Natweave, NatweaveEvent } from '../../contracts/natweave.ts'
import { NatweaveError } from '../../errors.ts'
import { build } from '../build.ts'
import { ask, type Control, defaultSocket, isRunning, prepare, serve } from '../control.ts'
import { Exit } from '../exit.ts'
import { openKeylog } from '../keylog.ts'
import { stderrLog } from '../log.ts'
import { guarded, type Output } from '../output.ts'
import { renderEvent } from '../render.ts'

export interface UpFlags {
  readonly config?: string
  readonly socket?: string
  readonly detach: boolean
  readonly keylog?: string
  readonly logLevel?: LogLevel
  readonly json: boolean
}

export default async function up(this: unknown, flags: UpFlags): Promise<void> {
  await guarded(flags.json, out => (flags.detach ? detach(flags, out) : foreground(flags, out)))
}

const foreground = async (flags: UpFlags, out: Output): Promise<number> =>
  run(await loadConfig({ file: flags.config }), flags, out)

/**
 * Octets of bytecode after which V8 looks whether a function is worth compiling; its own value is 66 kB, for programs that
 * compute. A quiet tunnel runs little code, but somebody waits for it each time: compiled, it takes three quarters of the
 * time. Smaller values have the first handshakes wait for the compiler.
 */
const COMPILE_AFTER = 5_000

function compileSoon(): void {
  // from V8 12 on calls are counted, a few hundred, and the option is unknown
  if (process.versions.v8.startsWith('11.')) setFlagsFromString(`--interrupt-budget=${COMPILE_AFTER}`)
}

/** Runs a build until it is told to stop. */
export async function run(config: Loaded, flags: UpFlags, out: Output): Promise<number> {
  compileSoon()
  const log = stderrLog(flags.logLevel ?? config.log.level, config.log.format)
  const natweave = await build(config, log)
  const stopped = untilStopped()
  const keys = flags.keylog === undefined ? undefined : openKeylog(flags.keylog)
  if (keys !== undefined)
    out.complain(
      `natweave: WARNING: all session keys are written to ${flags.keylog}; whoever reads it can decrypt the traffic`,
    )
  natweave.on(
    event => {
      if (event.type === 'keys') keys?.(event.line)
      else report(event, flags, out)
    },
    { keys: keys !== undefined },
  )
  const socket = flags.socket ?? defaultSocket()
  let control: Control | undefined
  try {
    control = await serve(socket, natweave, () => stopped.stop(Exit.OK))
    await natweave.start()
    control.ready()
    log.info('natweave is up', { config: config.file, socket, peers: Object.keys(config.settings.peers).length })
    return await stopped.promise
  } finally {
    await shutDown(natweave, control)
  }
}

async function shutDown(natweave: Natweave, control: Control | undefined): Promise<void> {
  await natweave.stop()
  control?.close()
}

/** The first signal asks for an orderly end (peers get DELETE), the second ends at once. */
function untilStopped(): { promise: Promise<number>; stop: (code: number) => void } {
  let stop: (code: number) => void = () => {}
  const promise = new Promise<number>(resolve => {
    stop = resolve
  })
  let signalled = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (signalled) process.exit(Exit.INTERRUPTED)
      signalled = true
      stop(Exit.OK)
    })
  return { promise, stop }
}

function report(event: NatweaveEvent, { json, logLevel }: UpFlags, out: Output): void {
  if (json) {
    out.json(event)
    return
  }
  if (event.type === 'message' && logLevel !== 'debug') return
  const text = renderEvent(event, out.colours)
  if (text !== undefined) out.line(`${event.peer === '' ? '' : `${out.colours.bold(event.peer)}: `}${text}`)
}

/** Starts the same command without a terminal and waits until it answers, or hands on its error and exit code. */
export async function detach(flags: UpFlags, out: Output): Promise<number> {
  const socket = flags.socket ?? defaultSocket()
  const config = await loadConfig({ file: flags.config })
  if (await isRunning(socket))
    throw new NatweaveError('SYSTEM_RUNNING', `natweave is already running on ${socket}; natweave down ends it`)
  prepare(socket)
  const logFile = `${socket}.log`
  const log = openSync(logFile, 'w', 0o600)
  const args = process.argv.slice(1).filter(arg => arg !== '--detach')
  const child = spawn(process.execPath, [...process.execArgv, ...args], { detached: true, stdio: ['ignore', log, log] })
  closeSync(log)
  let over = false
  const ended = new Promise<number>(resolve =>
    child.once('exit', code => {
      over = true
      resolve(code ?? Exit.FAILURE)
    }),
  )
  await Promise.race([ended, answering(socket, () => over)])
  if (over) {
    out.complain(readFileSync(logFile, 'utf8').trim())
    return ended
  }
  child.unref()
  if (flags.json) out.json({ pid: child.pid, socket, log: logFile, config: config.file })
  else out.line(`natweave is up (pid ${child.pid}); log in ${logFile}; natweave down ends it`)
  return Exit.OK
}

/** Resolves when the instance on the socket is up, or will never be. */
async function answering(socket: string, over: () => boolean): Promise<undefined> {
  for (; !over(); await sleep(50)) {
    if (!(await isRunning(socket))) continue
    try {
      await ask(socket, 'ready', [])
      return
    } catch {
      // it gave up: its exit code says why
    }
  }
}
