import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { type Outer, UDP_V4, UDP_V6 } from '../../plugins/linux-fast/rig.ts'

const CLONE_NEWNET = 0x4000_0000

/** Commands of ip(8), one a line. */
export const ip = (...lines: string[]): void => {
  execFileSync('ip', ['-batch', '-'], { input: lines.join('\n') })
}

/**
 * The thread that calls this leaves the machine's network for one of its own, and with it the threads and processes that it
 * starts. It has a loopback device only, and ends with them.
 */
export function leaveNetwork(): void {
  if (process.getuid?.() !== 0) throw new Error('this test opens raw sockets in a network of its own: run it as root')
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi')
  if (koffi.load(null).func('int unshare(int flags)')(CLONE_NEWNET) !== 0) throw new Error('no network namespace')
  ip('link set lo up')
}

/** Plain ESP between addresses of each rig's own, of the loopback device: raw sockets hear all that comes to theirs. */
export const ESP_V4: Outer = {
  name: 'ESP over IPv4',
  protocol: 50,
  here: n => `127.1.${n}.1`,
  there: n => `127.1.${n}.2`,
}
export const ESP_V6: Outer = {
  name: 'ESP over IPv6',
  protocol: 50,
  here: n => `fd66::${n}:1`,
  there: n => `fd66::${n}:2`,
}
export const OUTERS = [UDP_V4, UDP_V6, ESP_V4, ESP_V6] as const

/** Makes the addresses of `ESP_V6`; those of IPv4 are there. */
export function addAddresses(rigs: number): void {
  const ends = Array.from({ length: rigs }, (_, i) => [ESP_V6.here(i + 1), ESP_V6.there(i + 1)]).flat()
  ip(...ends.map(address => `addr add ${address}/128 dev lo`))
}
