import { describe, expect, test } from 'vitest'
import { pen } from '../../../../core/cli/demo/canvas.ts'
import { runDemo, story } from '../../../../core/cli/demo/index.ts'
import { run } from '../../../../core/cli/demo/run.ts'
import { scenario } from '../../../../core/cli/demo/scenario.ts'

const ascii = pen({ unicode: false, colour: false, columns: 80 })

async function demo(options: { json: boolean; seed: number }): Promise<{ code: number; text: string }> {
  let text = ''
  const code = await runDemo({ ...options, colour: false, write: more => (text += more) })
  return { code, text }
}

const withoutReal = (text: string): string => text.replace(/[\d.]+ s real/g, '… s real')

describe('the demo', () => {
  test('succeeds, ends with its summary, and is the same for the same seed', async () => {
    const first = await demo({ json: false, seed: 7 })
    expect(first.code).toBe(0)
    const last = first.text.trimEnd().split('\n').at(-1)
    expect(last).toMatch(
      /tunnel up in 2 round trips \(virtual \d+ ms\), 5\/5 pings, 2\.0 MB intact, 0 packets in the clear/,
    )
    const second = await demo({ json: false, seed: 7 })
    expect(withoutReal(second.text)).toBe(withoutReal(first.text))
  })

  test('as JSON it tells the same, and plainly that NATs were found and passed', async () => {
    const { code, text } = await demo({ json: true, seed: 3 })
    const result = JSON.parse(text)
    expect(code).toBe(0)
    expect(result).toMatchObject({
      ok: true,
      failures: [],
      seed: 3,
      sa: { mode: 'tunnel', encap: 'udp-encap', virtualAddresses: ['10.9.0.1'] },
      ping: { sent: 5, received: 5 },
      bulk: { bytes: 2_000_000, intact: true },
      eavesdropper: { clear: 0 },
    })
    expect(result.bulk.retransmissions).toBeGreaterThan(0)
    expect(result.eavesdropper.keepalive).toBeGreaterThan(0)
    for (const by of ['alice', 'moon'])
      for (const name of ['localBehindNat', 'remoteBehindNat'])
        expect(result.facts).toContainEqual(expect.objectContaining({ by, name, value: true }))
  })

  test('fits 80 columns, and pure ASCII says all of it', async () => {
    const world = scenario(1)
    const lines = story(await run(world, 1, () => 0), ascii)
    expect(lines.join('\n')).toMatch(/^[\n -~]*$/)
    expect(lines.slice(0, -1).filter(line => line.length > 80)).toEqual([])
  })

  test('says what failed when moon cannot be reached', async () => {
    const world = scenario(1)
    world.moonNat.behaviour.blockUdp = true
    const result = await run(world, 1, () => 0)
    expect(result).toMatchObject({ ok: false, sa: undefined, ping: undefined })
    expect(story(result, ascii).at(-1)).toMatch(/^x .*moon.* - simulated/)
  })

  test('what went well before a failure is still shown', async () => {
    const world = scenario(1)
    world.net.clock.schedule(30_000, () => world.aliceNat.interface('wan0').link.down())
    const result = await run(world, 1, () => 0)
    expect(result).toMatchObject({ ok: false, ping: { received: 5 }, sa: { mode: 'tunnel' }, bulk: { intact: false } })
    expect(result.failures).toContain('the transfer ended early: timeout')
  })
})
