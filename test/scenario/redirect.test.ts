import { describe, expect } from 'vitest'
import type { IkeTask, OutgoingMessage } from '../../core/contracts/ike-task.ts'
import { type Plugin, STRATEGY } from '../../core/index.ts'
import { NotifyType, parseAddress, payloadOf } from '../../core/wire/index.ts'
import { topologies } from '../kit/index.ts'
import { child, clients, drive, lanOfMoon, node, ping, scenario, toMoon } from './support.ts'

/** Gateways that send their client elsewhere (RFC 5685), made of a plugin that adds REDIRECT to what a gateway says. */

interface Wish {
  readonly to: string
  readonly exchange: number
  /** Repeats the client's nonce, as an answer to IKE_SA_INIT must. */
  readonly nonce?: 'right' | 'wrong'
}

function redirecting({ to, exchange, nonce }: Wish): Plugin {
  const address = parseAddress(to)
  const gateway = address ?? new TextEncoder().encode(to)
  const task: IkeTask = {
    name: 'redirect',
    build: (message: OutgoingMessage, sa) => {
      if (message.exchange !== exchange || !message.response || sa.initiator) return
      const ni = payloadOf(message.request!.payloads, 'Nonce')?.data ?? new Uint8Array(0)
      const said = nonce === 'wrong' ? ni.map(o => o ^ 1) : ni
      const data = Uint8Array.of(address === undefined ? 3 : 1, gateway.length, ...gateway, ...said)
      message.payloads.push({ type: 'N', protocol: 0, spi: new Uint8Array(0), notify: NotifyType.REDIRECT, data })
    },
  }
  return {
    name: 'redirecting',
    api: 1,
    register: container =>
      container.register(STRATEGY, {
        useValue: {
          slot: 'encap',
          name: 'redirecting',
          solves: [],
          overhead: 0,
          assess: () => ({ usable: false, why: 'only redirects' }),
          ikeFlow: flow => flow,
          espFlow: flow => flow,
          tasks: () => [task],
        },
      }),
  }
}

const BOB = '203.0.113.60'
const back = lanOfMoon({ remote: ['10.7.0.0/24'] })
const gateway = clients({ pool: undefined, children: [back] })
const client = (wish = {}) =>
  toMoon({ requestAddresses: [], children: [child({ local: ['10.7.0.0/24'] })], reconnect: false, ...wish })

/** alice calls moon; bob, a gateway as well, is where moon sends her. */
async function world(seed: number, wish: Wish, wishes = {}) {
  const { net, alice, bob, moon } = topologies.direct({ seed, trace: false })
  alice.addAddress('10.7.0.1/24')
  bob.addAddress('10.3.0.5/24')
  const a = await node(net, alice, { peers: [client(wishes)] })
  const m = await node(net, moon, { peers: [gateway], plugins: [redirecting(wish)] })
  const b = await node(net, bob, { peers: [gateway] })
  return { net, alice, a, m, b }
}

describe.each([
  ['IKE_SA_INIT', 34],
  ['IKE_AUTH', 35],
] as const)('in %s', (_, exchange) => {
  scenario('the client goes there, and says where it is from', async seed => {
    const { net, alice, a, b, m } = await world(seed, { to: BOB, exchange })
    await a.connect('moon')
    expect(a.of('redirected').map(e => e.to)).toEqual([BOB])
    expect(a.peer('moon').remote).toBe(`${BOB}:${a.peer('moon').remote!.split(':')[1]}`)
    expect(b.of('message').some(e => e.summary.includes('REDIRECTED_FROM'))).toBe(true)
    expect(await ping(net, alice, '10.3.0.5', 3, '10.7.0.1')).toBe(3)
    await net.advance(60_000)
    expect(m.peer('clients').children).toEqual([])
    expect(a.of('failed')).toEqual([])
  })

  scenario('in circles: given up', async seed => {
    const { net, a } = await world(seed, { to: '203.0.113.20', exchange })
    await expect(drive(net, a.natweave.connect('moon'))).rejects.toMatchObject({
      code: 'PEER_REDIRECT',
      message: expect.stringMatching(/redirect in circles/),
    })
    expect(a.of('redirected')).toHaveLength(5)
  })

  scenario('not followed where the configuration says so', async seed => {
    const { net, a } = await world(seed, { to: BOB, exchange }, { redirect: false })
    await a.connect('moon')
    expect(a.of('redirected')).toEqual([])
    expect(a.of('message').some(e => e.direction === 'out' && e.summary.includes('REDIRECT_SUPPORTED'))).toBe(false)
    await drive(net, a.natweave.disconnect('moon'))
  })
})

scenario('an answer to IKE_SA_INIT that does not know our nonce is not believed', async seed => {
  const { a } = await world(seed, { to: BOB, exchange: 34, nonce: 'wrong' })
  await a.connect('moon')
  expect(a.of('redirected')).toEqual([])
})

scenario('names that are none lead nowhere', async seed => {
  for (const to of ['', 'a b', '-x', 'x..y', 'x\ny', 'é'.repeat(3)]) {
    const { a } = await world(seed, { to, exchange: 35 })
    await a.connect('moon')
    expect(a.of('redirected'), JSON.stringify(to)).toEqual([])
  }
})

describe('childless', () => {
  for (const [mine, theirs, without] of [
    ['allow', 'allow', false],
    ['prefer', 'allow', true],
    ['force', 'allow', true],
    ['prefer', 'never', false],
  ] as const)
    scenario(
      `${mine} here, ${theirs} at the gateway: IKE_AUTH ${without ? 'without' : 'with'} a Child SA`,
      async seed => {
        const { net, alice, moon } = topologies.nat1({ seed, trace: false })
        const a = await node(net, alice, { peers: [toMoon({ childless: mine })] })
        await node(net, moon, { peers: [clients({ childless: theirs })] })
        await a.connect('moon')
        const auth = a.of('message').find(e => e.direction === 'out' && e.summary.includes('IKE_AUTH'))!
        expect(auth.summary.includes(' TSi ')).toBe(!without)
        expect(a.peer('moon').virtualAddresses).toEqual(['10.9.0.1'])
        expect(await ping(net, alice, '10.3.0.5')).toBe(3)
      },
    )

  scenario('force, where the gateway cannot: connect says what is to be changed', async seed => {
    const { net, alice, moon } = topologies.nat1({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon({ childless: 'force' })] })
    await node(net, moon, { peers: [clients({ childless: 'never' })] })
    await expect(drive(net, a.natweave.connect('moon'))).rejects.toMatchObject({
      code: 'PEER_CHILDLESS',
      message: expect.stringMatching(/allow it there, or use prefer here/),
    })
  })
})
