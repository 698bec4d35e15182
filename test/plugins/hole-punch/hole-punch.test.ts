import { describe, expect, test } from 'vitest'
import { type Flow, HEADROOM, newPacket, type PeerSettings, type ServiceOut } from '../../../core/index.ts'
import { Prf, parseStun, type StunHmac } from '../../../core/wire/index.ts'
import { type HolePunchOptions, holePunch } from '../../../plugins/hole-punch/index.ts'
import { type Content, Method, read, write } from '../../../plugins/hole-punch/messages.ts'
import { parseOptions } from '../../../plugins/hole-punch/options.ts'
import { HolePunchService } from '../../../plugins/hole-punch/service.ts'
import { nodeCryptoProvider as crypto } from '../../../plugins/node-crypto/index.ts'
import { pluginSuite, SeededRng, strategySuite } from '../../kit/index.ts'

const SECRET = 'a secret of all members'
const make = () => holePunch({ secret: SECRET, server: '203.0.113.10', name: 'alice', serve: true })
pluginSuite(make, { test })
strategySuite(make, { test, facts: { rendezvous: ['203.0.113.10:4500', false] } })

const hmacOf = (secret: string): StunHmac => {
  const key = new TextEncoder().encode(secret)
  return data => crypto.prf(Prf.PRF_HMAC_SHA2_256, key, data)
}
const hmac = hmacOf(SECRET)
const SERVER = { address: '203.0.113.10', port: 4500 }
const MEMBER = { address: '198.51.100.2', port: 4500 }
const atServer = (remote = MEMBER): Flow => ({ protocol: 17, local: SERVER, remote })
const transaction = Uint8Array.from({ length: 12 }, (_, i) => i)
const candidate = { kind: 'host', endpoint: { address: '192.0.2.7', port: 4500 }, priority: 1 } as const

const peers: readonly PeerSettings[] = []
const server = (): HolePunchService =>
  new HolePunchService({ crypto, rng: new SeededRng('server'), peers }, parseOptions({ secret: SECRET, serve: true }))

const deliver = (service: HolePunchService, bytes: Uint8Array, flow: Flow, now = 0): readonly ServiceOut[] => {
  const packet = newPacket(HEADROOM + 2_000)
  packet.bytes.set(bytes, HEADROOM)
  packet.end = HEADROOM + bytes.length
  return service.claims(packet, flow) === 'mine' ? service.step({ type: 'datagram', bytes, flow }, now) : []
}

const answer = (outs: readonly ServiceOut[]): Content & { readonly kind: string } => {
  const [out] = outs
  if (out?.type !== 'transmit') throw new Error(`no answer but ${JSON.stringify(outs)}`)
  const message = parseStun(out.bytes)
  return { ...read(out.bytes, message, hmac)!, kind: message.class }
}

const registration = (nonce?: Uint8Array, name = 'bob', by = hmac): Uint8Array =>
  write('request', Method.Register, transaction, { name, nonce, token: new Uint8Array(16) }, by)

const registered = (): HolePunchService => {
  const service = server()
  const { nonce } = answer(deliver(service, registration(), atServer()))
  expect(answer(deliver(service, registration(nonce), atServer()))).toMatchObject({ kind: 'success', mapped: MEMBER })
  return service
}

describe('the rendezvous', () => {
  test('registers a member only from where it receives', () => {
    const service = server()
    const { nonce, error } = answer(deliver(service, registration(), atServer()))
    expect(error?.code).toBe(438)
    const elsewhere = atServer({ address: '192.0.2.66', port: 4500 })
    expect(answer(deliver(service, registration(nonce), elsewhere)).error?.code).toBe(438)
    expect(answer(deliver(service, registration(nonce), atServer(), 700_000)).error?.code).toBe(438)
    expect(answer(deliver(service, registration(nonce), atServer())).kind).toBe('success')
  })

  test('does not answer who has not the secret, nor what was changed or cut', () => {
    const service = registered()
    const rng = new SeededRng('mutations')
    const whole = registration()
    expect(deliver(service, registration(undefined, 'bob', hmacOf('another secret!!')), atServer())).toEqual([
      { type: 'drop', reason: 'rendezvous-integrity' },
    ])
    for (let i = 0; i < whole.length; i++) {
      const changed = whole.slice()
      changed[i] = changed[i]! ^ (1 + (rng.u32() % 255))
      for (const bytes of [changed, whole.subarray(0, i)])
        expect(deliver(service, bytes, atServer()).filter(out => out.type !== 'drop')).toEqual([])
    }
  })

  test('forwards an answer only from the member that was asked, once it was asked', () => {
    const service = registered()
    const requester = atServer({ address: '198.51.100.1', port: 4500 })
    const key = new Uint8Array(16)
    const asking = (nonce?: Uint8Array): Uint8Array =>
      write(
        'request',
        Method.Connect,
        transaction,
        { name: 'alice', peer: 'bob', candidates: [candidate], key, nonce },
        hmac,
      )
    const { nonce } = answer(deliver(service, asking(), requester))
    const [invitation] = deliver(service, asking(nonce), requester)
    expect(invitation).toMatchObject({ type: 'transmit', flow: atServer() })
    const accepting = write('success', Method.Invite, transaction, { candidates: [candidate], key }, hmac)
    const unexpected = [{ type: 'drop', reason: 'rendezvous-unexpected' }]
    expect(deliver(service, accepting, atServer({ address: '192.0.2.66', port: 4500 }))).toEqual(unexpected)
    expect(deliver(service, accepting, atServer())).toMatchObject([{ type: 'transmit', flow: requester }])
    expect(deliver(service, accepting, atServer(), 20_000)).toEqual(unexpected)
  })

  test('looks at no more messages than it can', () => {
    const service = registered()
    const outs = Array.from({ length: 2_000 }, () => deliver(service, registration(), atServer())[0]!)
    expect(outs.filter(out => out.type === 'transmit').length).toBeLessThan(600)
    expect(outs.at(-1)).toEqual({ type: 'drop', reason: 'rendezvous-flood' })
  })
})

