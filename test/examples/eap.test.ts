import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { nodeFiles } from '../../core/cli/commands/pki.ts'
import { topologies } from '../kit/index.ts'
import { drive, ping } from '../scenario/support.ts'
import { virtualNode } from './virtual-node.ts'

const folder = mkdtempSync(join(tmpdir(), 'natweave-eap-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('eap/: name and password against a certificate, from behind a NAT', async () => {
  await nodeFiles(join(folder, 'pki'), 'gw.example.org', true)
  const file = (name: string): string => {
    copyFileSync(fileURLToPath(new URL(`../../examples/eap/${name}`, import.meta.url)), join(folder, name))
    return join(folder, name)
  }
  const { net, alice, moon } = topologies.nat1({ seed: 1, trace: false })
  const env = { ALICE_PASSWORD: 'wonderland', BOB_PASSWORD: 'builder' }
  const gateway = await virtualNode(net, moon, file('gateway.yaml'), { env })
  const names = { 'gw.example.org': '203.0.113.20' }
  const client = await virtualNode(net, alice, file('client.yaml'), { env, names })
  await drive(net, client.connect('office'))
  await net.advance(0)
  expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  expect(gateway.status().peers[0]).toMatchObject({ remoteId: 'alice', proof: { peer: 'eap-mschapv2 as alice' } })
})
