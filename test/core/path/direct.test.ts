import { expect, test } from 'vitest'
import type { ServiceIn, ServiceOut } from '../../../core/contracts/service.ts'
import type { LocalEndpoint } from '../../../core/contracts/transport.ts'
import { direct } from '../../../core/path/direct.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/provider.ts'
import { SeededRng } from '../../kit/rng.ts'

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
type Find = Extract<ServiceIn, { readonly type: 'find' }>
const wish: Find = { type: 'find', peer: 'moon', remote: { address: '192.0.2.1', port: 500 }, source: undefined }

const context = { crypto: nodeCryptoProvider, rng: new SeededRng(1), peers: [] }

function ask(find: Find): readonly ServiceOut[] {
  const service = direct.serve(context)
  expect(service.step({ type: 'locals', locals }, 0)).toEqual([])
  const outs = service.step(find, 0)
  expect(service.step({ type: 'timeout' }, 1)).toEqual([])
  expect(service.deadline).toBe(Number.POSITIVE_INFINITY)
  return outs
}

const rows: { name: string; given: Partial<Find>; want: string }[] = [
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
    const find = { ...wish, ...given }
    const [out, ...more] = ask(find)
    if (out?.type !== 'ready') throw new Error(`not ready: ${JSON.stringify(out)}`)
    expect(out.peer).toBe('moon')
    expect(`${out.flow.local.address}:${out.flow.local.port}`).toBe(want)
    expect(out.flow.remote).toEqual(find.remote)
    expect(out.flow.protocol).toBe(17)
    expect(more).toEqual([])
  })

test('fails with words when nobody knows where the peer is', () => {
  const why = 'the address of moon is not known; set its remote, or wait until it connects'
  expect(ask({ ...wish, remote: undefined })).toEqual([{ type: 'failed', peer: 'moon', code: 'PATH_FAILED', why }])
})

test('fails with words when no socket fits', () => {
  const why = 'no local UDP endpoint for natt with an IPv6 address'
  expect(ask({ ...wish, remote: { address: '2001:db8::1', port: 4500 } })).toEqual([
    { type: 'failed', peer: 'moon', code: 'PATH_FAILED', why },
  ])
})

test('is not for peers of whom no address is known', () => {
  const facts = (value: boolean) => ({ remoteKnown: { value, source: 'peers.moon.remote', at: 0 } })
  const plan = { path: 'direct', encap: 'none', mode: 'tunnel' }
  expect(direct.assess(facts(false), plan).usable).toBe(false)
  expect(direct.assess(facts(true), plan).usable).toBe(true)
  expect(direct.assess({}, plan).usable).toBe(true)
})
