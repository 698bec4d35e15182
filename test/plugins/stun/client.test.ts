import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseStun, StunMethod, serializeStun } from '../../../core/wire/index.ts'
import { judgeAllocation, portRun } from '../../../plugins/stun/allocation.ts'
import { Binding, Detection, parseServer } from '../../../plugins/stun/index.ts'
import { RFC3489_TIMING, rfc8489Timing } from '../../../plugins/stun/timing.ts'
import { SeededRng } from '../../kit/index.ts'

const SERVER = { address: '203.0.113.30', port: 3478 }
const MAPPED = { address: '198.51.100.1', port: 40_000 }

describe('when requests are sent', () => {
  test('RFC 8489 §6.2.1', () => {
    expect(rfc8489Timing()).toEqual({ sends: [0, 500, 1500, 3500, 7500, 15_500, 31_500], fails: 39_500 })
  })

  test('RFC 3489 §9.3', () => {
    expect(RFC3489_TIMING).toEqual({ sends: [0, 100, 300, 700, 1500, 3100, 4700, 6300, 7900], fails: 9500 })
  })

  test('the same octets each time, then a failure, then a new transaction after the interval', () => {
    const binding = new Binding(new SeededRng(1), SERVER, 25_000)
    const log: [number, string][] = []
    const requests: string[] = []
    let now = 1000
    for (let outs = binding.step({ type: 'start' }, now); now < 70_000; ) {
      for (const out of outs) {
        log.push([now - 1000, out.type])
        if (out.type === 'transmit') requests.push(Buffer.from(out.data).toString('hex'))
      }
      now = binding.deadline
      expect(binding.step({ type: 'timeout' }, now - 1)).toEqual([]) // early calls are harmless
      outs = binding.step({ type: 'timeout' }, now)
    }
    expect(log.slice(0, 9)).toEqual([
      ...[0, 500, 1500, 3500, 7500, 15_500, 31_500].map(at => [at, 'transmit']),
      [39_500, 'failed'],
      [64_500, 'transmit'],
    ])
    expect(new Set(requests.slice(0, 7)).size).toBe(1)
    expect(requests[7]).not.toBe(requests[0])
  })

  test('a late call delays what follows and sends no burst', () => {
    const binding = new Binding(new SeededRng(1), SERVER, 25_000)
    binding.step({ type: 'start' }, 0)
    expect(binding.step({ type: 'timeout' }, 20_000)).toHaveLength(1)
    expect(binding.step({ type: 'timeout' }, 20_000)).toHaveLength(0)
    expect(binding.deadline).toBe(21_000)
  })
})

describe('a binding', () => {
  function asked() {
    const binding = new Binding(new SeededRng(1), SERVER, 25_000)
    const [out] = binding.step({ type: 'start' }, 0)
    if (out?.type !== 'transmit') throw new Error('sends at once')
    return { binding, transaction: parseStun(out.data).transaction }
  }
  const success = (transaction: Uint8Array, mapped = MAPPED) =>
    serializeStun({
      class: 'success',
      method: StunMethod.Binding,
      transaction,
      attributes: [{ type: 'XOR-MAPPED-ADDRESS', value: mapped }],
    })

  test('tells the address once, and again when it is another one', () => {
    const { binding, transaction } = asked()
    expect(binding.step({ type: 'datagram', data: success(transaction) }, 30)).toEqual([
      { type: 'mapped', mapped: MAPPED },
    ])
    expect(binding.deadline).toBe(25_030)
    const again = (mapped: typeof MAPPED, now: number) => {
      const [out] = binding.step({ type: 'timeout' }, now)
      if (out?.type !== 'transmit') throw new Error('asks again')
      return binding.step({ type: 'datagram', data: success(parseStun(out.data).transaction, mapped) }, now + 30)
    }
    expect(again(MAPPED, 25_030)).toEqual([])
    expect(again({ ...MAPPED, port: 40_001 }, 50_060)).toMatchObject([{ type: 'mapped', mapped: { port: 40_001 } }])
  })

  test('answers to other transactions, requests and octets of any kind change nothing', () => {
    const { binding, transaction } = asked()
    const other = transaction.slice()
    other[0]! ^= 1
    const request = serializeStun({ class: 'request', method: StunMethod.Binding, transaction, attributes: [] })
    const empty = serializeStun({ class: 'success', method: StunMethod.Binding, transaction, attributes: [] })
    const wrongMethod = serializeStun({ class: 'success', method: 3, transaction, attributes: [] })
    for (const data of [success(other), request, empty, wrongMethod])
      expect(binding.step({ type: 'datagram', data }, 30)).toEqual([])
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), data => {
        expect(binding.step({ type: 'datagram', data }, 30)).toEqual([])
      }),
    )
    expect(binding.step({ type: 'datagram', data: success(transaction) }, 40)).toHaveLength(1)
  })

  test('a refusal is told in the words of the server', () => {
    const { binding, transaction } = asked()
    const data = serializeStun({
      class: 'error',
      method: StunMethod.Binding,
      transaction,
      attributes: [{ type: 'ERROR-CODE', value: { code: 401, reason: 'Unauthenticated' } }],
    })
    expect(binding.step({ type: 'datagram', data }, 30)).toEqual([{ type: 'failed', why: '401 Unauthenticated' }])
  })
})

