import { silentLog } from '../../../core/contracts/log.ts'
import { newPacket } from '../../../core/contracts/packet.ts'
import { UdpTransport } from '../../../plugins/udp/udp-transport.ts'

/** Run by a test: opens, uses and closes a transport; must then end by itself. */
const transport = new UdpTransport({ addresses: ['0.0.0.0', '127.0.0.1'], ikePort: 0, nattPort: 0 }, silentLog)
await transport.open({ receive() {}, changed() {}, failed() {} })
const [local] = transport.locals()
if (local === undefined) throw new Error('nothing bound')
const packet = newPacket()
packet.end += 10
transport.send(packet, { protocol: 17, local, remote: local })
await transport.source('127.0.0.1')
await transport.close()
process.stdout.write('closed\n')
