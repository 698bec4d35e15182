import { expect, test } from 'vitest'
import { topologies } from '../../kit/index.ts'

/** A busy little world: loss, jitter, duplication, reordering, random NAT ports, TCP and ping. */
function busyWorld(seed: number) {
  const { net, alice, bob, moon } = topologies.nat2({
    seed,
    nata: 'symmetric',
    natb: 'symmetric',
    access: { loss: 0.05, jitter: 8, duplicate: 0.02, reorder: 0.05 },
  })
  const transfer = alice.bulk('203.0.113.20', { bytes: 60_000 })
  const pings = bob.ping('203.0.113.20', { count: 20, interval: 50 })
  const socket = moon.udp(7000)
  bob.udp().send(net.rng('bob').bytes(100), '203.0.113.20', 7000)
  net.runUntil(() => transfer.done && pings.done, { within: 120_000 })
  expect(transfer.intact).toBe(true)
  expect(socket.received.length).toBeLessThanOrEqual(2)
  return { digest: net.trace.digest(), text: net.trace.render(), count: net.trace.count }
}

test('the same seed gives the same trace, octet by octet', () => {
  const [first, second] = [busyWorld(7), busyWorld(7)]
  expect(second.text).toBe(first.text)
  expect(second.digest).toBe(first.digest)
  expect(first.count).toBeGreaterThan(300)
})

test('another seed gives another trace', () => {
  expect(busyWorld(8).digest).not.toBe(busyWorld(7).digest)
})

test('what is not reached is reported with seed and time', () => {
  const { net, alice } = topologies.nat1({ seed: 42 })
  alice.ping('203.0.113.20')
  expect(() => net.runUntil(() => false, { within: 5_000 })).toThrow(/5000 ms of virtual time.*seed 42[\s\S]*ICMP/)
  expect(net.clock.now()).toBe(5_000)
})

test('promises settle between events', async () => {
  const { net } = topologies.direct()
  const order: string[] = []
  net.clock.schedule(10, () => {
    void Promise.resolve()
      .then(() => {})
      .then(() => order.push('promise of the first'))
  })
  net.clock.schedule(10, () => order.push('second'))
  const cancel = net.clock.schedule(11, () => order.push('cancelled'))
  cancel()
  await net.advance(20)
  expect(order).toEqual(['promise of the first', 'second'])
  expect(net.clock.now()).toBe(20)
})
