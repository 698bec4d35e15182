import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Case } from '../case.ts'
import { last } from '../lab.ts'
import { run } from '../process.ts'

const ROOT = new URL('../../..', import.meta.url).pathname
const VITEST = join(ROOT, 'node_modules/vitest/vitest.mjs')

interface Report {
  readonly numPassedTests: number
  readonly numTotalTests: number
  readonly testResults: readonly { readonly message: string; readonly assertionResults: readonly Assertion[] }[]
}

interface Assertion {
  readonly status: string
  readonly fullName: string
  readonly failureMessages: readonly string[]
}

/** Tests of single plugins that need privileges: each `*.test.ts` below test/interop is a case, run by vitest. */
export const cases: readonly Case[] = readdirSync(join(ROOT, 'test/interop'), { recursive: true, encoding: 'utf8' })
  .filter(file => file.endsWith('.test.ts'))
  .sort()
  .map(file => ({ name: file.replace(/\.test\.ts$/, ''), run: () => vitest(join('test/interop', file)) }))

async function vitest(file: string): Promise<readonly string[]> {
  const config = ['--config', join(ROOT, 'vitest.interop.config.ts'), '--root', ROOT, '--reporter=json']
  const done = await run([process.execPath, VITEST, 'run', file, ...config], { timeoutMs: 300_000 })
  const json = done.stdout.slice(done.stdout.indexOf('{"num'))
  if (!json.startsWith('{')) throw new Error(`vitest: ${last(done.stderr, done.stdout)}`)
  const { numPassedTests, numTotalTests, testResults } = JSON.parse(json) as Report
  // a skipped test has proved nothing, so it counts as one that failed
  const missing = testResults.flatMap(each => each.assertionResults).find(({ status }) => status !== 'passed')
  if (done.code !== 0 || missing !== undefined || numPassedTests === 0)
    throw new Error(
      missing === undefined
        ? `${last(testResults[0]?.message ?? '', done.stderr)}`
        : `${missing.fullName}: ${missing.status} ${last(missing.failureMessages[0]?.split('\n')[0] ?? '')}`,
    )
  return [`${numPassedTests}/${numTotalTests} tests`]
}
