import { CRYPTO, type Plugin } from '../../core/contracts/plugin.ts'
import { nodeCryptoProvider } from './provider.ts'

/** Cryptography by the OpenSSL inside Node: the fast choice, and the widest. */
export const nodeCrypto = (): Plugin => ({
  name: 'node-crypto',
  api: 1,
  register: container => {
    container.register(CRYPTO, { useValue: nodeCryptoProvider })
  },
})

export { nodeCryptoProvider }
