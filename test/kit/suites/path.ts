import type { Address, Endpoint, Flow } from '../../../core/contracts/net.ts'
import { HEADROOM, newPacket } from '../../../core/contracts/packet.ts'
import type { Service, ServiceIn, ServiceOut } from '../../../core/contracts/service.ts'
import type { PathStrategy } from '../../../core/contracts/strategy.ts'
import type { LocalEndpoint } from '../../../core/contracts/transport.ts'
import { SeededRng } from '../rng.ts'
import { check, frozen, quiet, type SuiteRunner } from './check.ts'
import { toyCrypto } from './tasks.ts'

/** What a path's service must do: settle on one flow or fail, and stand anything that comes meanwhile. */

/** A peer to be found, and what this host has bound. */
export interface PathCase {
  readonly peer: string
  readonly remote: Endpoint | undefined
  readonly source: Address | undefined
  readonly locals: readonly LocalEndpoint[]
}

const bound = (address: string): LocalEndpoint[] => [
  { address, port: 500, protocol: 17, role: 'ike' },
  { address, port: 4500, protocol: 17, role: 'natt' },
  { address, port: 0, protocol: 50, role: 'raw' },
]
const locals = [...bound('192.0.2.1'), ...bound('2001:db8::1')]

const CASES: readonly PathCase[] = [
  { peer: 'moon', remote: { address: '203.0.113.20', port: 500 }, source: '192.0.2.1', locals },
  { peer: 'moon', remote: { address: '203.0.113.20', port: 4500 }, source: undefined, locals },
  { peer: 'moon', remote: { address: '2001:db8::20', port: 500 }, source: '2001:db8::1', locals },
  { peer: 'moon', remote: { address: '2001:db8::20', port: 500 }, source: undefined, locals: bound('192.0.2.1') },
  { peer: 'moon', remote: undefined, source: undefined, locals },
  { peer: 'moon', remote: { address: '203.0.113.20', port: 500 }, source: '192.0.2.1', locals: [] },
]

/** A path that has not settled by then never will. */
const PATIENCE_STEPS = 10_000

/** A service that has been told where it is. */
function begun(
  make: () => PathStrategy,
  about: string,
  { locals }: PathCase,
): { service: Service; outs: ServiceOut[] } {
  const service = make().serve({ crypto: toyCrypto, rng: new SeededRng(about), peers: [] })
  const outs = [...service.step({ type: 'start' }, 0), ...service.step({ type: 'locals', locals }, 0)]
  return { service, outs }
}

const find = ({ peer, remote, source }: PathCase): ServiceIn => ({ type: 'find', peer, remote, source })

export function checkPath(
  about: string,
  make: () => PathStrategy,
  test: SuiteRunner['test'],
  given: readonly PathCase[],
): void {
  const cases = frozen([...CASES, ...given])

  test(`${about}: waits until it is asked, and then settles on a flow or fails`, () => {
    for (const one of cases) {
      const { service, outs } = begun(make, about, one)
      outs.push(...service.step({ type: 'timeout' }, 0))
      check(!outs.some(isSettled), 'no flow before anybody asked for one')
      outs.push(...service.step(find(one), 0))
      let now = 0
      for (let steps = 0; !outs.some(isSettled); steps++) {
        check(service.deadline !== Infinity && steps < PATIENCE_STEPS, `a path to ${one.peer} to settle in the end`)
        now = Math.max(now, service.deadline)
        outs.push(...service.step({ type: 'timeout' }, now))
      }
      checkOuts(outs, one)
      check(outs.filter(isSettled).length === 1, 'one ready or failed')
    }
  })

  test(`${about}: whoever is forgotten gets no flow`, () => {
    for (const one of cases) {
      const { service } = begun(make, about, one)
      if (service.step(find(one), 0).some(isSettled)) continue
      const outs = [...service.step({ type: 'forget', peer: one.peer }, 0)]
      for (let now = 1; now < 1e6; now *= 3) outs.push(...service.step({ type: 'timeout' }, now))
      check(!outs.some(isSettled), 'silence about a peer nobody wants')
    }
  })

  test(`${about}: early and late timeouts and strange datagrams are harmless`, () => {
    const rng = new SeededRng(about)
    for (const one of cases) {
      const { service, outs } = begun(make, about, one)
      const feed = (now: number): void => {
        const flow = flowOf(one)
        outs.push(...quiet('step', () => service.step({ type: 'timeout' }, now)))
        if (flow === undefined) return
        for (const length of [0, 1, 4, 28, 100]) {
          const bytes = rng.bytes(length)
          const packet = { ...newPacket(HEADROOM + length), bytes, start: 0, end: length }
          if (quiet('claims', () => service.claims?.(packet, flow)) === 'mine')
            outs.push(...quiet('step', () => service.step({ type: 'datagram', bytes, flow }, now)))
        }
      }
      feed(0)
      outs.push(...service.step(find(one), 1))
      for (let now = 2; now < 1e6; now *= 3) feed(now)
      checkOuts(outs, one)
      check(outs.filter(isSettled).length <= 1, 'one ready or failed at most')
    }
  })
}

const isSettled = (out: ServiceOut): boolean => out.type === 'ready' || out.type === 'failed'

function checkOuts(outs: readonly ServiceOut[], { locals }: PathCase): void {
  for (const out of outs) {
    if (out.type === 'failed') check(out.why !== '' && out.code !== '', 'a failure to say why')
    if (out.type !== 'ready' && out.type !== 'transmit') continue
    const { protocol, local, remote } = out.flow
    const own = locals.some(l => l.protocol === protocol && l.port === local.port && l.address === local.address)
    check(own, `flows from one of the locals, not ${local.address} ${local.port}`)
    check(remote.address.includes(':') === local.address.includes(':'), 'both ends of a flow in one family')
    if (out.type === 'transmit') check(out.bytes.length > 0, 'datagrams that are not empty')
  }
}

const flowOf = ({ remote, locals }: PathCase): Flow | undefined => {
  const local = locals.find(l => l.protocol === 17)
  return local && { protocol: 17, local, remote: remote ?? { address: '203.0.113.99', port: 4500 } }
}
