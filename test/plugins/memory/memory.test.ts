import 'reflect-metadata'
import fc from 'fast-check'
import { container } from 'tsyringe'
import { expect, test } from 'vitest'
import { HEADROOM, newPacket, octets, type Packet } from '../../../core/contracts/packet.ts'
import { DEVICE, SA_STORE } from '../../../core/contracts/plugin.ts'
import { MemoryDevice, MemoryStore, memory } from '../../../plugins/memory/index.ts'

const packetOf = (...bytes: number[]): Packet => {
  const packet = newPacket()
  packet.bytes.set(bytes, packet.start)
  packet.end = packet.start + bytes.length
  return packet
}

test('what is read is equal to, but never the same as, what was written', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string(), fc.jsonValue(), async (key, value) => {
      const store = new MemoryStore()
      await store.set(key, value)
      const read = await store.get(key)
      expect(read).toEqual(JSON.parse(JSON.stringify(value)))
      if (typeof read === 'object' && read !== null) expect(read).not.toBe(await store.get(key))
    }),
  )
})

test('a store lists by prefix in order, deletes, and survives close', async () => {
  const store = new MemoryStore()
  await store.open()
  await store.set('lease/b', { address: '10.9.0.3' })
  await store.set('lease/a', { address: '10.9.0.2' })
  await store.set('route/a', 1)
  await store.close()
  await store.open()
  expect(await store.list('lease/')).toEqual([
    ['lease/a', { address: '10.9.0.2' }],
    ['lease/b', { address: '10.9.0.3' }],
  ])
  await store.delete('lease/a')
  await store.delete('lease/never')
  expect(await store.get('lease/a')).toBeUndefined()
  expect(await store.list('')).toHaveLength(2)
})

test.each([[undefined], [() => {}], [1n]])('a value without JSON form is refused: %s', async value => {
  const store = new MemoryStore()
  await expect(store.set('k', value)).rejects.toMatchObject({ code: 'USAGE_VALUE' })
  expect(await store.get('k')).toBeUndefined()
})

test('injected packets reach the sink with headroom, as copies', async () => {
  const device = new MemoryDevice()
  expect(() => device.inject(Uint8Array.of(1))).toThrow(expect.objectContaining({ code: 'USAGE_CLOSED' }))
  const seen: number[][] = []
  await device.open({
    packet: packet => {
      expect(packet.start).toBe(HEADROOM)
      seen.push([...octets(packet)])
      packet.start += 1 // edits in place must not show in the next one
    },
    failed: () => {},
  })
  device.inject(Uint8Array.of(0x45, 1))
  device.inject(Uint8Array.of(0x45, 2, 3))
  expect(seen).toEqual([
    [0x45, 1],
    [0x45, 2, 3],
  ])
  expect(() => device.inject(new Uint8Array())).toThrow(expect.objectContaining({ code: 'USAGE_PACKET_SIZE' }))
  expect(() => device.inject(new Uint8Array(65_536))).toThrow(expect.objectContaining({ code: 'USAGE_PACKET_SIZE' }))
})

test('delivered packets wait in a bounded queue, or go to whoever listens', async () => {
  const device = new MemoryDevice({ queue: 2 })
  device.write(packetOf(0)) // not open: nobody there
  await device.open({ packet: () => {}, failed: () => {} })
  const packet = packetOf(1, 2)
  device.write(packet)
  packet.bytes.fill(0)
  device.write(packetOf(3))
  device.write(packetOf(4))
  expect([device.queued, device.dropped]).toEqual([2, 1])
  expect(device.take()).toEqual(Uint8Array.of(1, 2))
  expect(device.take()).toEqual(Uint8Array.of(3))
  expect(device.take()).toBeUndefined()

  const delivered: Uint8Array[] = []
  device.deliver = bytes => delivered.push(bytes)
  device.write(packetOf(5))
  expect([delivered, device.queued]).toEqual([[Uint8Array.of(5)], 0])
})

test('a device shows the last wanted state and forgets it when closed', async () => {
  const device = new MemoryDevice({ name: 'inner' })
  expect(device.name).toBe('inner')
  await device.open({ packet: () => {}, failed: () => {} })
  await expect(device.open({ packet: () => {}, failed: () => {} })).rejects.toMatchObject({ code: 'USAGE_OPEN' })
  const state = { addresses: [], routes: [], mtu: 1400, dns: [], bypassPorts: [] }
  await device.configure(state)
  expect(device.state).toBe(state)
  device.write(packetOf(1))
  await device.close()
  expect([device.state, device.queued]).toEqual([undefined, 0])
})

test('the plugin registers a store, and a device when it has one', () => {
  const plain = container.createChildContainer()
  memory().register(plain)
  expect(plain.resolve(SA_STORE).name).toBe('memory')
  expect(plain.resolve(SA_STORE)).toBe(plain.resolve(SA_STORE))
  expect(plain.isRegistered(DEVICE)).toBe(false)

  const full = container.createChildContainer()
  const [device, store] = [new MemoryDevice(), new MemoryStore()]
  memory({ device, store }).register(full)
  expect(full.resolve(DEVICE)).toBe(device)
  expect(full.resolve(SA_STORE)).toBe(store)
})
