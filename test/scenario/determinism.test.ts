import { expect } from 'vitest'
import { topologies } from '../kit/index.ts'
import { child, clients, drive, lanOfMoon, node, ping, scenario, toMoon, transfer } from './support.ts'

/** Two natweave nodes through a NAT that picks ports at random, over a line that loses: everything chance can touch. */
async function story(seed: number) {
  const { net, nata, alice, moon, mars } = topologies.nat1({ seed, nata: 'symmetric' })
  const proposals = ['aes128gcm16-prfsha256-x25519']
  const cbc = { proposals: ['aes128-sha256-modp2048'], rekeyMs: 4_000, lifeMs: 20_000 }
  const a = await node(net, alice, { peers: [toMoon({ proposals, rekeyMs: 6_000, children: [child(cbc)] })] })
  const m = await node(net, moon, { peers: [clients({ proposals, children: [lanOfMoon(cbc)] })] })
  await a.connect('moon')
  Object.assign(nata.interface('wan0').link, { loss: 0.02, jitter: 3, duplicate: 0.02, reorder: 0.05 })
  const intact = await transfer(net, alice, '10.3.0.5', 60_000)
  nata.reboot()
  const answered = await ping(net, alice, '10.3.0.5', 20)
  await net.advance(10_000)
  await ping(net, mars, '10.9.0.1')
  await drive(net, a.natweave.disconnect('moon'))
  const events = JSON.stringify([a.events, m.events])
  return { digest: net.trace.digest(), count: net.trace.count, events, intact, answered, a }
}

scenario('the same seed: the same octets on every wire at the same time, and the same events', async seed => {
  const [first, second] = [await story(seed), await story(seed)]
  expect(second.events).toBe(first.events)
  expect(second.digest).toBe(first.digest)
  expect([first.intact, first.count > 500]).toEqual([true, true])
  expect(first.a.of('child-rekeyed').length).toBeGreaterThan(1)
  expect(first.a.of('rekeyed').length).toBeGreaterThan(0)
})

scenario('another seed: another trace', async seed => {
  const [first, second] = [await story(seed), await story(seed + 1)]
  expect(second.digest).not.toBe(first.digest)
  expect([first.intact, second.intact]).toEqual([true, true])
  expect(Math.min(first.answered, second.answered)).toBeGreaterThan(10)
})
