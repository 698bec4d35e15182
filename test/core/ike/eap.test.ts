import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { EapContext, EapConversation, EapMethod, EapSecrets, EapStep } from '../../../core/contracts/eap.ts'
import type { AuthSettings, EapSettings } from '../../../core/contracts/settings.ts'
import { resolveCredentials } from '../../../core/credentials.ts'
import { EapPeer, EapServer } from '../../../core/ike/eap.ts'
import { EapCode, EapType, readEap, writeEap } from '../../../core/wire/index.ts'
import { mschapv2 } from '../../../plugins/eap-mschapv2/index.ts'
import { credentials } from '../../../plugins/x509/credentials.ts'
import { SeededRng } from '../../kit/rng.ts'
import { dns, issue, trusting } from '../../plugins/x509/authority.ts'
import { chart, moon, Pair, sun } from './pair.ts'

/** IKE_AUTH of several rounds. */

const octets = (text: string): Uint8Array => new TextEncoder().encode(text)
const root = await issue({ subject: 'CN=Root', ca: true })
const gateway = await issue({ subject: 'CN=sun', issuer: root, names: [dns('sun.example')] })

const client = (name = 'alice', password = 'wonderland'): EapSettings => ({
  method: 'mschapv2',
  user: { name, password: octets(password) },
})
const server: EapSettings = {
  method: 'mschapv2',
  users: new Map([
    ['alice', octets('wonderland')],
    ['bob', octets('builder')],
  ]),
}

const bound = (conversation: EapConversation): EapConversation => ({ receive: data => conversation.receive(data) })

/** moon calls by name and password, sun proves itself by a certificate. */
function pair(own: EapSettings, more: Partial<Parameters<typeof moon>[0]> = {}, method = mschapv2): Pair {
  const left: AuthSettings = { local: { type: 'eap' }, remote: trusting([root]), eap: own }
  const right: AuthSettings = {
    local: { type: 'signature', certificates: [gateway.der], key: gateway.key },
    remote: { type: 'eap' },
    eap: server,
  }
  const peers = [sun({ auth: left }), moon({ auth: right, remoteId: { type: 'any' }, ...more })]
  const opened = (i: number) =>
    Object.fromEntries(
      resolveCredentials(
        { peers: { [peers[i]!.name]: peers[i] } } as never,
        [credentials],
        [i === 0 ? method : mschapv2],
      ),
    )
  return new Pair({
    sun: peers[0]!,
    moon: peers[1]!,
    left: { credentials: opened(0) },
    right: { credentials: opened(1) },
  })
}

test('name and password against a certificate, message by message', () => {
  const p = pair(client()).established()
  expect(chart(p.left).slice(2)).toEqual([
    '> IKE_AUTH request 1 [ IDi N(INITIAL_CONTACT) CERTREQ IDr SA TSi TSr ]',
    '< IKE_AUTH response 1 [ IDr CERT AUTH EAP ]',
    '> IKE_AUTH request 2 [ EAP ]',
    '< IKE_AUTH response 2 [ EAP ]',
    '> IKE_AUTH request 3 [ EAP ]',
    '< IKE_AUTH response 3 [ EAP ]',
    '> IKE_AUTH request 4 [ EAP ]',
    '< IKE_AUTH response 4 [ EAP ]',
    '> IKE_AUTH request 5 [ AUTH ]',
    '< IKE_AUTH response 5 [ AUTH SA TSi TSr ]',
  ])
  expect([p.left, p.right].map(end => end.of('child-up').length)).toEqual([1, 1])
  const [there] = [...p.right.sas.values()]
  expect(there?.remoteId).toEqual({ type: 'fqdn', value: 'alice' })
})

test('every message is lost once', () => {
  const p = pair(client())
  const seen = new Set<string>()
  p.fate = datagram => {
    const key = `${datagram.to} ${Buffer.from(datagram.bytes).toString('hex')}`
    if (seen.has(key)) return [datagram]
    seen.add(key)
    return []
  }
  p.connect()
  p.run(30_000)
  expect([p.left, p.right].map(end => end.of('child-up').length)).toEqual([1, 1])
})