describe('a detection and servers that do strange things', () => {
  const locals = [40_000, 41_000].map(port => ({ address: '10.1.0.5', port }))

  /** Answers everything by `answer`, until the end. */
  function run(
    answer: (changed: boolean) => {
      readonly from?: typeof SERVER
      readonly other?: typeof SERVER
      readonly error?: number
    },
  ) {
    const detection = new Detection({ server: SERVER, sockets: locals }, new SeededRng(1))
    let now = 0
    const queue = [...detection.step({ type: 'start' }, now)]
    for (;;) {
      const out = queue.shift()
      if (out?.type === 'done') return out.report
      if (out?.type === 'transmit' && out.to.address.startsWith('203.')) {
        const request = parseStun(out.data)
        const changed = request.attributes.some(({ type }) => type === 'CHANGE-REQUEST')
        const { from = out.to, other, error } = answer(changed)
        const data = serializeStun({
          class: error === undefined ? 'success' : 'error',
          method: StunMethod.Binding,
          transaction: request.transaction,
          attributes:
            error === undefined
              ? [
                  { type: 'XOR-MAPPED-ADDRESS', value: { ...MAPPED, port: 50_000 + out.socket } },
                  ...(other === undefined ? [] : [{ type: 'OTHER-ADDRESS', value: other } as const]),
                ]
              : [{ type: 'ERROR-CODE', value: { code: error, reason: 'No' } }],
        })
        queue.push(...detection.step({ type: 'datagram', socket: out.socket, from, data }, now))
      }
      if (queue.length > 0) continue
      now = detection.deadline
      queue.push(...detection.step({ type: 'timeout' }, now))
    }
  }
  const value = (report: ReturnType<typeof run>, fact: string) => report.verdicts.find(v => v.fact === fact)?.value
  const OTHER = { address: '203.0.113.31', port: 3479 }

  test('one that does not know CHANGE-REQUEST and answers all the same proves nothing about the filter', () => {
    const report = run(() => ({ other: OTHER }))
    expect(value(report, 'localNatFiltering')).toBeUndefined()
    expect(value(report, 'localNatKind')).toBeUndefined()
    expect(value(report, 'localNatMapping')).toBe('endpoint-independent')
    expect(report.probes.find(({ name }) => name === 'II')?.outcome).toMatchObject({ type: 'refused' })
  })

  test('one that refuses CHANGE-REQUEST', () => {
    const report = run(changed => (changed ? { error: 420 } : { other: OTHER }))
    expect(value(report, 'localNatFiltering')).toBeUndefined()
  })

  test.each([
    ['its own address', SERVER],
    ['the same port', { ...OTHER, port: SERVER.port }],
    ['port 0', { ...OTHER, port: 0 }],
    ['another family', { address: '2001:db8::31', port: 3479 }],
  ])('one whose other address is %s counts as one with a single address', (_, other) => {
    const report = run(() => ({ other }))
    expect(report.probes.map(({ to }) => to).filter(to => to.address !== SERVER.address)).toEqual(
      report.probes.filter(({ name }) => name.startsWith('hairpin')).map(({ to }) => to),
    )
    expect(value(report, 'localNatMapping')).toBeUndefined()
  })

  test('one that refuses everything', () => {
    const report = run(() => ({ error: 403 }))
    expect(report.mapped).toBeUndefined()
    expect(value(report, 'localNatKind')).toBeUndefined()
  })
})

describe('how ports are picked', () => {
  test.each([
    [[5000, 5001, 5002, 5003], 1],
    [[5003, 5000, 5002, 5001], 1],
    [[5000, 5002, 5004, 5010], 2],
    [[5000, 5017, 5009], 1],
    [[65_534, 65_535, 1024, 1025], 1],
    [[5000, 5000, 5000], undefined],
    [[5000, 5001], undefined],
    [[5000, 20_000, 40_000], undefined],
    [[5000, 5001, 5002, 40_000], undefined],
  ])('%j: step %s', (ports, step) => {
    expect(portRun(ports)?.step).toBe(step)
  })

  test('random ports hardly ever look like a run, and a run is one whatever else happens', () => {
    const rng = new SeededRng(1)
    const random = (n: number) => Array.from({ length: n }, () => 1024 + rng.below(64_512))
    let mistaken = 0
    for (let i = 0; i < 20_000; i++) if (portRun(random(5)) !== undefined) mistaken++
    expect(mistaken).toBe(0)
    fc.assert(
      fc.property(
        fc.nat(64_511),
        fc.constantFrom(1, 2, 3),
        fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7, 8], { minLength: 5 }),
        (start, step, order) => {
          const ports = order.map(i => 1024 + ((start + i * step) % 64_512))
          const found = portRun(ports)!.step
          expect(found % step).toBe(0)
        },
      ),
    )
  })

  test('one port that was taken does not change the verdict', () => {
    const samples = [40_000, 40_100, 40_200, 40_300].map(local => ({ local, mapped: local }))
    expect(judgeAllocation([...samples.slice(1), { local: 40_000, mapped: 1024 }])?.allocation).toBe('preserving')
    expect(judgeAllocation(samples.slice(2))).toBeUndefined()
  })
})

test.each([
  ['stun.example', 'stun.example', 3478],
  ['stun.example:19302', 'stun.example', 19_302],
  ['192.0.2.1', '192.0.2.1', 3478],
  ['192.0.2.1:1', '192.0.2.1', 1],
  ['2001:db8::1', '2001:db8::1', 3478],
  ['[2001:db8::1]:5000', '2001:db8::1', 5000],
  ['[2001:db8::1]', '2001:db8::1', 3478],
])('server %s', (text, host, port) => {
  expect(parseServer(text)).toEqual({ host, port })
})

test.each(['', ':3478', 'a:b', 'a:70000', 'a:0', 'a b', '[::1', 'a:1:2'])('no server: %j', text => {
  expect(() => parseServer(text)).toThrow(/is no STUN server/)
})
