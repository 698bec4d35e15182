import { CREDENTIALS, type Plugin } from '../../core/contracts/plugin.ts'
import { credentials } from './credentials.ts'

/** X.509 certificates and keys from files: chains, CRLs, signatures. @example plugins: [..., x509()] */
export const x509 = (): Plugin => ({
  name: 'x509',
  api: 1,
  register: container => {
    container.register(CREDENTIALS, { useValue: credentials })
  },
})
