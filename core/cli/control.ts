import { chmodSync, existsSync, mkdirSync, unlinkSync } from 'node:fs'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Natweave, NatweaveEvent } from '../contracts/natweave.ts'
import { NatweaveError, SystemError } from '../errors.ts'

/** How commands talk to a running instance: JSON lines over a socket that only its owner can open. */

/** A request: a method of `Natweave` and its arguments; `down` ends the process. */
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

export function defaultSocket(): string {
  const { XDG_RUNTIME_DIR: runtime } = process.env
  if (process.getuid?.() === 0) return '/run/natweave/control.sock'
  return join(runtime ?? join(tmpdir(), `natweave-${process.getuid?.() ?? 'user'}`), runtime === undefined ? 'control.sock' : 'natweave.sock')
}

/** @throws SystemError SYSTEM_RUNNING when another instance owns the socket, SYSTEM_PERMISSION */
export async function serve(path: string, natweave: Natweave, down: () => void): Promise<Server> {
  if (await answers(path))
    throw new SystemError('SYSTEM_RUNNING', `natweave is already running on ${path}; natweave down ends it, or use another --socket`)
  try {
    if (existsSync(path)) unlinkSync(path)
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new SystemError('SYSTEM_PERMISSION', `the control socket ${path} cannot be made: ${(error as Error).message}`)
  }
  const server = createServer(socket => attend(socket, natweave, down))
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
  return server
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

function attend(socket: Socket, natweave: Natweave, down: () => void): void {
  const say = (answer: Answer): void => void (socket.destroyed || socket.write(`${JSON.stringify(answer)}\n`))
  const stop = natweave.on(event => {
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
      say({ result: await perform(JSON.parse(line) as Request, natweave, down) })
    } catch (error) {
      const code = error instanceof NatweaveError ? error.code : 'INTERNAL'
      say({ error: { code, message: error instanceof Error ? error.message : String(error) } })
    }
    socket.end()
  })
}

async function perform({ method, params }: Request, natweave: Natweave, down: () => void): Promise<unknown> {
  const [peer = '', child] = params
  switch (method) {
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
export function ask(path: string, method: string, params: readonly string[], onEvent?: (event: NatweaveEvent) => void): Promise<unknown> {
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
