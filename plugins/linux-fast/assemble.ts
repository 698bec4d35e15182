import type { DependencyContainer } from 'tsyringe'
import { CLOCK, CRYPTO, LOG } from '../../core/contracts/plugin.ts'
import { FastIo } from './io.ts'
import type { Libc } from './libc.ts'
import { FastPlane } from './plane.ts'
import { firstOf } from './providers.ts'
import { Thread, type ThreadParts } from './thread.ts'

/** What the main thread has of this plugin, wired together. */
export function assemble(
  container: DependencyContainer,
  libc: Libc,
  spawn: ThreadParts['spawn'],
): { io: FastIo; plane: FastPlane } {
  const providers = container.resolveAll(CRYPTO).filter(provider => provider.origin !== undefined)
  const thread: Thread = new Thread({
    libc,
    log: container.resolve(LOG).child({ plane: 'linux-fast' }),
    clock: container.resolve(CLOCK),
    crypto: providers.map(provider => provider.origin!),
    spawn,
    history: () => [...io.history(), ...plane.history()],
    report: report => {
      if (report.type === 'event' || report.type === 'refused') plane.report(report)
      else io.report(report, (packet, flow) => plane.relay(packet, flow))
    },
  })
  const io = new FastIo(libc, thread)
  const plane: FastPlane = new FastPlane(
    firstOf(providers),
    io,
    command => {
      thread.post(command)
    },
    async sizes => {
      try {
        await thread.start(sizes)
      } catch (error) {
        io.available = false
        container.resolve(LOG).warn(`the portable data plane is used: no thread (${(error as Error).message})`)
      }
    },
    () => thread.stop(),
    () => thread.losses,
  )
  return { io, plane }
}
