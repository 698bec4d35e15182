import { expect, test } from 'vitest'
import type { Endpoint, Flow } from '../../../core/contracts/net.ts'
import { TcpEncap, tcpEncap } from '../../../plugins/tcp-encap/index.ts'
import { strategySuite } from '../../kit/index.ts'

strategySuite(() => new TcpEncap(4500, () => {}), { test, facts: { outerProtocol: ['udp', 'tcp'] } })

const fact = (value: string | boolean) => ({ value, source: 'test', at: 0 })

test('the first message goes to the TCP port already, and the transport is told', () => {
  const called: Endpoint[] = []
  const encap = new TcpEncap(8443, remote => called.push(remote))
  const found: Flow = {
    protocol: 17,
    local: { address: '10.1.0.5', port: 500 },
    remote: { address: '203.0.113.20', port: 500 },
  }
  const flow = encap.firstFlow(found)
  expect(flow).toEqual({
    protocol: 6,
    local: { address: '10.1.0.5', port: 0 },
    remote: { address: '203.0.113.20', port: 8443 },
  })
  expect(called).toEqual([flow.remote])
  expect(encap.espFlow(flow)).toBe(flow)
  expect(encap.espFlow(found)).toBeUndefined()
})

test('an SA in UDP does not change over; blocked UDP speaks for TCP', () => {
  const encap = new TcpEncap(4500, () => {})
  expect(encap.assess({ outerProtocol: fact('udp') }).usable).toBe(false)
  expect(encap.assess({}).usable).toBe(true)
  expect(encap.assess({ udpBlocked: fact(true) })).toMatchObject({ usable: true, why: expect.stringMatching(/UDP/) })
})

test.each([
  [{ port: 0 }, 'port: 0'],
  [{ listen: 70_000 }, 'listen: 70000'],
  [{ lissen: 4500 }, 'lissen: no such option'],
  [{ addresses: ['moon'] }, 'addresses: moon'],
  [{ listen: 4500, tls: { ca: 'ca.pem' } }, 'certificate and key'],
  [{ tls: { cert: 'x' } }, 'tls.cert: no such option'],
])('options %j are refused by name', (options, words) => {
  expect(() => tcpEncap(options as object)).toThrow(words)
})
