import { describe, expect, test } from 'vitest'
import {
  type Flow,
  type PathStrategy,
  type Plugin,
  SERVICE,
  type Service,
  type ServiceIn,
  type ServiceOut,
  STRATEGY,
  showEndpoint,
} from '../../core/index.ts'
import { topologies } from '../kit/index.ts'
import { clients, drive, node, ping, toMoon } from './support.ts'

/** What a stranger's plugin can do beside IKE, by the public contract alone. */

const EXCHANGE = 241
const NOTIFY = 50_000
const word = (text: string) =>
  ({ type: 'N', protocol: 0, notify: NOTIFY, spi: new Uint8Array(0), data: text8(text) }) as const
const text8 = (text: string): Uint8Array => new TextEncoder().encode(text)

class Spy implements Service {
  readonly exchanges = [EXCHANGE]
  readonly heard: ServiceIn[] = []
  deadline = Infinity
  reroute: NonNullable<Service['reroute']> = () => undefined
  readonly #react: (input: ServiceIn, now: number) => readonly ServiceOut[]

  constructor(react: (input: ServiceIn, now: number) => readonly ServiceOut[]) {
    this.#react = react
  }

  step(input: ServiceIn, now: number): readonly ServiceOut[] {
    this.heard.push(input.type === 'datagram' ? { ...input, bytes: input.bytes.slice() } : input)
    return this.#react(input, now)
  }

  claims: NonNullable<Service['claims']> = ({ bytes, start, end }) =>
    end - start === 4 && bytes[start] === 0x50 ? 'mine' : undefined

  of<T extends ServiceIn['type']>(type: T): Extract<ServiceIn, { type: T }>[] {
    return this.heard.filter((i): i is Extract<ServiceIn, { type: T }> => i.type === type)
  }
}

const plugin = (spy: Spy): Plugin => ({
  name: 'spy',
  api: 1,
  register: container => {
    container.register(SERVICE, { useValue: () => spy })
  },
})

async function pair(
  alicesReaction: ConstructorParameters<typeof Spy>[0],
  moonsReaction = alicesReaction,
  prepare: (hers: Spy) => void = () => {},
) {
  const topology = topologies.nat1({ seed: 1, trace: false })
  const [hers, his] = [new Spy(alicesReaction), new Spy(moonsReaction)]
  prepare(hers)
  const a = await node(topology.net, topology.alice, { peers: [toMoon()], plugins: [plugin(hers)] })
  const m = await node(topology.net, topology.moon, { peers: [clients()], plugins: [plugin(his)] })
  return { ...topology, a, m, hers, his }
}

