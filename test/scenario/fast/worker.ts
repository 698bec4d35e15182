import { EventEmitter } from 'node:events'
import type { PacketCrypto } from '../../../core/contracts/crypto.ts'
import type { Origin } from '../../../core/contracts/origin.ts'
import type { Mode } from '../../../core/contracts/strategy.ts'
import * as transport from '../../../core/ipsec/modes/transport.ts'
import * as tunnel from '../../../core/ipsec/modes/tunnel.ts'
import * as beet from '../../../plugins/beet/mode.ts'
import { type Command, Control, type Report, type Start } from '../../../plugins/linux-fast/messages.ts'
import { Pump } from '../../../plugins/linux-fast/pump.ts'
import type { PumpWorker } from '../../../plugins/linux-fast/thread.ts'
import type { VirtualInternet } from '../../kit/index.ts'
import type { VirtualKernel } from './kernel.ts'

/** What `import` would find; a real import takes time that is not the virtual internet's. */
const MODULES: Readonly<Record<string, object>> = {
  [new URL('../../../core/ipsec/modes/tunnel.ts', import.meta.url).href]: tunnel,
  [new URL('../../../core/ipsec/modes/transport.ts', import.meta.url).href]: transport,
  [new URL('../../../plugins/beet/mode.ts', import.meta.url).href]: beet,
}

function make({ module, name, data }: Origin): Mode {
  return (MODULES[module] as Readonly<Record<string, (data: unknown) => Mode>>)[name]!(data)
}

export interface WorkerParts {
  readonly net: VirtualInternet
  readonly kernel: VirtualKernel
  readonly crypto: PacketCrypto
  /** Name of its stream of randomness. */
  readonly name: string
}

/**
 * The program of worker.ts in the virtual internet's time: a turn of the pump when packets have come, when it is told
 * something, and when it would have waited long enough. Messages are copied as between threads.
 */
export class VirtualWorker extends EventEmitter implements PumpWorker {
  /** While true the main thread takes no messages. */
  #held: Report[] | undefined
  readonly #net: VirtualInternet
  readonly #kernel: VirtualKernel
  readonly #control: Int32Array
  readonly #pump: Pump
  #commands: Command[] = []
  #alive = true
  #due = false
  #cancel: () => void = () => {}
  readonly #woken = (by: 'packet' | 'wake'): void => {
    if (by === 'wake') queueMicrotask(() => this.#turn())
    else this.#soon()
  }

  constructor({ net, kernel, crypto, name }: WorkerParts, start: Start) {
    super()
    this.#net = net
    this.#kernel = kernel
    this.#control = start.control
    this.#pump = new Pump({
      side: start.side,
      libc: kernel,
      crypto,
      rng: net.rng(`${name} ${start.side}`),
      control: start.control,
      wakeFd: start.wakeFd,
      sizes: structuredClone(start.sizes),
      now: () => net.clock.now(),
      report: (report, transfer = []) => this.#report(structuredClone(report, { transfer })),
    })
    kernel.watchers.add(this.#woken)
    this.#report({ type: 'ready' })
  }

  postMessage(command: Command): void {
    this.#commands.push(structuredClone(command))
  }

  async terminate(): Promise<void> {
    this.#end()
  }

  /** The main thread has much to do: it takes no messages until `release`. */
  hold(): void {
    this.#held ??= []
  }

  release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const report of held) this.#report(report)
  }

  #report(report: Report): void {
    if (this.#held !== undefined) {
      this.#held.push(report)
      return
    }
    this.#net.clock.outside = true
    queueMicrotask(() => this.emit('message', report))
  }

  /** All packets of one moment come before the turn that takes them. */
  #soon(): void {
    if (this.#due) return
    this.#due = true
    this.#net.clock.after(0, () => {
      this.#due = false
      this.#turn()
    })
  }

  #turn(): void {
    const control = this.#control
    const { clock } = this.#net
    if (!this.#alive) return
    if (Atomics.load(control, Control.CLOSING) !== 0) return this.#end()
    if (Atomics.exchange(control, Control.COMMANDS, 0) !== 0) this.#obey()
    this.#pump.turn(() => Atomics.load(control, Control.COMMANDS) !== 0)
    this.#cancel()
    const { idle } = this.#kernel
    if (idle === undefined) {
      // between two turns the main thread has time to take its messages
      clock.outside = true
      queueMicrotask(() => this.#turn())
      return
    }
    const again = clock.after(idle, () => this.#turn())
    this.#cancel = () => clock.cancel(again)
  }

  #obey(): void {
    for (const command of this.#commands.splice(0)) {
      if (command.type !== 'install') this.#pump.obey(command)
      else
        try {
          this.#pump.install(command, make(command.spec.mode))
        } catch (error) {
          this.#report({ type: 'refused', id: command.spec.id, why: (error as Error).message })
        }
    }
  }

  #end(): void {
    if (!this.#alive) return
    this.halt()
    queueMicrotask(() => this.emit('exit'))
  }

  /** Ends it with its process: nobody is told. */
  halt(): void {
    this.#alive = false
    this.#cancel()
    this.#kernel.watchers.delete(this.#woken)
  }
}