describe('refused', () => {
  test.each([
    [
      'another password',
      client('alice', 'looking glass'),
      /user name or password is wrong \(peers.sun.eap\)/,
      /alice: user name or password is wrong/,
    ],
    ['nobody knows the name', client('mallory'), /user name or password is wrong/, /mallory: user name or password/],
  ])('%s', (_name, own, left, right) => {
    const p = pair(own).established()
    expect(p.left.of('closed')[0]?.why).toMatch(left)
    expect(p.right.of('closed')[0]?.why).toMatch(right)
    expect(p.left.of('established').length + p.right.of('established').length).toBe(0)
  })

  test('a client that gives up with an INFORMATIONAL, as strongSwan does', () => {
    const curt: EapMethod = {
      ...mschapv2,
      peer: (...given) => {
        const { receive, ...conversation } = bound(mschapv2.peer(...given))
        const without = (step: EapStep): EapStep => (step.type === 'failed' ? { type: 'failed', why: step.why } : step)
        return { ...conversation, receive: data => without(receive(data)) }
      },
    }
    const p = pair(client('alice', 'looking glass'), {}, curt).established()
    expect(chart(p.left).at(-1)).toBe('> INFORMATIONAL request 4 [ N(AUTHENTICATION_FAILED) ]')
    expect(p.right.of('closed')[0]?.why).toBe('alice: user name or password is wrong')
  })

  test('EAP proves a name that remoteId does not accept', () => {
    const p = pair(client(), { remoteId: { type: 'fqdn', value: 'moon.example' } }).established()
    expect(p.right.of('closed')[0]?.why).toMatch(/EAP has proved alice, which peers.moon.remoteId does not accept/)
  })

  test('the responder knows no EAP for this peer', () => {
    const p = new Pair({
      sun: { auth: { local: { type: 'eap' }, remote: { type: 'psk' }, eap: client() } },
      left: { credentials: { sun: { eap: mschapv2 } } },
    }).established()
    expect(p.right.of('closed')[0]?.why).toMatch(/wants EAP, with a proof of this host first; no peer is configured/)
    expect(p.left.of('closed')[0]?.code).toBe('PEER_AUTH_FAILED')
  })
})

describe('packets', () => {
  const context = (secrets: EapSecrets): EapContext => ({
    secrets,
    remote: { type: 'fqdn', value: 'sun.example' },
    trust: undefined,
    rng: new SeededRng(1),
    wall: 0,
    wake: () => {},
  })
  const request = (type: number, data: Uint8Array, identifier = 7) =>
    writeEap({ code: EapCode.REQUEST, identifier, type, data })

  test('the peer: identity, notification, another method, success too early, failure', () => {
    const peer = () => new EapPeer(mschapv2, context(client()))
    const answer = (bytes: Uint8Array) => {
      const outcome = peer().receive(bytes)
      return outcome.type === 'send' ? readEap(outcome.packet) : outcome
    }
    expect(answer(request(EapType.IDENTITY, octets('who?')))).toMatchObject({
      code: 2,
      identifier: 7,
      type: 1,
      data: octets('alice'),
    })
    expect(answer(request(EapType.NOTIFICATION, octets('hello')))).toMatchObject({ type: 2 })
    expect(answer(request(13, Uint8Array.of(0x20)))).toMatchObject({ type: 3, data: Uint8Array.of(26) })
    expect(answer(writeEap({ code: EapCode.SUCCESS, identifier: 7, type: 0, data: new Uint8Array(0) }))).toMatchObject({
      why: expect.stringMatching(/before the method has come to an end/),
    })
    expect(answer(writeEap({ code: EapCode.FAILURE, identifier: 7, type: 0, data: new Uint8Array(0) }))).toMatchObject({
      why: expect.stringMatching(/refuses alice/),
    })
  })

  test('the peer is asked without end', () => {
    const peer = new EapPeer(mschapv2, context(client()))
    const outcomes = Array.from({ length: 70 }, () => peer.receive(request(EapType.IDENTITY, new Uint8Array(0))).type)
    expect(outcomes.lastIndexOf('send')).toBe(63)
  })

  test('the server: a wrong identifier, a method nobody asked for, a NAK', () => {
    const asked = () => {
      const server_ = new EapServer(mschapv2, context(server))
      return { server: server_, id: readEap(server_.start()).identifier }
    }
    const response = (identifier: number, type: number, data: Uint8Array) =>
      writeEap({ code: EapCode.RESPONSE, identifier, type, data })
    const first = asked()
    expect(first.server.receive(response(first.id + 1, 1, octets('alice')))).toMatchObject({
      why: expect.stringMatching(/answers nothing/),
    })
    const second = asked()
    expect(second.server.receive(response(second.id, 26, octets('alice')))).toMatchObject({
      why: expect.stringMatching(/does not say who/),
    })
    const third = asked()
    const challenge = third.server.receive(response(third.id, 1, octets('alice')))
    if (challenge.type !== 'send') throw new Error(challenge.type)
    const { identifier } = readEap(challenge.packet)
    expect(third.server.receive(response(identifier, 3, Uint8Array.of(13)))).toMatchObject({
      why: expect.stringMatching(/does not want eap-mschapv2, but EAP method 13/),
    })
  })

  test('any octets: an outcome, never an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), bytes => {
        new EapPeer(mschapv2, context(client())).receive(bytes)
        const ends = new EapServer(mschapv2, context(server))
        const { identifier } = readEap(ends.start())
        ends.receive(bytes)
        const framed = (type: number, data: Uint8Array) => writeEap({ code: EapCode.RESPONSE, identifier, type, data })
        const again = new EapServer(mschapv2, context(server))
        again.start()
        const challenge = again.receive(framed(1, octets('alice')))
        if (challenge.type === 'send')
          again.receive(writeEap({ code: 2, identifier: readEap(challenge.packet).identifier, type: 26, data: bytes }))
        new EapPeer(mschapv2, context(client())).receive(request(26, bytes))
        return true
      }),
    )
  })
})
