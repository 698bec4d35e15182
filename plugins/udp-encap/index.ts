import 'reflect-metadata'
import { NAT_DETECTOR, type Plugin, STRATEGY } from '../../core/contracts/plugin.ts'
import { NatDetection } from './nat-detection.ts'
import { UdpEncap } from './udp-encap.ts'

export { NatDetection } from './nat-detection.ts'
export { UdpEncap } from './udp-encap.ts'

/** ESP in UDP (RFC 3948), and the NAT detection that tells when it is needed (RFC 7296 §2.23). */
export const udpEncap = (): Plugin => ({
  name: 'udp-encap',
  api: 1,
  register: container => {
    container.register(STRATEGY, { useValue: new UdpEncap() })
    container.register(NAT_DETECTOR, {
      useValue: {
        name: 'nat-detection',
        finds: ['localBehindNat', 'remoteBehindNat', 'peerNatTraversal'],
        tasks: () => [new NatDetection()],
      },
    })
  },
})
