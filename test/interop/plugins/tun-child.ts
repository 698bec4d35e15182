import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { DeviceState } from '../../../core/contracts/device.ts'
import { type Log, silentLog } from '../../../core/contracts/log.ts'
import type { Packet } from '../../../core/contracts/packet.ts'
import { HEADROOM } from '../../../core/contracts/packet.ts'
import { TunDevice } from '../../../plugins/tun/index.ts'

/**
 * Run inside a network namespace by tun.test.ts. Plays a whole remote network behind the device: answers every ping.
 * Prints one JSON object of what it saw.
 */
const run = async (command: string, ...args: string[]): Promise<string> =>
  (await promisify(execFile)(command, args, { encoding: 'utf8' })).stdout
const rules = async (): Promise<string[]> =>
  (await Promise.all([run('ip', '-4', 'rule'), run('ip', '-6', 'rule').catch(() => '')]))
    .join('')
    .split('\n')
    .filter(line => /^(4[5-9]|5|6[0-4])\d\d+:/.test(line))
    .map(line => line.replaceAll(/\s+/g, ' ').trim())

const info: unknown[] = []
const log: Log = { ...silentLog, info: (message, fields) => info.push([message, fields]) }
const device = new TunDevice({}, log)
const failures: string[] = []
let seen = 0
let answered = 0
let headroom = Number.MAX_SAFE_INTEGER

/** Turns an ICMP echo request round in place; the checksum changes by the type alone (RFC 1624). */
function answer(packet: Packet): void {
  seen++
  headroom = Math.min(headroom, packet.start)
  const { bytes, start } = packet
  const v4 = bytes[start]! >> 4 === 4
  const icmp = start + (v4 ? 20 : 40)
  if (bytes[icmp] !== (v4 ? 8 : 128) || bytes[start + (v4 ? 9 : 6)] !== (v4 ? 1 : 58)) return
  const [source, length] = v4 ? [start + 12, 4] : [start + 8, 16]
  const from = bytes.slice(source, source + length)
  bytes.copyWithin(source, source + length, source + 2 * length)
  bytes.set(from, source + length)
  bytes[icmp] = v4 ? 0 : 129
  const sum = (bytes[icmp + 2]! << 8) + bytes[icmp + 3]! + (v4 ? 0x800 : -0x100)
  const folded = (sum + 0xffff) % 0xffff
  bytes[icmp + 2] = folded >> 8
  bytes[icmp + 3] = folded & 255
  answered++
  device.write(packet)
}

const base: DeviceState = { addresses: [], routes: [], mtu: 1400, dns: [], bypassPorts: [500, 4500] }
const full: DeviceState = {
  ...base,
  addresses: [
    { address: '10.9.0.2', bits: 32 },
    { address: 'fd09::2', bits: 128 },
  ],
  routes: [
    { to: { address: '0.0.0.0', bits: 0 }, source: '10.9.0.2' },
    { to: { address: '::', bits: 0 }, source: 'fd09::2' },
  ],
  dns: ['10.9.0.1'],
}

const before = await rules()
await device.open({ packet: answer, failed: error => failures.push(error.message) })
const name = device.name
// overlapping calls: the last one wins
const overlapping = [
  device.configure({ ...base, routes: [{ to: { address: '198.51.100.0', bits: 24 } }] }),
  device.configure({ ...full, mtu: 1300 }),
  device.configure(full),
]
await Promise.all(overlapping)
const during = await rules()
const table =
  during
    .find(line => line.includes('lookup 45'))
    ?.split(' ')
    .at(-1) ?? ''
const routes = (await run('ip', 'route', 'show', 'table', table)).trim().split('\n')
const link = await run('ip', 'link', 'show', 'dev', name)

let ticks = 0
const timer = setInterval(() => ticks++, 5)
const ping4 = await run('ping', '-c', '3', '-i', '0.1', '-W', '2', '198.51.100.7')
const ping6 = await run('ping', '-6', '-c', '3', '-i', '0.1', '-W', '2', '2001:db8::7')
const flood = await run('ping', '-f', '-c', '3000', '-s', '1300', '-W', '2', '198.51.100.8')
clearInterval(timer)

// IKE from its port goes to the main table, where this namespace has a route to the peer, anything else to the device
const via = async (...selector: string[]): Promise<string> =>
  /dev (\S+)/.exec(await run('ip', 'route', 'get', '203.0.113.9', ...selector))?.[1] ?? ''
const paths = {
  ike: await via('ipproto', 'udp', 'sport', '4500', 'dport', '4500'),
  other: await via('ipproto', 'udp', 'sport', '4501', 'dport', '4500'),
}

await device.configure(base)
const without = await rules()
await device.configure(full)
const stats = device.stats()
if (process.argv[2] === 'crash') process.kill(process.pid, 'SIGKILL')
await device.close()
const after = await rules()
const links = await run('ip', '-br', 'link')
const deleted = await new Promise<string>((resolve, reject) => {
  const other = new TunDevice({}, silentLog)
  const open = other.open({ packet: () => {}, failed: error => void other.close().then(() => resolve(error.message)) })
  open.then(() => run('ip', 'link', 'del', other.name)).catch(reject)
})
const summary = (text: string): string => /\d+ packets transmitted, \d+ received/.exec(text)?.[0] ?? text
process.stdout.write(
  JSON.stringify({
    name,
    before,
    during: during.map(line => line.replace(/^\d+/, pref => (Number(pref) < 5500 ? 'bypass' : 'lookup'))),
    table,
    routes,
    mtu: /mtu (\d+)/.exec(link)?.[1],
    ping4: summary(ping4),
    ping6: summary(ping6),
    flood: summary(flood),
    responsive: ticks > 10,
    paths,
    without,
    after,
    gone: !links.includes(name),
    failures,
    deleted,
    info,
    answeredAll: answered === 3_006,
    seenSane: seen >= answered && stats.packetsOut === answered,
    headroom: headroom >= HEADROOM,
    writeErrors: stats.writeErrors,
  }),
)
