import { test } from 'vitest'
import { MemoryDevice, MemoryStore, memory } from '../../../plugins/memory/index.ts'
import { deviceSuite, pluginSuite, storeSuite } from '../../kit/index.ts'

pluginSuite(() => memory({ device: new MemoryDevice() }), { test })
storeSuite(() => new MemoryStore(), { test })
deviceSuite(
  () => {
    const device = new MemoryDevice()
    return {
      device,
      inject: packet => device.inject(packet),
      delivered: () => Array.from({ length: device.queued }, () => device.take()!),
      state: () => device.state,
    }
  },
  { test },
)
