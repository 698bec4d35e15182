import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { describe } from 'vitest'
import type { Outer } from '../../plugins/linux-fast/rig.ts'
import { contractSuite, differentialSuite, modeCases, noiseSuite } from '../../plugins/linux-fast/suites.ts'

if (process.getuid?.() !== 0) throw new Error('this test opens raw sockets in a network of its own: run it as root')

/** Rigs of this file; each has addresses of its own, since raw sockets hear all that comes to theirs. */
const RIGS = 100
const CLONE_NEWNET = 0x4000_0000

// this thread leaves the machine's network, and with it the threads and processes that it starts
const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi')
if (koffi.load(null).func('int unshare(int flags)')(CLONE_NEWNET) !== 0) throw new Error('no network namespace')
const lines = Array.from({ length: RIGS }, (_, i) => [1, 2].map(end => `addr add fd66::${i + 1}:${end}/128 dev lo`))
execFileSync('ip', ['-batch', '-'], { input: ['link set lo up', ...lines.flat()].join('\n') })

const ESP_V4: Outer = { name: 'ESP over IPv4', protocol: 50, here: n => `127.1.${n}.1`, there: n => `127.1.${n}.2` }
const ESP_V6: Outer = { name: 'ESP over IPv6', protocol: 50, here: n => `fd66::${n}:1`, there: n => `fd66::${n}:2` }

describe.each([ESP_V4, ESP_V6])('$name', outer => {
  contractSuite(outer)
  differentialSuite(outer, modeCases(outer === ESP_V4 ? 4 : 6))
  noiseSuite(outer, 40)
})
