import type { EapMethod } from '../../core/contracts/eap.ts'
import { EAP_METHOD, type Plugin } from '../../core/contracts/plugin.ts'
import { TlsConversation } from './conversation.ts'

const TYPE = 13

export const tls: EapMethod = {
  name: 'tls',
  type: TYPE,
  mutual: true,
  peer: context => new TlsConversation(context, 'client'),
  server: context => new TlsConversation(context, 'server'),
}

/** EAP-TLS: certificates on both sides, inside EAP. */
export const eapTls = (): Plugin => ({
  name: 'eap-tls',
  api: 1,
  register: container => {
    container.register(EAP_METHOD, { useValue: tls })
  },
})