describe('a service', () => {
  test('is told of the start, the sockets, the candidates, and of IKE SAs for as long as they live', async () => {
    const { net, a, hers, his } = await pair(() => [])
    expect(hers.heard.map(i => i.type)).toEqual(['start', 'locals', 'candidates'])
    expect(hers.of('candidates')[0]!.candidates.map(c => `${c.kind} ${showEndpoint(c.endpoint)}`)).toEqual([
      'host 10.1.0.5:4500',
      'host [2001:db8:a::5]:4500',
    ])
    await a.connect('moon')
    const [up] = hers.of('sa-up')
    expect(up!.sa).toMatchObject({ peer: 'moon', initiator: true, remoteId: { value: 'moon.example' } })
    expect(his.of('sa-up')[0]!.sa).toMatchObject({ peer: 'clients', initiator: false })
    const rekeyed = a.natweave.rekey('moon')
    await net.advance(2_000)
    await rekeyed
    const gone = a.natweave.disconnect('moon')
    await net.advance(2_000)
    await gone
    expect(hers.of('sa-up')).toHaveLength(1)
    expect(hers.of('sa-down').map(i => i.sa.id)).toEqual([up!.sa.id])
    expect(his.of('sa-down')).toHaveLength(1)
  })

  test('speaks an exchange of its own over the IKE SA, also after that was rekeyed', async () => {
    const ask = (sa: string): ServiceOut => ({
      type: 'request',
      sa,
      exchange: EXCHANGE,
      payloads: [word('hello')],
      tag: 'q',
    })
    const { net, a, hers, his } = await pair(
      input => (input.type === 'sa-up' ? [ask(input.sa.id)] : []),
      input =>
        input.type === 'request'
          ? [
              { type: 'drop', reason: 'spy-asked' },
              { type: 'respond', payloads: [word('hi')] },
            ]
          : [],
    )
    await a.connect('moon')
    await net.advance(1_000)
    expect(his.of('request')[0]!.payloads).toMatchObject([{ notify: NOTIFY, data: text8('hello') }])
    expect(hers.of('response')[0]).toMatchObject({ tag: 'q', payloads: [{ notify: NOTIFY, data: text8('hi') }] })
    expect(hers.of('response')[0]!.sa.id).toBe(hers.of('sa-up')[0]!.sa.id)
  })

  test('that does not answer has the peer told INVALID_SYNTAX, which ends that IKE SA', async () => {
    const { net, a, hers } = await pair(
      input =>
        input.type === 'sa-up'
          ? [{ type: 'request', sa: input.sa.id, exchange: EXCHANGE, payloads: [], tag: 'q' }]
          : [],
      () => [],
    )
    await a.connect('moon')
    await net.advance(1_000)
    expect(hers.of('response')[0]!.payloads).toMatchObject([{ type: 'N', notify: 7 }])
  })

  test('claims datagrams before IKE and ESP see them, and sends its own', async () => {
    const { net, a, m, his } = await pair(
      input => (input.type === 'sa-up' ? [{ type: 'transmit', bytes: text8('Ping'), flow: input.sa.flow }] : []),
      () => [],
    )
    await a.connect('moon')
    await net.advance(1_000)
    expect(his.of('datagram').map(i => new TextDecoder().decode(i.bytes))).toEqual(['Ping'])
    expect(his.of('datagram')[0]!.flow.remote.address).toBe('198.51.100.1')
    expect(m.natweave.status().drops).toEqual({})
  })

  test('takes what its relay cannot carry yet, and sends it itself', async () => {
    const relayed = { address: '203.0.113.10', port: 50_000 }
    const base = { address: '10.1.0.5', port: 4500 }
    const moon = { address: '203.0.113.20', port: 4500 }
    const flow: Flow = { protocol: 17, local: relayed, remote: moon }
    const candidate = { kind: 'relayed', endpoint: relayed, base: relayed, source: 'spy', until: Infinity } as const
    const { net, his, hers } = await pair(
      input => {
        if (input.type === 'start') return [{ type: 'candidate', candidate }]
        if (input.type === 'candidates') return [{ type: 'transmit', bytes: text8('Ping'), flow }]
        return []
      },
      () => [],
      spy => {
        let asked = false
        spy.reroute = (packet, { local }) => {
          if (local.port !== relayed.port) return undefined
          expect(packet.end - packet.start).toBe(4)
          if (asked) return { protocol: 17, local: base, remote: moon }
          asked = true
          return 'taken'
        }
      },
    )
    await net.advance(1_000)
    expect(his.of('datagram')).toHaveLength(hers.of('candidates').length - 1)
    expect(hers.of('candidates').length).toBeGreaterThan(1)
  })

  test('takes leave when the build stops, before the sockets close', async () => {
    const remote = { address: '203.0.113.20', port: 4500 }
    const flow: Flow = { protocol: 17, local: { address: '10.1.0.5', port: 4500 }, remote }
    const { net, a, his } = await pair(
      input => (input.type === 'stop' ? [{ type: 'transmit', bytes: text8('Ping'), flow }] : []),
      () => [],
    )
    await a.natweave.stop()
    await net.advance(1_000)
    expect(his.of('datagram')).toHaveLength(1)
  })

  test('has names looked up and further sockets bound, and moves an IKE SA to one of them without losing a packet', async () => {
    let flow: Flow | undefined
    const { net, alice, a, m, hers } = await pair(
      input => {
        if (input.type === 'start') return [{ type: 'resolve', host: '203.0.113.20', tag: 'name' }]
        if (input.type === 'sa-up' && input.sa.initiator) {
          flow = input.sa.flow
          return [{ type: 'bind', address: flow.local.address, tag: input.sa.id }]
        }
        if (input.type === 'bound' && input.local !== undefined && flow !== undefined) {
          const { address, port } = input.local
          return [{ type: 'move', sa: input.tag, flow: { ...flow, local: { address, port } } }]
        }
        return []
      },
      () => [],
    )
    await net.settle()
    expect(hers.of('resolved')).toMatchObject([{ tag: 'name', addresses: ['203.0.113.20'], source: '10.1.0.5' }])
    await a.connect('moon')
    await net.settle()
    const local = hers.of('bound')[0]!.local!
    expect(local.role).toBe('extra')
    expect(await ping(net, alice, '10.3.0.5', 5)).toBe(5)
    expect(a.peer('moon').local).toBe(`10.1.0.5:${local.port}`)
    expect(hers.of('sa-moved')).toHaveLength(1)
    expect(m.peer('clients').state).toBe('established')
  })

  test('adds candidates, which end with their time, and facts, which every peer then has', async () => {
    const base = { address: '10.1.0.5', port: 4500 }
    const endpoint = { address: '198.51.100.1', port: 4500 }
    const candidate = { kind: 'server-reflexive', endpoint, base, source: 'spy', until: 5_000 } as const
    const fact = { value: 'endpoint-independent', source: 'spy', at: 0 }
    const { net, a, hers } = await pair(
      input =>
        input.type === 'start'
          ? [
              { type: 'candidate', candidate },
              { type: 'fact', name: 'spyFact', fact },
            ]
          : [],
      () => [],
    )
    const listed = (): string[] => a.natweave.status().candidates.map(c => `${c.kind} ${c.endpoint}`)
    const hosts = ['host 10.1.0.5:4500', 'host [2001:db8:a::5]:4500']
    expect(listed()).toEqual([...hosts, 'server-reflexive 198.51.100.1:4500'])
    await a.connect('moon')
    expect(a.fact('moon', 'spyFact')).toBe('endpoint-independent')
    await net.advance(6_000)
    expect(listed()).toEqual(hosts)
    expect(hers.of('candidates').at(-1)!.candidates).toHaveLength(2)
  })
})

