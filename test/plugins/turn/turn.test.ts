import { describe, expect, test } from 'vitest'
import { isStun, parseStun, StunMethod, serializeStun, stunValue } from '../../../core/wire/index.ts'
import { turn } from '../../../plugins/turn/index.ts'
import { detectorSuite, pluginSuite, SeededRng } from '../../kit/index.ts'
import { CLIENT, PEER, RELAY, text, Wired } from './wired.ts'

const SERVER = { url: 'turn:203.0.113.10', username: 'alice', password: 'wonderland' }
pluginSuite(() => turn({ servers: [SERVER], serve: { users: { bob: 'b' } } }), { test })
detectorSuite(() => turn({ servers: [SERVER] }), { test })

describe('an allocation', () => {
  test('is asked for with SHA-256, and gives a relayed and a server-reflexive candidate', () => {
    const methods: string[] = []
    const wired = new Wired({
      toRelay: bytes => {
        const message = parseStun(bytes)
        methods.push(`${message.method} ${message.integritySha256 !== undefined} ${message.integrity !== undefined}`)
        return bytes
      },
    }).begin()
    expect(methods).toEqual(['3 false false', '3 true false'])
    expect(wired.relayed).toEqual({ address: '203.0.113.10', port: 50_000 })
    expect(wired.facts()).toEqual(['true: TURN server 203.0.113.10:4500 relays for this host at 203.0.113.10:50000'])
  })

  test('is refreshed for as long as the build runs, and freed when it stops', () => {
    const wired = new Wired().begin()
    wired.run(3_600_000)
    expect(wired.outs.filter(out => out.type === 'candidate-gone')).toEqual([])
    const [farewell] = wired.client.step({ type: 'stop' }, wired.now)
    if (farewell?.type === 'transmit') wired.atRelay(farewell.bytes)
    expect(wired.relayOuts).toEqual([{ type: 'unbind', local: { address: '203.0.113.10', port: 50_000 } }])
  })

  test('ends at the relay when the client is heard of no more', () => {
    const wired = new Wired().begin()
    wired.toRelay = () => undefined
    wired.run(700_000)
    expect(wired.relayOuts.filter(out => out.type === 'unbind')).toHaveLength(1)
    expect(wired.facts().at(-1)).toBe('false: turn:203.0.113.10:4500: no answer')
    expect(wired.outs.filter(out => out.type === 'candidate-gone')).toHaveLength(1)
  })

  test('is made anew when the relay has forgotten it', () => {
    const wired = new Wired().begin()
    const first = wired.relayed
    wired.relay.step({ type: 'locals', locals: [{ ...RELAY, protocol: 17, role: 'natt' }] }, wired.now)
    wired.run(25_000)
    expect(wired.facts()[1]).toContain('437')
    expect(wired.outs.at(-1)).toEqual({ type: 'resolve', host: '203.0.113.10', tag: '1' })
    wired.begin()
    expect(wired.relayed).not.toEqual(first)
  })

  test('of an earlier run on the same port is cleared away first', () => {
    const wired = new Wired().begin()
    const again = new Wired({ beside: wired }).begin()
    expect(again.facts()).toHaveLength(1)
    expect(again.relayed).toBeDefined()
    expect(again.relayOuts).toEqual([{ type: 'unbind', local: wired.relayed }])
  })

  test('is not had with a wrong password, and the reason is told', () => {
    const wired = new Wired({ server: { password: 'looking glass' } }).begin()
    expect(wired.facts()).toEqual([
      'false: turn:203.0.113.10:4500: the server does not accept name and password: 401 Unauthenticated',
    ])
    expect(wired.client.deadline).toBe(1_000)
  })

  test('nonces go stale, and that is no matter', () => {
    const wired = new Wired().begin()
    let stale = 0
    wired.toClient = bytes => {
      if (isStun(bytes, 0, bytes.length) && stunValue(parseStun(bytes), 'ERROR-CODE')?.code === 438) stale++
      return bytes
    }
    wired.run(1_300_000)
    expect(stale).toBe(2)
    expect(wired.facts()).toHaveLength(1)
  })

  test('loss of datagrams delays it, and repeated requests are answered alike', () => {
    let count = 0
    const wired = new Wired({ toClient: bytes => (++count % 2 === 0 ? bytes : undefined) }).begin()
    wired.run(10_000)
    expect(wired.relayed).toEqual({ address: '203.0.113.10', port: 50_000 })
    expect(wired.facts()).toHaveLength(1)
  })
})

