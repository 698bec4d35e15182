import { Worker } from 'node:worker_threads'
import type { PacketSizes } from '../../core/contracts/data-plane.ts'
import type { Log } from '../../core/contracts/log.ts'
import type { Clock } from '../../core/contracts/machine.ts'
import type { Origin } from '../../core/contracts/origin.ts'
import { type Libc, Sys } from './libc.ts'
import { LOSS_WORDS, Losses } from './losses.ts'
import { type Command, Control, isFor, type Release, type Report, type Side, type Start } from './messages.ts'

/** A thread that ended by itself is started again after so many ms, each time twice as many. */
const RESTART_MS = 50
const RESTART_MOST_MS = 5_000
/** One that lived so long, ms, counts as sound. */
const SOUND_MS = 10_000

/** As much of a Worker as its owner uses. */
export interface PumpWorker {
  postMessage(command: Command): void
  on(event: 'message', listener: (report: Report) => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  once(event: 'exit', listener: () => void): unknown
  terminate(): Promise<unknown>
}

export interface ThreadParts {
  readonly side: Side
  readonly libc: Libc
  readonly log: Log
  readonly clock: Clock
  readonly crypto: readonly Origin[]
  readonly spawn: (start: Start) => PumpWorker
  /** Everything a new thread has to be told, in order, after the one before has ended by itself. */
  readonly history: () => readonly Command[]
  /** Takes what the thread says of packets, SAs and descriptors. */
  readonly report: (report: Exclude<Report, { type: 'ready' | 'closed' }>) => void
}

/** The thread that moves packets: its start, its end, and its return when it ends by itself. */
export class Thread {
  readonly #parts: ThreadParts
  readonly #control = new Int32Array(new SharedArrayBuffer(4 * (Control.WORDS + LOSS_WORDS)))
  readonly #one = new Uint8Array(new BigUint64Array([1n]).buffer)
  readonly #oneAt: number
  #wakeFd = -1
  #worker: PumpWorker | undefined
  #ended: Promise<void> = Promise.resolve()
  #sizes: PacketSizes = { mtu: 0, clampMss: false }
  #startedAt = 0
  #restartMs = RESTART_MS
  #cancelRestart: () => void = () => {}
  /** What waits for the thread to let go of descriptors, in the order of the commands. */
  readonly #releases: (() => void)[] = []
  /** Waits for the first thread to come up. */
  #first: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined

  constructor(parts: ThreadParts) {
    this.#parts = parts
    this.#oneAt = parts.libc.address(this.#one)
  }

  /**
   * Resolves when the thread takes packets.
   * @throws Error when it does not come up
   */
  async start(sizes: PacketSizes): Promise<void> {
    const { libc } = this.#parts
    this.#sizes = sizes
    this.#wakeFd = libc.eventfd(0, Sys.SOCK_CLOEXEC | Sys.SOCK_NONBLOCK) // the same bits as EFD_
    if (this.#wakeFd < 0) throw new Error(`eventfd: ${libc.errorName()}`)
    Atomics.store(this.#control, Control.CLOSING, 0)
    const first = new Promise<void>((resolve, reject) => {
      this.#first = { resolve, reject }
    })
    this.#spawn()
    await first.catch(error => {
      libc.close(this.#wakeFd)
      this.#wakeFd = -1
      throw error
    })
  }

  get side(): Side {
    return this.#parts.side
  }

  /** Packets lost that no SA counts, by reason. */
  get losses(): Readonly<Record<string, number>> {
    return new Losses(this.#control).all()
  }

  /**
   * Says it when it is for this thread.
   * @returns false while there is no thread; the next one learns all from `history`
   */
  post(command: Command): boolean {
    if (this.#worker === undefined || !isFor(command, this.#parts.side)) return false
    this.#worker.postMessage(command)
    Atomics.store(this.#control, Control.COMMANDS, 1)
    this.#wake()
    return true
  }

  #wake(): void {
    this.#parts.libc.write(this.#wakeFd, this.#oneAt, this.#one.length)
  }

  /** Resolves when the thread has let go of a descriptor; at once when there is none. */
  async release(command: Release): Promise<void> {
    if (this.post(command)) await new Promise<void>(resolve => this.#releases.push(resolve))
  }

  async stop(): Promise<void> {
    this.#cancelRestart()
    if (this.#wakeFd < 0) return
    Atomics.store(this.#control, Control.CLOSING, 1)
    this.#wake()
    await this.#ended
    this.#parts.libc.close(this.#wakeFd)
    this.#wakeFd = -1
  }

  #spawn(): void {
    const { side, clock, crypto, log, report, spawn } = this.#parts
    Atomics.store(this.#control, Control.COMMANDS, 1)
    Atomics.store(this.#control, Control.WAITING, 0)
    const data: Start = {
      side,
      control: this.#control,
      wakeFd: this.#wakeFd,
      crypto,
      sizes: this.#sizes,
      clock: clock.now() - performance.now() - performance.timeOrigin,
    }
    const worker = spawn(data)
    this.#worker = worker
    this.#startedAt = clock.now()
    worker.on('message', (message: Report) => {
      try {
        if (message.type === 'ready') return this.#up()
        if (message.type === 'closed') return this.#releases.shift()?.()
        if (Atomics.load(this.#control, Control.CLOSING) === 0 || message.type !== 'leftovers') report(message)
      } finally {
        if (message.type === 'leftovers' && worker === this.#worker) Atomics.sub(this.#control, Control.WAITING, 1)
      }
    })
    let why = 'it ended'
    worker.on('error', error => {
      why = error.message
    })
    this.#ended = new Promise(resolve =>
      worker.once('exit', () => {
        this.#worker = undefined
        for (const released of this.#releases.splice(0)) released()
        if (this.#first !== undefined) this.#first.reject(new Error(why))
        else if (Atomics.load(this.#control, Control.CLOSING) === 0) {
          if (clock.now() - this.#startedAt > SOUND_MS) this.#restartMs = RESTART_MS
          log.error('the packet thread has failed and is started again', { why, thread: side, inMs: this.#restartMs })
          this.#cancelRestart = clock.schedule(clock.now() + this.#restartMs, () => this.#spawn())
          this.#restartMs = Math.min(2 * this.#restartMs, RESTART_MOST_MS)
        }
        resolve()
      }),
    )
    for (const command of this.#parts.history()) this.post(command)
  }

  #up(): void {
    this.#first?.resolve()
    this.#first = undefined
  }

  /** Ends the thread as a failure of its own would. */
  async kill(): Promise<void> {
    await this.#worker?.terminate()
  }
}

/** A thread that runs worker.ts. */
export const spawnWorker = (start: Start): PumpWorker =>
  // execArgv: the host's loaders (--import tsx) have no business in this thread, but the one that `program` names
  new Worker(program(), { eval: true, workerData: start, execArgv: [], name: 'natweave-linux-fast' })

/**
 * Node 20 starts no thread from a .ts file; where this one is TypeScript, tsx is what runs it, and the thread asks for it
 * too.
 */
function program(): string {
  const worker = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url).href
  if (!worker.endsWith('.ts')) return `import(${JSON.stringify(worker)})`
  const tsx = import.meta.resolve('tsx/esm/api')
  return `import(${JSON.stringify(tsx)}).then(tsx => { tsx.register(); return import(${JSON.stringify(worker)}) })`
}
