import { test } from 'vitest'
import { Tunnel } from '../../core/ipsec/index.ts'
import { Transport } from '../../core/ipsec/modes/transport.ts'
import { direct } from '../../core/path/direct.ts'
import { none } from '../../core/path/none.ts'
import { dataPlaneSuite, strategySuite } from '../kit/index.ts'
import { observedPlane, packetOf, specPair, suiteNamed, udpFlow, udpPacket } from './ipsec/sample.ts'

/** What core brings itself keeps the contracts that plugins keep. */

strategySuite(() => direct, { test })
strategySuite(() => none, { test })
strategySuite(() => new Tunnel(), { test })
strategySuite(() => new Transport(), { test })

for (const suite of ['aes128gcm16', 'aes128-sha256'])
  dataPlaneSuite(
    () => {
      const [a, b] = [observedPlane('one'), observedPlane('other')]
      const flow = udpFlow('198.51.100.1', '192.0.2.1')
      return {
        one: a.plane,
        other: b.plane,
        specs: serial => specPair(serial, {}, suiteNamed(suite)),
        inner: serial => udpPacket(`packet ${serial}, which nobody on the way can read`),
        send: packet => {
          a.plane.outbound(packetOf(packet), 0)
          return a.sent.splice(0).map(({ bytes }) => bytes)
        },
        receive: datagram => {
          b.plane.inbound(packetOf(datagram), flow, 0)
          return b.delivered.splice(0)
        },
        events: () => b.events,
      }
    },
    { test: (name, run) => test(`${suite}: ${name}`, run) },
  )
