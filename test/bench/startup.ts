import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { MAIN, unbuilt } from './built.ts'
import { type Bench, type Figure, realNow } from './measure.ts'

const TIMES = 21
const GOAL_MS = 150

const COMMANDS: Readonly<Record<string, readonly string[]>> = {
  'natweave --help': [process.execPath, MAIN, '--help'],
  'natweave check --help': [process.execPath, MAIN, 'check', '--help'],
  'an empty program of Node': [process.execPath, '--eval', '0'],
  'swanctl --help': ['/usr/sbin/swanctl', '--help'],
}

/** Median time of a command from start to end, ms. */
function time([file, ...args]: readonly string[]): number {
  const times = Array.from({ length: TIMES }, () => {
    const from = realNow()
    execFileSync(file!, args, { stdio: 'ignore' })
    return realNow() - from
  })
  return times.sort((a, b) => a - b)[TIMES >> 1]!
}

/** How long somebody waits who asks the command for help. */
export const startup: Bench = {
  name: 'startup',
  about: 'the command natweave from start to end, as it is built',
  obstacle: unbuilt,
  async run(): Promise<readonly Figure[]> {
    return Object.entries(COMMANDS)
      .filter(([, [file]]) => existsSync(file!))
      .map(([what, command]) => ({
        what,
        value: time(command),
        unit: 'ms',
        compare: 'start-up',
        how: `median of ${TIMES} runs one after the other, files in the cache of the system`,
      }))
  },
  goals(figures) {
    const { value } = figures[0]!
    return [{ goal: `natweave --help within ${GOAL_MS} ms`, reached: `${value.toFixed(0)} ms`, met: value <= GOAL_MS }]
  },
}
