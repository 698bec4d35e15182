import { setImmediate } from 'node:timers/promises'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { EapContext } from '../../../core/contracts/eap.ts'
import type { AuthSettings, EapSettings } from '../../../core/contracts/settings.ts'
import { resolveCredentials } from '../../../core/credentials.ts'
import { TlsConversation } from '../../../plugins/eap-tls/conversation.ts'
import { Incoming, Outgoing } from '../../../plugins/eap-tls/framing.ts'
import { tls } from '../../../plugins/eap-tls/index.ts'
import { credentials } from '../../../plugins/x509/credentials.ts'
import { chart, moon, Pair, sun } from '../../core/ike/pair.ts'
import { SeededRng } from '../../kit/rng.ts'
import { dns, type Issued, issue, trusting } from '../x509/authority.ts'

const root = await issue({ subject: 'CN=Root', ca: true })
const foreign = await issue({ subject: 'CN=Foreign', ca: true })
const alice = await issue({ subject: 'CN=moon', issuer: root, names: [dns('moon.example')], kind: 'rsa' })
const gateway = await issue({ subject: 'CN=sun', issuer: root, names: [dns('sun.example')] })

const settings = (own: Issued, name: string, ca = root): EapSettings => ({
  method: 'tls',
  user: { name, password: new Uint8Array(0) },
  key: { certificates: [own.der], key: own.key },
  trust: trusting([ca]),
})

/** Both ends by EAP alone, RFC 5998; `ca` is what each end trusts. */
function pair(
  trusted: { readonly left?: Issued; readonly right?: Issued } = {},
  name = 'moon.example',
  right?: AuthSettings,
): Pair {
  const auth = (eap: EapSettings): AuthSettings => ({ local: { type: 'eap' }, remote: { type: 'eap' }, eap })
  const peers = [
    sun({ auth: auth(settings(alice, name, trusted.left)) }),
    moon({ auth: right ?? auth(settings(gateway, 'sun.example', trusted.right)) }),
  ]
  const opened = (i: number) =>
    Object.fromEntries(resolveCredentials({ peers: { [peers[i]!.name]: peers[i] } } as never, [credentials], [tls]))
  return new Pair({
    sun: peers[0]!,
    moon: peers[1]!,
    left: { credentials: opened(0) },
    right: { credentials: opened(1) },
  })
}

/** Lets TLS do its work, on this thread but in its own time, until both ends have come to rest. */
async function settle(p: Pair): Promise<void> {
  for (let idle = 0; idle < 60; idle++) {
    if (p.wire.length > 0) idle = 0
    p.settle()
    await setImmediate()
    for (const end of [p.left, p.right])
      for (const sa of end.woken.splice(0)) {
        sa.resume(p.now)
        end.carryOut(sa, p.now)
        idle = 0
      }
  }
}

test('both ends by EAP alone: no AUTH before the keys of EAP', async () => {
  const p = pair()
  p.connect()
  await settle(p)
  expect(chart(p.left)[2]).toBe(
    '> IKE_AUTH request 1 [ IDi N(INITIAL_CONTACT) IDr N(EAP_ONLY_AUTHENTICATION) SA TSi TSr ]',
  )
  expect(chart(p.left)[3]).toBe('< IKE_AUTH response 1 [ IDr EAP ]')
  expect(chart(p.left).at(-1)).toBe(`< IKE_AUTH response ${chart(p.left).length / 2 - 1} [ AUTH SA TSi TSr ]`)
  expect([p.left, p.right].map(end => end.of('child-up').length)).toEqual([1, 1])
})

test('a request that comes again while TLS works is not answered twice', async () => {
  const p = pair()
  p.fate = datagram => [datagram, datagram]
  p.connect()
  await settle(p)
  expect([p.left, p.right].map(end => end.of('child-up').length)).toEqual([1, 1])
})

