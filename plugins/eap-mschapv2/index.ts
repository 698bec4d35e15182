import type { EapMethod } from '../../core/contracts/eap.ts'
import { EAP_METHOD, type Plugin } from '../../core/contracts/plugin.ts'
import { MschapPeer, MschapServer } from './conversation.ts'

const TYPE = 26

export const mschapv2: EapMethod = {
  name: 'mschapv2',
  type: TYPE,
  // open to dictionary attacks by whoever poses as the server, so the server has to prove itself first
  mutual: false,
  peer: ({ secrets, rng }) => new MschapPeer(secrets, rng),
  server: ({ secrets, remote, rng }) => new MschapServer(secrets, remote.value, rng),
}

/** EAP-MSCHAPv2: a name and a password, for gateways that ask their users for these. */
export const eapMschapv2 = (): Plugin => ({
  name: 'eap-mschapv2',
  api: 1,
  register: container => {
    container.register(EAP_METHOD, { useValue: mschapv2 })
  },
})
