import { CRYPTO, type Plugin } from '../../core/contracts/plugin.ts'
import { nobleProvider } from './provider.ts'

/** Cryptography in JavaScript, by the audited noble libraries: runs everywhere, several times slower than OpenSSL. */
export const noble = (): Plugin => ({
  name: 'noble',
  api: 1,
  register: container => {
    container.register(CRYPTO, { useValue: nobleProvider })
  },
})

export { nobleProvider }
