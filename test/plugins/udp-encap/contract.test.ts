import { test } from 'vitest'
import { udpEncap } from '../../../plugins/udp-encap/index.ts'
import { detectorSuite, pluginSuite, strategySuite } from '../../kit/index.ts'

pluginSuite(() => udpEncap(), { test })
strategySuite(() => udpEncap(), { test })
detectorSuite(() => udpEncap(), {
  test,
  learns: {
    nat: { localBehindNat: true, remoteBehindNat: false, peerNatTraversal: true },
    noNat: { localBehindNat: false, remoteBehindNat: false, peerNatTraversal: true },
  },
})
