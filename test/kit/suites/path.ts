import type { Flow } from '../../../core/contracts/net.ts'
import type { PathContext, PathOut, PathStrategy } from '../../../core/contracts/strategy.ts'
import type { LocalEndpoint } from '../../../core/contracts/transport.ts'
import { SeededRng } from '../rng.ts'
import { check, frozen, quiet, type SuiteRunner } from './check.ts'

/** What a path's machine must do: settle on one flow or fail, and stand anything that comes meanwhile. */

const bound = (address: string): LocalEndpoint[] => [
  { address, port: 500, protocol: 17, role: 'ike' },
  { address, port: 4500, protocol: 17, role: 'natt' },
  { address, port: 0, protocol: 50, role: 'raw' },
]
const locals = [...bound('192.0.2.1'), ...bound('2001:db8::1')]

const CONTEXTS: readonly PathContext[] = [
  { peer: 'moon', remote: { address: '203.0.113.20', port: 500 }, source: '192.0.2.1', locals },
  { peer: 'moon', remote: { address: '203.0.113.20', port: 4500 }, source: undefined, locals },
  { peer: 'moon', remote: { address: '2001:db8::20', port: 500 }, source: '2001:db8::1', locals },
  { peer: 'moon', remote: { address: '2001:db8::20', port: 500 }, source: undefined, locals: bound('192.0.2.1') },
  { peer: 'moon', remote: undefined, source: undefined, locals },
  { peer: 'moon', remote: { address: '203.0.113.20', port: 500 }, source: '192.0.2.1', locals: [] },
]

/** A path that has not settled by then never will. */
const PATIENCE_STEPS = 10_000

export function checkPath(
  about: string,
  make: () => PathStrategy,
  test: SuiteRunner['test'],
  given: readonly PathContext[],
): void {
  const contexts = frozen([...CONTEXTS, ...given])

  test(`${about}: waits for the start, and then settles on a flow or fails`, () => {
    for (const context of contexts) {
      const machine = make().open(context)
      check(
        machine.step({ type: 'timeout' }, 0).every(out => out.type !== 'ready'),
        'no flow before the start',
      )
      const outs = [...machine.step({ type: 'start' }, 0)]
      let now = 0
      for (let steps = 0; settled(outs) === undefined; steps++) {
        check(machine.deadline !== Infinity && steps < PATIENCE_STEPS, `a path to ${context.peer} to settle in the end`)
        now = Math.max(now, machine.deadline)
        outs.push(...machine.step({ type: 'timeout' }, now))
      }
      checkOuts(outs, context)
      const end = outs.findIndex(isSettled)
      check(end === outs.length - 1, 'nothing to come after ready or failed')
    }
  })

  test(`${about}: early and late timeouts and strange datagrams are harmless`, () => {
    const rng = new SeededRng(about)
    for (const context of contexts) {
      const machine = make().open(context)
      const outs: PathOut[] = []
      const feed = (now: number): void => {
        const flow = flowOf(context)
        outs.push(...quiet('step', () => machine.step({ type: 'timeout' }, now)))
        if (flow === undefined) return
        for (const length of [0, 1, 4, 28, 100]) {
          const bytes = rng.bytes(length)
          outs.push(...quiet('step', () => machine.step({ type: 'datagram', bytes, flow }, now)))
        }
      }
      feed(0)
      outs.push(...machine.step({ type: 'start' }, 1))
      for (let now = 2; now < 1e6; now *= 3) feed(now)
      checkOuts(outs, context)
      check(outs.filter(isSettled).length <= 1, 'one ready or failed at most')
    }
  })
}

const isSettled = (out: PathOut): boolean => out.type === 'ready' || out.type === 'failed'
const settled = (outs: readonly PathOut[]): PathOut | undefined => outs.find(isSettled)

function checkOuts(outs: readonly PathOut[], { locals }: PathContext): void {
  for (const out of outs) {
    if (out.type === 'failed') {
      check(out.why !== '', 'a failure to say why')
      continue
    }
    const { protocol, local, remote } = out.flow
    const own = locals.some(l => l.protocol === protocol && l.port === local.port && l.address === local.address)
    check(own, `flows from one of the locals, not ${local.address} ${local.port}`)
    check(remote.address.includes(':') === local.address.includes(':'), 'both ends of a flow in one family')
    if (out.type === 'transmit') check(out.bytes.length > 0, 'datagrams that are not empty')
  }
}

const flowOf = ({ remote, locals }: PathContext): Flow | undefined => {
  const local = locals.find(l => l.protocol === 17)
  return local && { protocol: 17, local, remote: remote ?? { address: '203.0.113.99', port: 4500 } }
}
