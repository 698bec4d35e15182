import { writeSync } from 'node:fs'
import { HEADROOM, newPacket, type Packet } from '../../core/contracts/packet.ts'
import type { PacketIoSink, TunQueue } from '../../core/contracts/packet-io.ts'
import { openTun } from './native.ts'
import { startReader } from './reader.ts'

/**
 * A TUN device, read and written in this thread, where no other plugin moves packets.
 *
 * @param pattern - name, `%d` stands for the first free number
 * @throws SystemError SYSTEM_MISSING, SYSTEM_PERMISSION, SYSTEM_DEVICE
 */
export async function openQueue(pattern: string, sink: PacketIoSink<undefined>): Promise<TunQueue> {
  const handle = await openTun(pattern)
  const packet: Packet = newPacket()
  const receive = (octets: number): void => {
    packet.start = HEADROOM
    packet.end = HEADROOM + octets
    packet.nextHeader = packet.tos = packet.ttl = packet.id = packet.flowLabel = 0
    packet.df = false
    sink.receive(packet, undefined)
  }
  const reader = startReader(handle, packet.bytes, receive, error => sink.failed(error))
  let closed = false
  return {
    name: handle.name,
    write: ({ bytes, start, end }) => {
      if (closed) return 'EBADF'
      try {
        writeSync(handle.fd, bytes, start, end - start)
        return undefined
      } catch (error) {
        return (error as NodeJS.ErrnoException).code ?? 'unknown'
      }
    },
    close: async () => {
      closed = true
      await reader.stop()
      handle.close()
    },
  }
}
