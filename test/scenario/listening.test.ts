import { expect } from 'vitest'
import type { NatweaveEvent } from '../../core/index.ts'
import { topologies } from '../kit/index.ts'
import { clients, drive, node, scenario, toMoon } from './support.ts'

scenario('session keys are told to those only who ask for them; all else to everybody', async seed => {
  const { net, alice, moon } = topologies.nat1({ seed, trace: false })
  const a = await node(net, alice, { peers: [toMoon()] })
  await node(net, moon, { peers: [clients()] })
  const keys: NatweaveEvent[] = []
  const stop = a.natweave.on(event => keys.push(event), { keys: true })
  await a.connect('moon')
  expect(a.of('keys')).toEqual([])
  expect(keys.filter(({ type }) => type !== 'keys')).toEqual(a.events)
  const lines = keys.flatMap(event => (event.type === 'keys' ? [event.line] : []))
  expect(lines.map(({ type }) => type)).toEqual(['ike', 'esp', 'esp'])
  stop()
  await drive(net, a.natweave.disconnect('moon'))
  expect(keys.length).toBeLessThan(a.events.length + lines.length)
})
