import { CRYPTO, LOG, type Plugin } from '../../core/contracts/plugin.ts'
import { opensslProvider } from './provider.ts'

/** Packet cryptography by OpenSSL without an object per packet; where it cannot be had, other providers serve. */
export const openssl = (): Plugin => ({
  name: 'openssl',
  api: 1,
  requires: [LOG],
  register: container => {
    const provider = opensslProvider()
    if (typeof provider !== 'string') container.register(CRYPTO, { useValue: provider })
    else container.resolve(LOG).info(`plugin openssl does nothing: ${provider}`)
  },
})

export { opensslProvider }