describe('a member', () => {
  const FLOW: Flow = { protocol: 17, local: MEMBER, remote: SERVER }

  /** Registered at a server that the test plays. */
  const member = (): { service: HolePunchService; token: Uint8Array } => {
    const settings = parseOptions({ secret: SECRET, server: '203.0.113.10', name: 'bob' })
    const service = new HolePunchService({ crypto, rng: new SeededRng('member'), peers }, settings)
    service.step({ type: 'locals', locals: [{ ...MEMBER, protocol: 17, role: 'natt' }] }, 0)
    service.step({ type: 'start' }, 0)
    const outs = service.step(
      { type: 'resolved', tag: 'server', addresses: [SERVER.address], source: MEMBER.address },
      0,
    )
    const [out] = outs
    if (out?.type !== 'transmit') throw new Error('it registers at once')
    const asked = parseStun(out.bytes)
    const { token } = read(out.bytes, asked, hmac)!
    deliver(service, write('success', Method.Register, asked.transaction, { mapped: MEMBER }, hmac), FLOW)
    return { service, token: token! }
  }
  const invitation = (token: Uint8Array, id = transaction, by = hmac): Uint8Array =>
    write('request', Method.Invite, id, { name: 'alice', candidates: [candidate], key: new Uint8Array(16), token }, by)

  test('checks candidates for an invitation that is its own and new; the same again is answered alike', () => {
    const { service, token } = member()
    const outs = deliver(service, invitation(token), FLOW)
    expect(outs[0]).toMatchObject({ type: 'transmit', flow: FLOW })
    const again = deliver(service, invitation(token), FLOW)
    expect(again).toEqual([outs[0]])
  })

  test('ignores old, forged and misdirected invitations, and sends nothing to anybody', () => {
    const { service, token } = member()
    expect(deliver(service, invitation(new Uint8Array(16).fill(9)), FLOW)).toEqual([
      { type: 'drop', reason: 'rendezvous-invitation' },
    ])
    expect(deliver(service, invitation(token, transaction, hmacOf('another secret!!')), FLOW)).toEqual([
      { type: 'drop', reason: 'rendezvous-integrity' },
    ])
    const elsewhere: Flow = { ...FLOW, remote: { address: '192.0.2.66', port: 4500 } }
    expect(deliver(service, invitation(token), elsewhere)).toEqual([{ type: 'drop', reason: 'rendezvous-unexpected' }])
  })

  test('holds a limited number of connections that others want', () => {
    const { service, token } = member()
    const accepted = Array.from({ length: 300 }, (_, i) => {
      const id = transaction.slice()
      id.set([i >> 8, i & 0xff])
      return deliver(service, invitation(token, id), FLOW)
    })
    expect(accepted.at(-1)).toEqual([{ type: 'drop', reason: 'rendezvous-full' }])
    expect(accepted.filter(outs => outs[0]?.type === 'transmit')).toHaveLength(256)
  })
})

test.each<[unknown, string]>([
  [{}, 'secret: a secret of at least 16 characters is wanted'],
  [{ secret: 'short', serve: true }, 'secret: a secret of at least 16 characters is wanted'],
  [{ secret: SECRET }, 'server: neither a server to ask nor serve, to be one: nothing to do'],
  [{ secret: SECRET, server: 'x' }, 'name: a name of at most 100 characters is wanted'],
  [{ secret: SECRET, server: 'x:0', name: 'a' }, 'server: "x:0": HOST or HOST:PORT is wanted'],
  [{ secret: SECRET, serve: 'yes' }, 'serve: true or false is wanted'],
  [{ secret: SECRET, serve: true, port: 1 }, 'port: no such option; there are secret, server, name, serve'],
])('%j is refused', (options, message) => {
  expect(() => holePunch(options as HolePunchOptions)).toThrow(message)
})
