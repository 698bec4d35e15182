import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import type { CryptoProvider } from '../../core/contracts/crypto.ts'
import { remake } from '../../core/contracts/origin.ts'
import type { Mode } from '../../core/contracts/strategy.ts'
import { loadLibc } from './libc.ts'
import { type Command, Control, type Report, type Start } from './messages.ts'
import { firstOf } from './providers.ts'
import { Pump } from './pump.ts'

/** The thread's program: waits for packets and commands, and ends when it is told to. */
async function main(start: Start): Promise<void> {
  if (parentPort === null) throw new Error('not a worker thread')
  const port = parentPort
  const { control } = start
  const providers: CryptoProvider[] = []
  for (const origin of start.crypto) {
    const made = await remake<CryptoProvider | string>(origin)
    if (typeof made !== 'string') providers.push(made)
  }
  const report = (message: Report, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer)
  const origin = performance.timeOrigin + start.clock
  const now = (): number => origin + performance.now()
  const pump = new Pump({
    side: start.side,
    libc: loadLibc(),
    rng: { bytes: length => crypto.getRandomValues(new Uint8Array(length)) },
    crypto: firstOf(providers),
    control,
    wakeFd: start.wakeFd,
    sizes: start.sizes,
    now,
    report,
  })

  report({ type: 'ready' })

  const obey = async (command: Command): Promise<void> => {
    if (command.type !== 'install') return pump.obey(command)
    const { id, mode } = command.spec
    try {
      pump.install(command, await remake<Mode>(mode))
    } catch (error) {
      report({ type: 'refused', id, why: (error as Error).message })
    }
  }
  // a command is taken before any packet that came after it was given
  const commands = async (): Promise<void> => {
    Atomics.store(control, Control.COMMANDS, 0)
    for (;;) {
      const message = receiveMessageOnPort(port)
      if (message === undefined) return
      await obey(message.message as Command)
    }
  }
  while (Atomics.load(control, Control.CLOSING) === 0) {
    if (Atomics.load(control, Control.COMMANDS) !== 0) await commands()
    pump.turn(() => Atomics.load(control, Control.COMMANDS) !== 0)
  }
}

await main(workerData as Start)