describe('data', () => {
  test('waits for the permission, goes as indications, then through a channel', () => {
    const wired = new Wired().begin()
    expect(wired.send('one')).toBe(undefined)
    expect(wired.toPeers.map(({ bytes }) => text(bytes))).toEqual(['one'])
    expect(wired.send('two')).toBe(3 + 36 + 1)
    for (let i = 0; i < 7; i++) wired.send('x')
    expect(wired.send('last')).toBe(4 + 4)
    expect(text(wired.toPeers.at(-1)!.bytes)).toBe('last')
    expect(wired.toPeers.at(-1)!.flow).toEqual({ protocol: 17, local: wired.relayed, remote: PEER })
    wired.fromPeer('answer')
    expect(wired.received.map(({ bytes, flow }) => [text(bytes), flow.local, flow.remote])).toEqual([
      ['answer', wired.relayed, PEER],
    ])
    expect(wired.drops()).toEqual([])
  })

  test('comes in by indication where there is no channel, from any port of a permitted address', () => {
    const wired = new Wired().begin()
    wired.send('hole')
    wired.fromPeer('reflexive', { ...PEER, port: 61_000 })
    expect(wired.received.map(({ bytes, flow }) => [text(bytes), flow.remote.port])).toEqual([['reflexive', 61_000]])
  })

  test('from others does not come in', () => {
    const wired = new Wired().begin()
    wired.send('hole')
    wired.fromPeer('who?', { address: '192.0.2.66', port: 4500 })
    expect(wired.received).toEqual([])
    expect(wired.drops(wired.relayOuts)).toEqual(['turn-relay-permission'])
  })

  test('keeps permission and channel for as long as it flows, and lets them go when it does not', () => {
    const wired = new Wired().begin()
    for (let i = 0; i < 10; i++) wired.send('x')
    for (let minute = 1; minute <= 30; minute++) {
      wired.run(minute * 60_000)
      expect(wired.send('y')).toBe(5)
      wired.fromPeer('z')
      expect(wired.received).toHaveLength(minute)
    }
    wired.run(50 * 60_000)
    wired.fromPeer('late')
    expect(wired.received).toHaveLength(30)
    expect(wired.send('again')).toBe(undefined)
    expect(text(wired.toPeers.at(-1)!.bytes)).toBe('again')
  })

  test('to where the relay does not go is dropped and counted', () => {
    const wired = new Wired().begin()
    wired.send('in', { address: '10.0.0.5', port: 4500 })
    wired.send('in', { address: '10.0.0.5', port: 4500 })
    wired.run(1)
    expect(wired.toPeers).toEqual([])
    expect(wired.drops()).toEqual(['turn-refused', 'turn-refused'])
  })

  test('to more remote ends than anybody has goes nowhere', () => {
    const wired = new Wired().begin()
    for (let i = 0; i < 300; i++) wired.send('x', { address: `192.0.2.${i % 250}`, port: 1_000 + i })
    expect(wired.toPeers).toHaveLength(256)
    expect(wired.drops()).toHaveLength(44)
  })
})

