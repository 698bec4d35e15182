import 'reflect-metadata' // tsyringe refuses to load without it, whatever was imported before
import { type DependencyContainer, instanceCachingFactory } from 'tsyringe'
import { CLOCK, CRYPTO, DATA_PLANE, LOG, PACKET_IO, type Plugin } from '../../core/contracts/plugin.ts'
import { obstacleTo } from './descriptors.ts'
import { FastIo } from './io.ts'
import { type Libc, loadLibc } from './libc.ts'
import { FastPlane } from './plane.ts'
import { firstOf } from './providers.ts'
import { Thread } from './thread.ts'

/**
 * Moves ESP packets between UDP sockets and the TUN device in a thread of its own, many at a time. Where the system does
 * not allow it, the portable data plane does the work, and a line of the log says why.
 */
export const linuxFast = (): Plugin => ({
  name: 'linux-fast',
  api: 1,
  requires: [LOG, CLOCK, CRYPTO],
  register: container => {
    const libc = system()
    if (typeof libc === 'string') {
      container.resolve(LOG).info(`the portable data plane is used: ${libc}`)
      return
    }
    const parts = instanceCachingFactory(c => assemble(c, libc))
    container.register(PACKET_IO, { useFactory: c => parts(c).io })
    container.register(DATA_PLANE, { useFactory: c => parts(c).plane })
  },
})

function assemble(container: DependencyContainer, libc: Libc): { io: FastIo; plane: FastPlane } {
  const providers = container.resolveAll(CRYPTO).filter(provider => provider.origin !== undefined)
  const thread: Thread = new Thread({
    libc,
    log: container.resolve(LOG).child({ plane: 'linux-fast' }),
    clock: container.resolve(CLOCK),
    crypto: providers.map(provider => provider.origin!),
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
  )
  return { io, plane }
}

/** The system calls; or why they cannot be had or are of no use, in words. */
function system(): Libc | string {
  if (process.platform !== 'linux') return `plugin linux-fast is for Linux, this is ${process.platform}`
  if (!['x64', 'arm64', 'riscv64', 'loong64'].includes(process.arch))
    return `plugin linux-fast is for 64-bit Linux, this is ${process.arch}`
  try {
    const libc = loadLibc()
    return obstacleTo(libc) ?? libc
  } catch (error) {
    return `the package koffi is not there (${(error as Error).message.split('\n')[0]})`
  }
}
