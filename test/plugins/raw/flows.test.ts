import { expect, test } from 'vitest'
import type { LocalEndpoint } from '../../../core/contracts/transport.ts'
import { addressBytes } from '../../../core/wire/index.ts'
import { Flows } from '../../../plugins/raw/flows.ts'

const local = (address: string): LocalEndpoint => ({ protocol: 50, role: 'raw', address, port: 0 })
const locals = (...addresses: string[]) => new Map(addresses.map(address => [address, local(address)]))

/** Addresses somewhere in a packet. */
function of(flows: Flows, source: string, destination: string) {
  const [from, to] = [addressBytes(source), addressBytes(destination)]
  const bytes = new Uint8Array(64)
  bytes.set(from, 5)
  bytes.set(to, 30)
  return flows.of(bytes, 5, 30, from.length === 4 ? 4 : 16)
}

test('one flow per pair of addresses', () => {
  const flows = new Flows()
  flows.setLocals(locals('192.0.2.1', '192.0.2.9', '2001:db8::1'))
  const first = of(flows, '203.0.113.5', '192.0.2.1')
  expect(first).toEqual({ protocol: 50, local: local('192.0.2.1'), remote: { address: '203.0.113.5', port: 0 } })
  expect(of(flows, '203.0.113.5', '192.0.2.1')).toBe(first)
  expect(of(flows, '203.0.113.6', '192.0.2.1')?.remote.address).toBe('203.0.113.6')
  expect(of(flows, '203.0.113.5', '192.0.2.9')?.local.address).toBe('192.0.2.9')
  expect(of(flows, '203.0.113.5', '192.0.2.1')).toBe(first)
  expect(of(flows, '2001:db8::5', '2001:db8::1')?.remote.address).toBe('2001:db8::5')
})

test('what is for another address has none, also after the address went', () => {
  const flows = new Flows()
  flows.setLocals(locals('192.0.2.1'))
  expect(of(flows, '203.0.113.5', '192.0.2.1')).toBeDefined()
  expect(of(flows, '203.0.113.5', '192.0.2.2')).toBeUndefined()
  flows.setLocals(locals('192.0.2.2'))
  expect(of(flows, '203.0.113.5', '192.0.2.1')).toBeUndefined()
  expect(of(flows, '203.0.113.5', '192.0.2.2')).toBeDefined()
})

test('spoofed sources do not fill the memory', () => {
  const flows = new Flows(10)
  flows.setLocals(locals('192.0.2.1'))
  for (let i = 0; i < 100; i++) of(flows, `203.0.113.${i}`, '192.0.2.1')
  expect(flows.size).toBe(10)
})