test('the gateway by a certificate in IKE, the client by one in EAP', async () => {
  const p = pair({}, 'moon.example', {
    local: { type: 'signature', certificates: [gateway.der], key: gateway.key },
    remote: { type: 'eap' },
    eap: settings(gateway, 'sun.example'),
  })
  const left = { ...p.sun.auth!, remote: trusting([root]) }
  const mixed = new Pair({
    sun: { auth: left },
    moon: p.moon,
    left: {
      credentials: Object.fromEntries(
        resolveCredentials({ peers: { sun: sun({ auth: left }) } } as never, [credentials], [tls]),
      ),
    },
    right: { credentials: p.right.options.credentials! },
  })
  mixed.connect()
  await settle(mixed)
  expect(chart(mixed.left)[3]).toBe('< IKE_AUTH response 1 [ IDr CERT AUTH EAP ]')
  expect([mixed.left, mixed.right].map(end => end.of('child-up').length)).toEqual([1, 1])
})

describe('refused', () => {
  test.each([
    ['the gateway does not trust the CA', { right: foreign }, /refuses moon.example in EAP/, /CN=Root is not trusted/],
    ['the client does not', { left: foreign }, /CN=Root is not trusted/, /given up in EAP/],
  ])('%s', async (_name, trusted, left, right) => {
    const p = pair(trusted)
    p.connect()
    await settle(p)
    expect(p.left.of('closed')[0]?.why).toMatch(left)
    expect(p.right.of('closed')[0]?.why).toMatch(right)
    expect(p.left.of('established').length + p.right.of('established').length).toBe(0)
  })

  test('a name that is not in the certificate', async () => {
    const p = pair({}, 'mallory.example')
    p.connect()
    await settle(p)
    expect(p.right.of('closed')[0]?.why).toMatch(/does not name mallory.example/)
  })
})

describe('framing', () => {
  test('a flight in pieces, and whole again', () => {
    const flight = Uint8Array.from({ length: 3_000 }, (_, i) => i)
    const out = new Outgoing(flight)
    const incoming = new Incoming()
    let found: ReturnType<Incoming['add']> = 'more'
    let pieces = 0
    for (; !out.empty; pieces++) found = incoming.add(out.next())
    expect([pieces, found]).toEqual([3, { flight }])
  })

  test('pieces without end, without anything in them, without flags', () => {
    const incoming = new Incoming()
    const piece = new Uint8Array(1_025).fill(1)
    piece[0] = 0x40
    const found = Array.from({ length: 70 }, () => incoming.add(piece))
    expect(found.findIndex(each => each !== 'more')).toBe(64)
    expect(new Incoming().add(Uint8Array.of(0x40))).toEqual({ why: expect.stringMatching(/empty piece/) })
    expect(new Incoming().add(new Uint8Array(0))).toEqual({ why: expect.stringMatching(/without flags/) })
    expect(new Incoming().add(Uint8Array.of(0x80, 1))).toEqual({ why: expect.stringMatching(/without its length/) })
  })
})

describe('hostile', () => {
  const context = (own: Issued): EapContext => ({
    secrets: settings(own, 'x'),
    remote: { type: 'fqdn', value: 'sun.example' },
    trust: credentials.trust(trusting([root])),
    rng: new SeededRng(1),
    wall: Date.UTC(2026, 10, 28),
    wake: () => {},
  })

  test('any octets: a step, never an exception, and no key', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), fc.constantFrom('client', 'server'), async (octets, role) => {
        let woken = false
        const conversation = new TlsConversation(
          {
            ...context(gateway),
            wake: () => {
              woken = true
            },
          },
          role as 'client' | 'server',
        )
        if (role === 'server') conversation.start()
        let step = conversation.receive(octets)
        for (let i = 0; i < 40 && step.type === 'wait'; i++) {
          await setImmediate()
          if (woken) step = conversation.resume()
        }
        expect(['send', 'failed']).toContain(step.type)
      }),
      { numRuns: 40 },
    )
  })
})
