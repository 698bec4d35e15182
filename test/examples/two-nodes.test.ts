import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { topologies } from '../kit/index.ts'
import { drive, ping } from '../scenario/support.ts'
import { virtualNode } from './virtual-node.ts'

/** The page "Two nodes in five minutes", command by command; what needs privilege runs on the virtual internet. */

const ROOT = new URL('../../', import.meta.url)
const FILE = 'natweave.config.yaml'
const MAIN = fileURLToPath(new URL('core/cli/main.ts', ROOT))
const folders = {
  gateway: mkdtempSync(join(tmpdir(), 'natweave-gw-')),
  client: mkdtempSync(join(tmpdir(), 'natweave-cl-')),
}
afterAll(() => {
  for (const folder of Object.values(folders)) rmSync(folder, { recursive: true })
})

/** The commands of a part of the page. */
function commands(part: string): string[] {
  const page = readFileSync(new URL('docs/two-nodes.md', ROOT), 'utf8')
  const section = page.split(/^## /m).find(text => text.startsWith(part)) ?? ''
  return [...section.matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, block]) => block!.trim().split('\n'))
}

const run = promisify(execFile)

/** @returns what is left to do with privilege */
async function follow(part: string, cwd: string): Promise<string[]> {
  const left: string[] = []
  for (const command of commands(part)) {
    const [word = '', ...args] = command.split(' ')
    if (word === 'sudo') left.push(args.join(' '))
    else if (word === 'scp') {
      mkdirSync(join(folders.client, 'pki'))
      for (const file of args.slice(0, -1)) copyFileSync(join(cwd, file), join(folders.client, file))
    } else {
      expect(word).toBe('natweave')
      await run(process.execPath, ['--import', import.meta.resolve('tsx'), MAIN, ...args], { cwd })
    }
  }
  return left
}

test('two nodes in five minutes', async () => {
  expect(await follow('On the gateway', folders.gateway)).toEqual(['natweave up'])
  expect(await follow('On the client', folders.client)).toEqual(['natweave up', 'natweave status'])
  const { net, alice, moon } = topologies.nat1({ seed: 1, trace: false })
  const gateway = await virtualNode(net, moon, join(folders.gateway, FILE), {})
  const client = await virtualNode(net, alice, join(folders.client, FILE), {
    names: { 'gw.example.org': '203.0.113.20' },
  })
  await drive(net, client.connect('gateway'))
  await net.advance(0)
  expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  const [peer] = client.status().peers
  expect(peer).toMatchObject({
    state: 'established',
    remoteId: 'gw.example.org',
    virtualAddresses: ['10.9.0.1'],
    proof: { own: expect.stringContaining('ecdsa-sha256'), peer: expect.stringContaining('gw.example.org') },
  })
  expect(gateway.status().peers[0]).toMatchObject({ remoteId: 'alice@example.org' })
})
