import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs'
import { createConnection, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Natweave, NatweaveEvent } from '../contracts/natweave.ts'
import { NatweaveError, SystemError } from '../errors.ts'

/** How commands talk to a running instance: JSON lines over a socket that only its owner can open. */

/** A request: a method of `Natweave` and its arguments; `ready` waits for its start, `down` ends the process. */
interface Request {
  readonly method: string
  readonly params: readonly string[]
}

type Answer =
  | { readonly event: NatweaveEvent }
  | { readonly result: unknown }
  | { readonly error: { readonly code: string; readonly message: string } }

/** More than any request of ours is long; a client that sends more is cut off. */
const MAX_LINE = 4_096
/** sun_path of Linux less its final zero; macOS and the BSDs have 4 less. */
const MAX_PATH = process.platform === 'linux' ? 107 : 103

export function defaultSocket(): string {
  const { XDG_RUNTIME_DIR: runtime } = process.env
  if (process.getuid?.() === 0) return '/run/natweave/control.sock'
  return runtime === undefined ? join(sharedFolder(), 'control.sock') : join(runtime, 'natweave.sock')
}

const sharedFolder = (): string => join(tmpdir(), `natweave-${process.getuid?.() ?? 'user'}`)

/** A control socket that is open. */
export interface Control {
  /** The build is up: those who asked `ready` hear it. */
  ready(): void
  close(): void
}

/** @throws SystemError SYSTEM_RUNNING when another instance owns the socket, SYSTEM_PERMISSION */
export async function serve(path: string, natweave: Natweave, down: () => void): Promise<Control> {
  if (await answers(path))
    throw new SystemError(
      'SYSTEM_RUNNING',
      `natweave is already running on ${path}; natweave down ends it, or use another --socket`,
    )
  prepare(path)
  let ready: () => void = () => {}
  const up = new Promise<void>(resolve => {
    ready = resolve
  })
  const clients = new Set<Socket>()
  const server = createServer(socket => {
    clients.add(socket)
    socket.once('close', () => clients.delete(socket))
    attend(socket, { natweave, down, up })
  })
  // nobody else may connect in the moment before the mode is set
  const before = process.umask(0o177)
  try {
    await new Promise<void>((done, failed) => {
      server.once('error', failed)
      server.listen(path, done)
    })
  } catch (error) {
    throw new SystemError('SYSTEM_PERMISSION', `the control socket ${path} cannot be made: ${(error as Error).message}`)
  } finally {
    process.umask(before)
  }
  chmodSync(path, 0o600)
  return {
    ready,
    close: () => {
      server.close()
      // who stays connected must not keep the process; answers that are under way may still go out
      for (const client of clients) client.destroySoon()
    },
  }
}

/**
 * Makes the folder of a control socket and clears what a killed instance left of the socket.
 * @throws SystemError SYSTEM_PERMISSION when the place is not a safe or possible one
 */
export function prepare(path: string): void {
  const refuse = (why: string, cause?: unknown) =>
    new SystemError(
      'SYSTEM_PERMISSION',
      `the control socket ${path} cannot be made: ${why}; name another place with --socket`,
      { cause },
    )
  if (Buffer.byteLength(path) > MAX_PATH) throw refuse(`more than ${MAX_PATH} octets are too long for the system`)
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    const folder = lstatSync(dirname(path))
    // anybody may have made our folder in /tmp before us
    if (dirname(path) === sharedFolder() && (folder.uid !== process.getuid?.() || (folder.mode & 0o077) !== 0))
      throw refuse(`${dirname(path)} is not for its owner alone`)
    const there = lstatSync(path, { throwIfNoEntry: false })
    if (there !== undefined && !there.isSocket()) throw refuse('another file is in its place')
    if (there !== undefined) unlinkSync(path)
  } catch (error) {
    throw error instanceof SystemError ? error : refuse((error as Error).message, error)
  }
}

const answers = (path: string): Promise<boolean> =>
  new Promise(resolve => {
    const socket = createConnection(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })

/** What requests act on. */
interface Instance {
  readonly natweave: Natweave
  readonly down: () => void
  readonly up: Promise<void>
}

function attend(socket: Socket, instance: Instance): void {
  const say = (answer: Answer): void => void (socket.destroyed || socket.write(`${JSON.stringify(answer)}\n`))
  const stop = instance.natweave.on(event => {
    if (event.type !== 'keys') say({ event })
  })
  let received = 0
  socket.on('data', data => {
    received += data.length
    if (received > MAX_LINE) socket.destroy()
  })
  socket.on('error', () => socket.destroy())
  socket.on('close', stop)
  const lines = createInterface({ input: socket })
  lines.on('error', () => {}) // readline repeats the socket's error, which is handled above
  lines.once('line', async line => {
    try {
      say({ result: await perform(requestOf(line), instance) })
    } catch (error) {
      const code = error instanceof NatweaveError ? error.code : 'INTERNAL'
      say({ error: { code, message: error instanceof Error ? error.message : String(error) } })
    }
    socket.end()
  })
}

function requestOf(line: string): Request {
  const { method, params } = Object(JSON.parse(line)) as Partial<Record<keyof Request, unknown>>
  if (typeof method !== 'string' || !Array.isArray(params) || !params.every(p => typeof p === 'string'))
    throw new NatweaveError('USAGE_METHOD', 'a request is { "method": …, "params": [ texts ] }')
  return { method, params }
}

async function perform({ method, params }: Request, { natweave, down, up }: Instance): Promise<unknown> {
  const [peer = '', child] = params
  switch (method) {
    case 'ready':
      return up
    case 'status':
      return natweave.status()
    case 'plan':
      return natweave.plan(peer)
    case 'connect':
      return natweave.connect(peer)
    case 'disconnect':
      return natweave.disconnect(peer)
    case 'rekey':
      return natweave.rekey(peer, child)
    case 'down':
      setImmediate(down)
      return { pid: process.pid }
    default:
      throw new NatweaveError('USAGE_METHOD', `unknown method "${method}"`)
  }
}

/**
 * Asks the running instance.
 * @param onEvent - what happens meanwhile
 * @throws NatweaveError CONTROL_NOT_RUNNING, or what the instance answered
 */
export function ask(
  path: string,
  method: string,
  params: readonly string[],
  onEvent?: (event: NatweaveEvent) => void,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path)
    socket.once('error', (error: NodeJS.ErrnoException) => {
      const denied = error.code === 'EACCES'
      reject(
        denied
          ? new SystemError('SYSTEM_PERMISSION', `${path} belongs to another user; run as the one natweave runs as`)
          : new NatweaveError('CONTROL_NOT_RUNNING', `no natweave is running on ${path}; start it with natweave up`),
      )
    })
    socket.once('connect', () => socket.write(`${JSON.stringify({ method, params })}\n`))
    const lines = createInterface({ input: socket })
    lines.on('error', () => {}) // readline repeats the socket's error, which is handled above
    lines.on('line', line => {
      const answer = JSON.parse(line) as Answer
      if ('event' in answer) onEvent?.(answer.event)
      else if ('error' in answer) reject(new NatweaveError(answer.error.code, answer.error.message))
      else resolve(answer.result)
    })
    lines.on('close', () => reject(new NatweaveError('CONTROL_CLOSED', 'natweave ended before it answered')))
  })
}

/** Whether an instance answers on the socket, for `up --detach`. */
export { answers as isRunning }
