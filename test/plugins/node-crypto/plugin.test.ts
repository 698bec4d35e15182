import { container } from 'tsyringe'
import { expect, test } from 'vitest'
import { API, CRYPTO } from '../../../core/contracts/plugin.ts'
import { noble, nobleProvider } from '../../../plugins/noble/index.ts'
import { nodeCrypto, nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'

test('plugins register their providers in the order given', () => {
  const child = container.createChildContainer()
  for (const plugin of [noble(), nodeCrypto()]) {
    expect(plugin.api).toBe(API)
    plugin.register(child)
  }
  expect(child.resolveAll(CRYPTO)).toEqual([nobleProvider, nodeCryptoProvider])
})
