import type { PacketSizes } from '../../core/contracts/data-plane.ts'
import type { Reader } from './io.ts'
import type { Command, Release, Side } from './messages.ts'
import type { PlaneThreads } from './plane.ts'
import { Thread, type ThreadParts } from './thread.ts'

/** The threads that move packets, as one. Each starts, fails and comes back by itself. */
export class Threads implements Reader, PlaneThreads {
  readonly sides: readonly Side[]
  readonly #threads: readonly Thread[]

  constructor(sides: readonly Side[], parts: Omit<ThreadParts, 'side'>) {
    this.sides = sides
    this.#threads = sides.map(side => new Thread({ ...parts, side }))
  }

  /**
   * Resolves when all take packets.
   * @throws Error when one does not come up; then none is there
   */
  async start(sizes: PacketSizes): Promise<void> {
    const started = await Promise.allSettled(this.#threads.map(thread => thread.start(sizes)))
    const failed = started.find(result => result.status === 'rejected')
    if (failed === undefined) return
    await this.stop()
    throw failed.reason
  }

  get losses(): Readonly<Record<string, number>> {
    const sum: Record<string, number> = {}
    for (const { losses } of this.#threads)
      for (const [reason, count] of Object.entries(losses)) sum[reason] = (sum[reason] ?? 0) + count
    return sum
  }

  post(command: Command): void {
    for (const thread of this.#threads) thread.post(command)
  }

  async release(command: Release): Promise<void> {
    await Promise.all(this.#threads.map(thread => thread.release(command)))
  }

  async stop(): Promise<void> {
    await Promise.all(this.#threads.map(thread => thread.stop()))
  }

  /** Ends one as a failure of its own would. */
  async kill(side: Side): Promise<void> {
    await this.#threads.find(thread => thread.side === side)?.kill()
  }
}
