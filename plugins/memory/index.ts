import { DEVICE, type Plugin, SA_STORE } from '../../core/contracts/plugin.ts'
import type { MemoryDevice } from './memory-device.ts'
import { MemoryStore } from './memory-store.ts'

export interface MemoryOptions {
  /** Registered as the inner device too; the caller keeps it to inject and take packets. */
  readonly device?: MemoryDevice
  /** Kept by the caller, so that state survives from one instance to the next; default a new one. */
  readonly store?: MemoryStore
}

/** State in this process only, and a device that the embedding program serves itself. */
export const memory = (options: MemoryOptions = {}): Plugin => ({
  name: 'memory',
  api: 1,
  register: container => {
    container.register(SA_STORE, { useValue: options.store ?? new MemoryStore() })
    if (options.device !== undefined) container.register(DEVICE, { useValue: options.device })
  },
})

export type { MemoryDeviceOptions } from './memory-device.ts'
export { MemoryDevice } from './memory-device.ts'
export { MemoryStore } from './memory-store.ts'
