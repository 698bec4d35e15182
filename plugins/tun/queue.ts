import { writeSync } from 'node:fs'
import { newPacket, type Packet } from '../../core/contracts/packet.ts'
import type { PacketIoSink, TunQueue } from '../../core/contracts/packet-io.ts'
import { openTun } from './native.ts'
import { batchIndex, startReader } from './reader.ts'

/**
 * A TUN device whose packets are read in a thread and written in place, where no other plugin moves packets.
 *
 * @param pattern - name, `%d` stands for the first free number
 * @throws SystemError SYSTEM_MISSING, SYSTEM_PERMISSION, SYSTEM_DEVICE
 */
export async function openQueue(pattern: string, sink: PacketIoSink<undefined>): Promise<TunQueue> {
  const handle = await openTun(pattern)
  const packet: Packet = newPacket(0)
  let closed = false
  const deliver = (batch: ArrayBuffer): void => {
    const index = batchIndex(batch)
    const count = index[0] ?? 0
    packet.bytes = new Uint8Array(batch)
    try {
      for (let i = 0; i < count; i++) {
        packet.start = index[1 + 2 * i] ?? 0
        packet.end = index[2 + 2 * i] ?? 0
        packet.nextHeader = packet.tos = packet.ttl = packet.id = packet.flowLabel = 0
        packet.df = false
        sink.receive(packet, undefined)
      }
    } finally {
      reader.release(batch)
    }
  }
  const reader = startReader(handle, handle.koffi, deliver, error => sink.failed(error))
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
