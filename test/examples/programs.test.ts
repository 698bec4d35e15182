import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

/** The programs, run as their readers run them. */
const root = fileURLToPath(new URL('../..', import.meta.url))

async function run(name: string): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', `examples/${name}.ts`], {
    cwd: root,
  })
  return stdout
}

test('compose: two builds, a NAT between them, traffic', async () => {
  const out = await run('compose')
  expect(out).toContain('learned localBehindNat = true')
  expect(out).toMatch(/alice: established.*tunnel in udp-encap, 10\.9\.0\.1 === 10\.3\.0\.0\/24, 3 packets in, 3 out/)
  expect(out).toContain('mars answered 3 of 3 pings')
  expect(await run('compose')).toBe(out) // the seed decides everything
})

test('detector: the new fact decides the mode', async () => {
  const out = await run('detector')
  expect(out).toContain('policy.rules[0] waits: natKeepsPort is unknown')
  expect(out).toContain('behind a portRestrictedCone NAT, connected in transport mode')
  expect(out).toContain('behind a symmetric NAT, connected in tunnel mode')
  expect(out).toMatch(/✗ direct \+ udp-encap \+ transport: policy\.rules\[0\] avoids transport/)
})
