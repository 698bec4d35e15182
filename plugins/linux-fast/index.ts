import 'reflect-metadata' // tsyringe refuses to load without it, whatever was imported before
import { instanceCachingFactory } from 'tsyringe'
import { CLOCK, CRYPTO, DATA_PLANE, LOG, PACKET_IO, type Plugin } from '../../core/contracts/plugin.ts'
import { assemble } from './assemble.ts'
import { obstacleTo } from './descriptors.ts'
import { type Libc, loadLibc } from './libc.ts'
import { type LinuxFastOptions, sidesOf } from './options.ts'
import { spawnWorker } from './thread.ts'

/**
 * Moves ESP packets between UDP sockets and the TUN device in threads of its own, many at a time. Where the system does
 * not allow it, the portable data plane does the work, and a line of the log says why.
 *
 * @throws UsageError USAGE_OPTION
 */
export const linuxFast = (options: LinuxFastOptions = {}): Plugin => {
  const sides = sidesOf(options)
  return {
    name: 'linux-fast',
    api: 1,
    requires: [LOG, CLOCK, CRYPTO],
    register: container => {
      const libc = system()
      if (typeof libc === 'string') {
        container.resolve(LOG).info(`the portable data plane is used: ${libc}`)
        return
      }
      const parts = instanceCachingFactory(c => assemble(c, libc, spawnWorker, sides))
      container.register(PACKET_IO, { useFactory: c => parts(c).io })
      container.register(DATA_PLANE, { useFactory: c => parts(c).plane })
    },
  }
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

export type { LinuxFastOptions } from './options.ts'