describe('hostile datagrams', () => {
  test('a success that nobody signed makes no candidate', () => {
    const wired = new Wired({
      toClient: bytes => {
        const { transaction } = parseStun(bytes)
        return serializeStun({
          class: 'success',
          method: StunMethod.Allocate,
          transaction,
          attributes: [
            { type: 'XOR-RELAYED-ADDRESS', value: { address: '192.0.2.66', port: 666 } },
            { type: 'LIFETIME', value: 600 },
          ],
        })
      },
    }).begin()
    expect(wired.relayed).toBe(undefined)
    expect(wired.drops()).toEqual(['turn-integrity'])
  })

  test('a challenge without the better algorithms that its nonce speaks of is ignored', () => {
    const wired = new Wired({
      toClient: bytes => {
        const message = parseStun(bytes)
        const attributes = message.attributes.filter(({ type }) => type !== 'PASSWORD-ALGORITHMS')
        return serializeStun({ ...message, attributes })
      },
    }).begin()
    expect(wired.drops()).toEqual(['turn-challenge'])
    wired.run(60_000)
    expect(wired.facts()).toEqual(['false: turn:203.0.113.10:4500: no answer'])
  })

  test('a list of algorithms that was shortened on the way is refused by the relay', () => {
    const wired = new Wired({
      toClient: bytes => {
        const message = parseStun(bytes)
        const attributes = message.attributes.map(a =>
          a.type === 'PASSWORD-ALGORITHMS' ? { type: a.type, value: a.value.slice(1) } : a,
        )
        return serializeStun({ ...message, attributes })
      },
    }).begin()
    expect(wired.relayed).toBe(undefined)
  })

  test('redirections end, and lead nowhere strange', () => {
    for (const value of [
      { address: '127.0.0.1', port: 3478 },
      { address: '2001:db8::1', port: 3478 },
      { address: '203.0.113.11', port: 0 },
    ]) {
      const wired = new Wired({ toClient: redirect(value) }).begin()
      expect(wired.facts()[0]).toMatch(/points to .*, where this host does not go$/)
    }
    const wired = new Wired({ toClient: redirect({ address: '203.0.113.10', port: 4500 }) }).begin()
    expect(wired.facts()[0]).toMatch(/where this host does not go$/)
  })

  test('a relay at an address of this very host is not believed', () => {
    const wired = new Wired({ serve: { external: CLIENT.address } })
    Object.assign(wired, { toClient: (bytes: Uint8Array) => bytes })
    wired.begin()
    expect(wired.relayed).toEqual({ address: CLIENT.address, port: 50_000 })
    wired.client.step(
      { type: 'locals', locals: [{ address: CLIENT.address, port: 50_000, protocol: 17, role: 'natt' }] },
      0,
    )
    expect(wired.client.deadline).toBe(1_000)
  })

  test('truncated and changed answers of the relay change nothing', () => {
    const answers: Uint8Array[] = []
    const wired = new Wired({ toClient: bytes => keep(answers, bytes) }).begin()
    for (let i = 0; i < 10; i++) wired.send('x')
    wired.fromPeer('data')
    const [relayed, received] = [wired.relayed, wired.received.length]
    const rng = new SeededRng('mutations')
    for (const answer of answers)
      for (let i = 0; i < answer.length; i++) {
        wired.atClient(answer.subarray(0, i))
        const changed = answer.slice()
        changed[i] = rng.u32()
        wired.atClient(changed)
        wired.atClient(answer)
      }
    expect(wired.relayed).toEqual(relayed)
    expect(wired.facts()).toHaveLength(1)
    expect(wired.received.length).toBeGreaterThan(received)
    expect(wired.send('still')).toBe(4 + 5)
  })

  test('truncated, changed and replayed requests of clients change nothing at the relay', () => {
    const requests: Uint8Array[] = []
    const wired = new Wired({ toRelay: bytes => keep(requests, bytes) }).begin()
    for (let i = 0; i < 10; i++) wired.send('x')
    wired.toClient = () => undefined
    const rng = new SeededRng('mutations')
    const stranger = { address: '192.0.2.66', port: 4500 }
    for (const request of [...requests])
      for (let i = 0; i < request.length; i++) {
        const changed = request.slice()
        changed[i] = changed[i]! ^ (1 + (rng.u32() % 255))
        for (const from of [CLIENT, stranger]) {
          wired.atRelay(request.subarray(0, i), from)
          wired.atRelay(changed, from)
          wired.atRelay(request, stranger)
        }
      }
    wired.toClient = bytes => bytes
    wired.run(3_000)
    wired.fromPeer('still')
    expect(wired.received.map(({ bytes }) => text(bytes))).toEqual(['still'])
    expect(
      wired.toPeers.filter(({ flow }) => flow.local.port !== 4500 && flow.remote.address !== PEER.address),
    ).toEqual([])
  })

  test('a flood of requests is answered up to a limit', () => {
    const wired = new Wired()
    let answers = 0
    wired.toClient = bytes => {
      answers++
      return bytes
    }
    wired.begin()
    const request = serializeStun({
      class: 'request',
      method: StunMethod.Allocate,
      transaction: new Uint8Array(12),
      attributes: [],
    })
    for (let i = 0; i < 10_000; i++) wired.atRelay(request)
    expect(answers).toBeLessThan(600)
    expect(wired.drops(wired.relayOuts)).toContain('turn-relay-flood')
  })

  test('random octets from the server’s address', () => {
    const wired = new Wired().begin()
    const rng = new SeededRng('noise')
    for (let i = 0; i < 2_000; i++) {
      const noise = rng.bytes(rng.u32() % 80)
      if (i % 2 === 0 && noise.length > 8) noise.set([0x01, 3, 0, noise.length - 20, 0x21, 0x12, 0xa4, 0x42])
      if (i % 3 === 0 && noise.length > 0) noise[0] = 0x40
      wired.atClient(noise)
      wired.atRelay(noise)
    }
    expect(wired.facts()).toHaveLength(1)
  })
})

describe('a relay', () => {
  test('gives a user no more than a few allocations, and all of them no more than it has', () => {
    for (const [limit, code] of [
      [{ perUser: 1 }, 486],
      [{ total: 1 }, 508],
    ] as const) {
      const one = new Wired({ serve: limit }).begin()
      const other = new Wired({ beside: one, at: { ...CLIENT, port: 4501 } }).begin()
      expect(other.facts()[0]).toContain(`the server refuses: ${code}`)
      expect(one.relayed).toBeDefined()
    }
  })
})

function keep(list: Uint8Array[], bytes: Uint8Array): Uint8Array {
  list.push(bytes)
  return bytes
}

const redirect = (value: { address: string; port: number }) => (bytes: Uint8Array) => {
  const { method, transaction } = parseStun(bytes)
  return serializeStun({
    class: 'error',
    method,
    transaction,
    attributes: [
      { type: 'ERROR-CODE', value: { code: 300, reason: 'Try Alternate' } },
      { type: 'ALTERNATE-SERVER', value },
    ],
  })
}
