import { test } from 'vitest'
import { addressBytes, buildIp, buildUdp, IpProtocol } from '../../../core/wire/index.ts'
import { deviceSuite, topologies, transportSuite } from '../../kit/index.ts'

/** The virtual internet keeps the contracts it stands in for. */

transportSuite(
  () => {
    const { net, alice, bob } = topologies.direct()
    return { one: alice.transport(), other: bob.transport(), settle: () => net.advance(1_000) }
  },
  { test, unknownHost: 'no-such-host.example' },
)

deviceSuite(
  () => {
    const { net, alice } = topologies.direct()
    const device = alice.device()
    const application = alice.udp(4000)
    return {
      device,
      inject: packet => {
        device.emit(packet)
      },
      // what reached the application, as the packet it came in
      delivered: async () => {
        await net.advance(1)
        return application.received.splice(0).map(({ data, from, to }) => {
          const [source, destination] = [addressBytes(from.address), addressBytes(to)]
          const datagram = buildUdp(source, from.port, destination, application.port, data)
          return buildIp({ source, destination, protocol: IpProtocol.UDP }, datagram)
        })
      },
      state: () => device.state,
    }
  },
  { test },
)
