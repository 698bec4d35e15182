import { expect, test } from 'vitest'
import type { PathContext } from '../../../core/contracts/strategy.ts'
import type { LocalEndpoint } from '../../../core/contracts/transport.ts'
import { direct } from '../../../core/path/direct.ts'

const udp = (address: string, role: 'ike' | 'natt'): LocalEndpoint => ({
  address,
  port: role === 'ike' ? 500 : 4500,
  protocol: 17,
  role,
})
const locals: LocalEndpoint[] = [
  { address: '10.1.0.10', port: 0, protocol: 50, role: 'raw' },
  udp('10.1.0.10', 'ike'),
  udp('10.1.0.10', 'natt'),
  udp('10.2.0.10', 'ike'),
  udp('10.2.0.10', 'natt'),
  udp('2001:db8::10', 'ike'),
]
const context: PathContext = { peer: 'moon', remote: { address: '192.0.2.1', port: 500 }, source: undefined, locals }

const rows: { name: string; given: Partial<PathContext>; want: string }[] = [
  { name: 'port 500 from the IKE socket', given: {}, want: '10.1.0.10:500' },
  { name: 'the address the system would use', given: { source: '10.2.0.10' }, want: '10.2.0.10:500' },
  { name: 'one that is not bound does not count', given: { source: '10.3.0.10' }, want: '10.1.0.10:500' },
  {
    name: 'port 4500 from the socket with the marker',
    given: { remote: { address: '192.0.2.1', port: 4500 } },
    want: '10.1.0.10:4500',
  },
  {
    name: 'any other port too',
    given: { remote: { address: '192.0.2.1', port: 1024 }, source: '10.2.0.10' },
    want: '10.2.0.10:4500',
  },
  { name: 'IPv6', given: { remote: { address: '2001:db8::1', port: 500 } }, want: '2001:db8::10:500' },
]

for (const { name, given, want } of rows)
  test(`ready at once: ${name}`, () => {
    const at = { ...context, ...given }
    const machine = direct.open(at)
    const [out, ...more] = machine.step({ type: 'start' }, 0)
    if (out?.type !== 'ready') throw new Error(`not ready: ${JSON.stringify(out)}`)
    expect(`${out.flow.local.address}:${out.flow.local.port}`).toBe(want)
    expect(out.flow.remote).toEqual(at.remote)
    expect(out.flow.protocol).toBe(17)
    expect(more).toEqual([])
    expect(machine.deadline).toBe(Number.POSITIVE_INFINITY)
  })

test('fails with words when nobody knows where the peer is', () => {
  expect(direct.open({ ...context, remote: undefined }).step({ type: 'start' }, 0)).toEqual([
    { type: 'failed', why: 'the address of moon is not known; set its remote, or wait until it connects' },
  ])
})

test('fails with words when no socket fits', () => {
  const remote = { address: '2001:db8::1', port: 4500 }
  expect(direct.open({ ...context, remote }).step({ type: 'start' }, 0)).toEqual([
    { type: 'failed', why: 'no local UDP endpoint for natt with an IPv6 address' },
  ])
})

test('claims no datagram', () => {
  const flow = { protocol: 17 as const, local: { address: '10.1.0.10', port: 500 }, remote: context.remote! }
  const machine = direct.open(context)
  expect(machine.step({ type: 'datagram', bytes: new Uint8Array(4), flow }, 0)).toEqual([])
  expect(machine.step({ type: 'timeout' }, 1)).toEqual([])
})
