import { expect, test } from 'vitest'
import { newPacket, type Packet } from '../../../core/contracts/packet.ts'
import { SendPool, type SendSlot } from '../../../plugins/udp/send-pool.ts'

const REMOTE = { address: '192.0.2.1', port: 4500 }

const take = (pool: SendPool, bytes: Uint8Array, start: number, end: number, tooBig?: SendSlot['tooBig']) =>
  pool.take({ ...newPacket(0), bytes, start, end } satisfies Packet, REMOTE, tooBig)

test('copies the octets, gives out no more than the limit, takes slots back', () => {
  const failures: string[] = []
  const pool = new SendPool(2, code => failures.push(code))
  const source = Uint8Array.of(9, 1, 2, 3, 9)
  const first = take(pool, source, 1, 4)!
  source.fill(0)
  expect([...first.bytes.subarray(0, 3)]).toEqual([1, 2, 3])
  const second = take(pool, source, 0, 5)!
  expect(second.bytes).not.toBe(first.bytes)
  expect(take(pool, source, 0, 1)).toBeUndefined()
  expect(pool.pending).toBe(2)

  first.done(null)
  second.done(Object.assign(new Error('no route'), { code: 'ENETUNREACH' }))
  expect(failures).toEqual(['ENETUNREACH'])
  expect(pool.pending).toBe(0)
  expect([first.bytes, second.bytes]).toContain(take(pool, source, 0, 1)!.bytes)
})

test('a datagram larger than a slot gets a buffer of its own that is not kept', () => {
  const pool = new SendPool(1, () => {})
  const large = new Uint8Array(65_507).fill(7)
  const slot = take(pool, large, 0, large.length)!
  expect(slot.bytes).toEqual(large)
  slot.done(null)
  expect(take(pool, large, 0, 10)!.bytes).not.toBe(slot.bytes)
})

test('what is too big for its path is lost unless it goes all the same', () => {
  const failures: string[] = []
  const pool = new SendPool(4, code => failures.push(code))
  const tooBig = Object.assign(new Error('too big'), { code: 'EMSGSIZE' })
  const asked: number[] = []
  for (const went of [true, false]) {
    const slot = take(pool, new Uint8Array(9), 2, 9, ({ length, remote }) => {
      expect(remote).toBe(REMOTE)
      asked.push(length)
      return went
    })!
    slot.done(tooBig)
  }
  take(pool, new Uint8Array(9), 0, 9)!.done(tooBig)
  expect(asked).toEqual([7, 7])
  expect(failures).toEqual(['EMSGSIZE', 'EMSGSIZE'])
  expect(pool.pending).toBe(0)
})
