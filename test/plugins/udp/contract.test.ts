import { test } from 'vitest'
import { silentLog } from '../../../core/contracts/log.ts'
import { UdpTransport, udp } from '../../../plugins/udp/index.ts'
import { pluginSuite, transportSuite } from '../../kit/index.ts'

const onLoopback = () => new UdpTransport({ addresses: ['127.0.0.1'], ikePort: 0, nattPort: 0 }, silentLog)

pluginSuite(() => udp({ addresses: ['127.0.0.1'], ikePort: 0, nattPort: 0 }), { test })
transportSuite(() => ({ one: onLoopback(), other: onLoopback() }), { test })
