import { describe, expect } from 'vitest'
import type { NatweaveError } from '../../../core/errors.ts'
import { beet } from '../../../plugins/beet/index.ts'
import { topologies } from '../../kit/index.ts'
import {
  child,
  clients,
  drive,
  lanOfMoon,
  node,
  ping,
  scenario,
  toMoon,
  transfer,
  Wire,
} from '../../scenario/support.ts'

/** BEET as users get it: real builds on the virtual internet, mars being the one host alice may reach. */

const MARS = '10.3.0.5/32'
const hosts = { mode: 'beet', remote: [MARS] }
const plugins = [beet()]

describe('BEET', () => {
  scenario('UDP-encapsulated behind a NAT, from a virtual address', async seed => {
    const { net, inet, alice, moon, mars } = topologies.nat1({ seed, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { plugins, peers: [toMoon({ children: [child(hosts)] })] })
    const m = await node(net, moon, {
      plugins,
      peers: [clients({ children: [lanOfMoon({ mode: 'beet', local: [MARS] })] })],
    })
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(await ping(net, mars, '10.9.0.1')).toBe(3)
    expect(await transfer(net, alice, '10.3.0.5')).toBe(true)
    for (const { mode, encap, counters } of [a.child('moon'), m.child('clients')])
      expect({ mode, encap, drops: counters.drops }).toEqual({ mode: 'beet', encap: 'udp-encap', drops: {} })
    expect(wire.kinds()).toEqual(['esp-in-udp', 'ike'])
    expect(a.child('moon')).toMatchObject({ local: ['10.9.0.1'], remote: ['10.3.0.5'] })
  })

  scenario('plain ESP where there is no NAT, 20 octets shorter than tunnel mode', async seed => {
    const sizes: number[] = []
    for (const mode of ['beet', 'tunnel']) {
      const { net, inet, alice, moon } = topologies.direct({ seed, trace: false })
      const a = await node(net, alice, { plugins, peers: [toMoon({ children: [child({ ...hosts, mode })] })] })
      await node(net, moon, { plugins, peers: [clients({ children: [lanOfMoon({ mode, local: [MARS] })] })] })
      await a.connect('moon')
      const wire = new Wire(net, inet)
      expect(await ping(net, alice, '10.3.0.5')).toBe(3)
      expect(wire.kinds()).toEqual(['esp'])
      sizes.push(wire.of('esp')[0]!.packet.length)
    }
    expect(sizes[1]! - sizes[0]!).toBe(20)
  })

  scenario('auto: the cheapest plan, or tunnel mode with a peer that has no BEET', async seed => {
    const modes: string[] = []
    for (const theirs of [plugins, []]) {
      const { net, alice, moon } = topologies.nat1({ seed, trace: false })
      const a = await node(net, alice, { plugins, peers: [toMoon({ children: [child({ remote: [MARS] })] })] })
      const hosted = clients({ children: [lanOfMoon({ local: [MARS] })] })
      const m = await node(net, moon, { plugins: theirs, peers: [hosted] })
      await a.connect('moon')
      expect(await ping(net, alice, '10.3.0.5')).toBe(3)
      modes.push(a.child('moon').mode, m.child('clients').mode)
      const reasons = a.natweave.plan('moon')[0]!.plans.flatMap(p => p.reasons)
      expect(reasons.some(r => r.includes('send_vendor_id'))).toBe(theirs.length === 0)
    }
    expect(modes).toEqual(['beet', 'beet', 'tunnel', 'tunnel'])
  })

  scenario('a subnet fails with a reason', async seed => {
    const { net, alice, moon } = topologies.nat1({ seed, trace: false })
    const a = await node(net, alice, { plugins, peers: [toMoon({ children: [child({ mode: 'beet' })] })] })
    await node(net, moon, { plugins, peers: [clients({ children: [lanOfMoon({ mode: 'beet' })] })] })
    const failure = await drive(
      net,
      a.natweave.connect('moon').catch((error: NatweaveError) => error),
    )
    expect(failure).toMatchObject({
      code: 'PLAN_NONE',
      message: expect.stringContaining('a side of the Child SA is a network'),
    })
  })
})
