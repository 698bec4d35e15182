import type { DependencyContainer } from 'tsyringe'
import { CLOCK, CRYPTO, LOG } from '../../core/contracts/plugin.ts'
import { FastIo } from './io.ts'
import type { Libc } from './libc.ts'
import type { Side } from './messages.ts'
import { FastPlane } from './plane.ts'
import { firstOf } from './providers.ts'
import type { ThreadParts } from './thread.ts'
import { Threads } from './threads.ts'

/**
 * What the main thread has of this plugin, wired together.
 *
 * @param sides - what each thread does
 */
export function assemble(
  container: DependencyContainer,
  libc: Libc,
  spawn: ThreadParts['spawn'],
  sides: readonly Side[],
): { io: FastIo; plane: FastPlane } {
  const providers = container.resolveAll(CRYPTO).filter(provider => provider.origin !== undefined)
  const threads: Threads = new Threads(sides, {
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
  const io = new FastIo(libc, threads)
  const plane: FastPlane = new FastPlane(firstOf(providers), io, threads, error => {
    io.available = false
    container.resolve(LOG).warn(`the portable data plane is used: no thread (${error.message})`)
  })
  return { io, plane }
}
