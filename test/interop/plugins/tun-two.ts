import { execFileSync } from 'node:child_process'
import type { DeviceState } from '../../../core/contracts/device.ts'
import { silentLog } from '../../../core/contracts/log.ts'
import { TunDevice } from '../../../plugins/tun/index.ts'

/** Run by tun.test.ts in a namespace: two devices, as two processes would have them; prints which rules stand when. */
const state: DeviceState = {
  addresses: [],
  routes: [{ to: { address: '0.0.0.0', bits: 0 } }],
  mtu: 1_400,
  dns: [],
  bypassPorts: [4_500],
}
const tables = (): string[] =>
  (
    JSON.parse(execFileSync('ip', ['-json', '-4', 'rule'], { encoding: 'utf8' })) as {
      priority: number
      table: string
    }[]
  )
    .filter(rule => rule.priority > 0 && rule.priority < 32_766)
    .map(rule => rule.table)
const sink = { packet() {}, failed() {} }

const first = new TunDevice({}, silentLog)
const second = new TunDevice({}, silentLog)
await first.open(sink)
await first.configure(state)
const firstTable = tables().at(-1) ?? ''
await second.open(sink)
await second.configure(state)
const named = (): string[] =>
  tables().map(table => (table === 'main' ? table : table === firstTable ? 'first' : 'second'))
const names = [first.name, second.name]
const open = named()
await first.close()
const firstClosed = named()
await second.close()
process.stdout.write(JSON.stringify({ names, open, firstClosed, closed: named() }))
