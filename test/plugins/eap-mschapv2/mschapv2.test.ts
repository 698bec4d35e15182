import { describe, expect, test } from 'vitest'
import { MschapPeer, MschapServer } from '../../../plugins/eap-mschapv2/conversation.ts'
import {
  authenticatorResponse,
  masterSessionKey,
  ntPasswordHash,
  ntResponse,
} from '../../../plugins/eap-mschapv2/mschapv2.ts'
import { SeededRng } from '../../kit/rng.ts'

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))
const text = (octets: Uint8Array): string => Buffer.from(octets).toString('hex').toUpperCase()
const octets = (words: string): Uint8Array => new TextEncoder().encode(words)

describe('RFC 2759 §9.2, RFC 3079 §3.5.3', () => {
  const exchange = {
    passwordHash: ntPasswordHash(octets('clientPass')),
    authenticatorChallenge: hex('5B5D7C7D7B3F2F3E3C2C602132262628'),
    peerChallenge: hex('21402324255E262A28295F2B3A337C7E'),
    user: 'User',
  }

  test('the vectors', () => {
    expect(text(exchange.passwordHash)).toBe('44EBBA8D5312B8D611474411F56989AE')
    const response = ntResponse(exchange)
    expect(text(response)).toBe('82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF')
    expect(authenticatorResponse(exchange, response)).toBe('S=407A5589115FD0D6209F510FE9C04566932CDA56')
    const msk = text(masterSessionKey(exchange, response))
    // the server's send key with 128 bits, which is the second
    expect(msk.slice(32, 64)).toBe('8B7CDC149B993A1BA118CB153F56DCCB')
    expect(msk.slice(64)).toBe('0'.repeat(64))
  })
})

describe('a conversation', () => {
  const users = new Map([['DOM\\alice', octets('wonderland')]])
  const peer = (password: string) =>
    new MschapPeer({ user: { name: 'DOM\\alice', password: octets(password) } }, new SeededRng(1))
  const server = () => new MschapServer({ users }, 'DOM\\alice', new SeededRng(2))
  const sent = (step: { type: string; data?: Uint8Array }) => step.data!

  test('both ends have the same key', () => {
    const [p, s] = [peer('wonderland'), server()]
    const success = s.receive(sent(p.receive(sent(s.start()))))
    const done = p.receive(sent(success))
    const end = s.receive(sent(done))
    if (done.type !== 'done' || end.type !== 'done') throw new Error(`${done.type} ${end.type}`)
    expect(done.msk).toEqual(end.msk)
    expect(done.msk).toHaveLength(64)
  })

  test('a server that does not know the password proves nothing', () => {
    const [p, s] = [peer('wonderland'), server()]
    p.receive(sent(s.start()))
    const pretended = Buffer.concat([Buffer.from([3, 1, 0, 50]), Buffer.from(`S=${'0'.repeat(40)} M=hi`)])
    expect(p.receive(pretended)).toMatchObject({ type: 'failed', why: 'the server does not know the password' })
    expect(p.receive(sent(server().start()))).toMatchObject({
      type: 'failed',
      why: 'the server sent a second challenge',
    })
  })

  test('success is not believed before a response', () => {
    expect(peer('x').receive(Uint8Array.of(3, 1, 0, 4))).toMatchObject({ type: 'failed' })
    expect(server().receive(Uint8Array.of(3))).toMatchObject({ type: 'failed' })
  })

  test('the user must be the one of the EAP identity', () => {
    const other = new MschapServer({ users }, 'eve', new SeededRng(2))
    const refusal = other.receive(sent(peer('wonderland').receive(sent(other.start()))))
    expect(Buffer.from(sent(refusal)).toString('latin1')).toMatch(/E=691 R=0/)
    expect(other.receive(Uint8Array.of(4))).toMatchObject({
      type: 'failed',
      why: 'eve: user name or password is wrong',
    })
  })
})
