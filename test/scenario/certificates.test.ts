import { describe, expect } from 'vitest'
import type { AuthSettings, PeerSettings } from '../../core/index.ts'
import { eapMschapv2, x509 } from '../../plugins/index.ts'
import { topologies } from '../kit/index.ts'
import { dns, type Issued, issue, trusting } from '../plugins/x509/authority.ts'
import { clients, drive, node, ping, scenario, toMoon } from './support.ts'

const root = await issue({ subject: 'CN=Root', ca: true, from: '1970-01-01', until: '2100-01-01' })
const forHost = (name: string): Promise<Issued> =>
  issue({
    subject: `CN=${name}`,
    issuer: root,
    names: [dns(`${name}.example`)],
    from: '1970-01-01',
    until: '2100-01-01',
  })
const [alice, bob, moon] = await Promise.all(['alice', 'bob', 'moon'].map(forHost))

const signature = (own: Issued) => ({ type: 'signature', certificates: [own.der], key: own.key }) as const
const plugins = () => [x509(), eapMschapv2()]
const password = new TextEncoder().encode('wonderland')

describe('clients are known by what they prove', () => {
  scenario('two behind one NAT, each by its certificate', async seed => {
    const { net, alice: a, bob: b, moon: m } = topologies.samenat({ seed, trace: false })
    const auth = (own: Issued): AuthSettings => ({ local: signature(own), remote: trusting([root]) })
    const one = await node(net, a, { peers: [toMoon({ auth: auth(alice!) })], plugins: plugins() })
    const two = await node(net, b, { peers: [toMoon({ me: 'bob', auth: auth(bob!) })], plugins: plugins() })
    const gateway = await node(net, m, { peers: [clients({ auth: auth(moon!) })], plugins: plugins() })
    await one.connect('moon')
    await two.connect('moon')
    expect([await ping(net, a, '10.3.0.5'), await ping(net, b, '10.3.0.5')]).toEqual([3, 3])
    expect(gateway.of('established').map(e => e.remoteId)).toEqual(['alice.example', 'bob.example'])
    const proofs = ['ecdsa-sha256, CN=alice, issued by CN=Root', 'ecdsa-sha256, CN=moon, issued by CN=Root'] as const
    expect(one.peer('moon').proof).toEqual({ own: proofs[0], peer: proofs[1] })
    await drive(net, one.natweave.rekey('moon'))
    expect(one.peer('moon').proof).toEqual({ own: proofs[0], peer: proofs[1] })
  })

  scenario('two behind different NATs that both say they are 10.0.0.5, each by its name in EAP', async seed => {
    const { net, alice: a, bob: b, moon: m } = topologies.overlap({ seed, trace: false })
    const client = (name: string): PeerSettings => ({
      ...toMoon({
        auth: {
          local: { type: 'eap' },
          remote: trusting([root]),
          eap: { method: 'mschapv2', user: { name, password } },
        },
      }),
      localId: { type: 'ipv4', value: '10.0.0.5' },
    })
    const users = new Map(['alice', 'bob'].map(name => [name, password]))
    const auth: AuthSettings = { local: signature(moon!), remote: { type: 'eap' }, eap: { method: 'mschapv2', users } }
    const one = await node(net, a, { peers: [client('alice')], plugins: plugins() })
    const two = await node(net, b, { peers: [client('bob')], plugins: plugins() })
    const gateway = await node(net, m, { peers: [clients({ auth })], plugins: plugins() })
    await one.connect('moon')
    await two.connect('moon')
    expect([one, two].map(n => n.peer('moon').virtualAddresses)).toEqual([['10.9.0.1'], ['10.9.0.2']])
    expect([await ping(net, a, '10.3.0.5'), await ping(net, b, '10.3.0.5')]).toEqual([3, 3])
    expect(gateway.of('established').map(e => e.remoteId)).toEqual(['alice', 'bob'])
    const theirs = 'ecdsa-sha256, CN=moon, issued by CN=Root'
    expect(two.peer('moon').proof).toEqual({ own: 'eap-mschapv2 as bob', peer: theirs })
    expect(gateway.peer('clients').proof).toEqual({ own: theirs, peer: 'eap-mschapv2 as bob' })
  })
})
