import { setTimeout as sleep } from 'node:timers/promises'
import { silentLog } from '../../../core/contracts/log.ts'
import { newPacket } from '../../../core/contracts/packet.ts'
import type { BoundSocket } from '../../../core/contracts/packet-io.ts'
import { FastIo } from '../../../plugins/linux-fast/io.ts'
import { loadLibc } from '../../../plugins/linux-fast/libc.ts'
import { RawTransport } from '../../../plugins/raw/index.ts'
import { SendPool } from '../../../plugins/udp/send-pool.ts'
import { bindUdp, loadBatches } from '../../../plugins/udp/udp-socket.ts'

/** Sends three datagrams over the loopback device: 1400 octets with DF, the same without, 1100 with; says what came of it. */
async function said(address: string, how: 'node:dgram' | 'FFI'): Promise<unknown> {
  const [told, got, failed] = [new Set<string>(), [] as number[], [] as string[]]
  const sink = {
    receive: ({ start, end }: { start: number; end: number }) => {
      got.push(end - start)
    },
    pathMtu: (remote: string, mtu: number) => {
      told.add(`${remote} ${mtu}`)
    },
    failed: (error: Error) => {
      failed.push(error.message)
    },
  }
  const pool = new SendPool(10, code => {
    failed.push(code)
  })
  const batches = await loadBatches()
  const local = { protocol: 17, role: 'natt', address, port: 0 } as const
  const there = await bindUdp(local, 1 << 20, sink, pool, batches)
  const here: BoundSocket =
    how === 'FFI'
      ? await new FastIo(loadLibc(), { post: () => {}, release: async () => {} }).bind(local, 1 << 20, sink)
      : await bindUdp(local, 1 << 20, sink, pool, batches)
  for (const [length, df] of [
    [1_400, true],
    [1_400, false],
    [1_100, true],
  ] as const) {
    const packet = newPacket()
    packet.end += length
    packet.df = df
    const before = got.length + failed.length
    const failure = here.send(packet, there.local)
    if (failure !== undefined) failed.push(failure)
    for (let i = 0; i < 100 && got.length + failed.length === before; i++) await sleep(5)
  }
  await Promise.all([here.close(), there.close()])
  return { address, how, told: [...told], got, failed }
}

/** The same for plain ESP, which goes whole or not at all. */
async function saidByRaw(address: string): Promise<unknown> {
  const transport = new RawTransport({ addresses: [address], protocols: [50] }, silentLog)
  const told = new Set<string>()
  await transport.open({
    receive: () => {},
    changed: () => {},
    failed: () => {},
    pathMtu: (local, remote, mtu) => {
      told.add(`${local} ${remote} ${mtu}`)
    },
  })
  const end = { address, port: 0 }
  for (const length of [1_400, 1_100]) {
    const packet = newPacket()
    packet.end += length
    packet.df = true
    transport.send(packet, { protocol: 50, local: end, remote: end })
  }
  const { sent, sendErrors } = transport.stats()
  await transport.close()
  return { address, how: 'raw', told: [...told], sent, sendErrors }
}

const all: unknown[] = []
for (const address of ['127.0.0.1', '::1'])
  for (const how of ['node:dgram', 'FFI'] as const) all.push(await said(address, how))
for (const address of ['127.0.0.1', '::1']) all.push(await saidByRaw(address))
process.stdout.write(JSON.stringify(all))