describe('a stranger that throws', () => {
  test.each(['start', 'locals', 'candidates', 'sa-up', 'timeout', 'sa-down'] as const)(
    'in step(%s): it is stopped and named, everything else goes on',
    async at => {
      const { net, alice, a, hers } = await pair(
        input => {
          if (input.type === at) throw new TypeError('undefined is not a function')
          return []
        },
        () => [],
        spy => {
          if (at === 'timeout') spy.deadline = 500
        },
      )
      await net.advance(1_000)
      await a.connect('moon')
      expect(await ping(net, alice, '10.3.0.5')).toBe(3)
      await drive(net, a.natweave.disconnect('moon'))
      const why = `step('${at}') has thrown TypeError: undefined is not a function`
      expect(a.of('plugin-failed').map(({ plugin, why }) => ({ plugin, why }))).toEqual([{ plugin: 'spy', why }])
      expect(a.natweave.status().drops).toEqual({ 'plugin-failed': 1 })
      expect(hers.of(at)).toHaveLength(1)
      expect(hers.heard.at(-1)!.type).toBe(at)
    },
  )

  test('in claims: the datagram is looked at by the others, as it came', async () => {
    const { net, alice, a, hers } = await pair(() => [])
    hers.claims = packet => {
      packet.start += 4
      throw new Error('no')
    }
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(a.of('plugin-failed').map(e => e.why)).toEqual(['claims has thrown Error: no'])
  })

  test('in reroute: what it had in its hands is lost, nothing else', async () => {
    const { net, alice, a, hers } = await pair(() => [])
    hers.reroute = () => {
      throw 'a word'
    }
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(a.of('plugin-failed').map(e => e.why)).toEqual(['reroute has thrown a word'])
  })

  test('a deadline that is no number keeps nobody else waiting', async () => {
    const { net, alice, a } = await pair(
      () => [],
      () => [],
      spy => {
        spy.deadline = Number.NaN
      },
    )
    await a.connect('moon')
    await net.advance(60_000)
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })

  test('a path that throws while it looks: its peer is told, and other paths are tried', async () => {
    const { net, alice, moon } = topologies.nat1({ seed: 1, trace: false })
    const lost: PathStrategy = {
      slot: 'path',
      name: 'lost',
      solves: [],
      assess: () => ({ usable: true, cost: { octets: 0, roundTrips: 0, trusts: [] } }),
      serve: () => ({
        deadline: Infinity,
        step: input => {
          if (input.type === 'find') throw new RangeError('lost')
          return []
        },
      }),
    }
    const stranger: Plugin = {
      name: 'stranger',
      api: 1,
      register: container => void container.register(STRATEGY, { useFactory: () => lost }),
    }
    const rules = [{ at: 'policy.rules[0]', peers: [], when: {}, use: [], prefer: ['lost'], avoid: [] }]
    const a = await node(net, alice, { peers: [toMoon()], plugins: [stranger], rules })
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(a.peer('moon').plan?.path).toBe('direct')
    expect(a.of('plugin-failed').map(e => [e.plugin, e.why])).toEqual([
      ['stranger', "step('find') has thrown RangeError: lost"],
    ])
    await drive(net, a.natweave.disconnect('moon'))
    await a.connect('moon')
    expect(a.of('plugin-failed')).toHaveLength(1)
  })
})
