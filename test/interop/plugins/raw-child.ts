import { networkInterfaces } from 'node:os'
import { silentLog } from '../../../core/contracts/log.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { HEADROOM, newPacket, octets, type Packet } from '../../../core/contracts/packet.ts'
import { RawTransport } from '../../../plugins/raw/index.ts'

/**
 * Run inside a network namespace by raw.test.ts. `echo` answers every packet with what it saw of it, as JSON, under the
 * same header fields, and prints its statistics when its input ends. `ask LOCAL,REMOTE …` sends packets, prints one
 * JSON object of the answers; `flood` sends many more, `shout` waits for no answer.
 */
const fields = ({ tos, ttl, df, id, flowLabel }: Packet) => ({ tos, ttl, df, id, flowLabel })
const FIELDS = { tos: 0x2a, ttl: 33, df: true, id: 0x1234, flowLabel: 0xabcde }
const failures: string[] = []
const text = new TextDecoder()
const fill = (packet: Packet, bytes: Uint8Array): Packet => {
  packet.start = HEADROOM
  packet.end = HEADROOM + bytes.length
  packet.bytes.set(bytes, HEADROOM)
  return packet
}
/** A flood that nobody reads in time still fits the buffer, so that a busy machine loses nothing. */
let interfaces = networkInterfaces
const transport = new RawTransport({ watchMs: 0, bufferSize: 16 << 20, interfaces: () => interfaces() }, silentLog)
const out = newPacket()

async function echo(): Promise<void> {
  let counted = 0
  await transport.open({
    receive: (packet, flow) => {
      // a flood is only counted
      if (packet.end - packet.start === 1_400) return void counted++
      const saw = {
        ...fields(packet),
        protocol: flow.protocol,
        nextHeader: packet.nextHeader,
        remote: flow.remote.address,
      }
      const length = packet.end - packet.start
      const answer = JSON.stringify({ ...saw, length, headroom: packet.start >= HEADROOM })
      transport.send(fill(Object.assign(out, fields(packet)), new TextEncoder().encode(answer)), flow)
    },
    changed: () => {},
    failed: error => failures.push(error.message),
  })
  process.stdout.write('ready\n')
  for await (const _ of process.stdin);
  await transport.close()
  process.stdout.write(JSON.stringify({ counted, failures, ...transport.stats() }))
}

async function ask(pairs: readonly string[]): Promise<void> {
  const answers: unknown[] = []
  const changes: unknown[] = []
  const locals = () => transport.locals().map(({ protocol, role, address, port }) => [protocol, role, address, port])
  let answered = (): void => {}
  await transport.open({
    receive: (packet, flow) => {
      answers.push({
        answer: JSON.parse(text.decode(octets(packet))),
        back: { ...fields(packet), protocol: flow.protocol },
      })
      answered()
    },
    changed: () => changes.push(locals()),
    failed: error => failures.push(error.message),
  })
  const before = locals()
  for (const each of [() => ({}), networkInterfaces, networkInterfaces]) {
    interfaces = each
    await transport.rescan()
  }
  const send = (flow: Flow, length: number, more: Partial<Packet> = {}): void =>
    transport.send(fill(Object.assign(out, FIELDS, more), new Uint8Array(length).fill(7)), flow)
  const exchange = async (flow: Flow, length: number, more: Partial<Packet> = {}): Promise<void> => {
    const done = new Promise<void>(resolve => {
      answered = resolve
      setTimeout(resolve, process.argv[2] === 'shout' ? 1 : 2_000)
    })
    send(flow, length, more)
    await done
  }
  const flows = pairs.flatMap(pair => {
    const [local = '', remote = ''] = pair.split(',')
    const ends = { local: { address: local, port: 0 }, remote: { address: remote, port: 0 } }
    return ([50, 51] as const).map((protocol): Flow => ({ protocol, ...ends }))
  })
  for (const flow of flows) await exchange(flow, 64)
  // the kernel chooses an identification where none is given and routers may fragment
  await exchange(flows[0]!, 65, { id: 0, df: false })
  for (const flow of flows) send(flow, 1_600)
  const elsewhere: Flow = { ...flows[0]!, local: { address: '192.0.2.99', port: 0 } }
  send(elsewhere, 64)
  const carried = [...flows, elsewhere].map(flow => transport.carries(flow))
  if (process.argv[2] === 'flood')
    for (let sent = 0; sent < 10_000; sent += 100) {
      for (let i = 0; i < 100; i++) send(flows[0]!, 1_400)
      await new Promise(resolve => setTimeout(resolve, 1))
    }
  const stats = transport.stats()
  await transport.close()
  process.stdout.write(
    JSON.stringify({ locals: before, answers, carried, changes, failures, stats, left: transport.locals() }),
  )
}

await (process.argv[2] === 'echo' ? echo() : ask(process.argv.slice(3)))
