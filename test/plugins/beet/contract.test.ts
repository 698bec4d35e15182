import { test } from 'vitest'
import type { Flow } from '../../../core/contracts/net.ts'
import type { Selector } from '../../../core/contracts/strategy.ts'
import { beet } from '../../../plugins/beet/index.ts'
import { pluginSuite, strategySuite } from '../../kit/index.ts'

const host = (address: string): Selector => ({
  family: address.includes(':') ? 6 : 4,
  protocol: 0,
  startPort: 0,
  endPort: 65_535,
  start: address,
  end: address,
})
const end = (address: string) => ({ address, port: 4500 })
const over = (local: string, remote: string): Flow => ({ protocol: 17, local: end(local), remote: end(remote) })
const carrying = (local: string, remote: string, flow: Flow) => ({
  local: [host(local)],
  remote: [host(remote)],
  initiator: true,
  facts: {},
  flow: () => flow,
})

pluginSuite(() => beet(), { test })
strategySuite(() => beet(), {
  test,
  facts: { peerBeet: [true, false] },
  // every family of inner addresses over every family of outer ones
  modes: [over('192.0.2.1', '203.0.113.20'), over('2001:db8::1', '2001:db8::20')].flatMap(flow => [
    carrying('10.9.0.1', '10.3.0.5', flow),
    carrying('2001:db8:9::1', '2001:db8:3::5', flow),
  ]),
})
