import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { loadConfig } from '../../core/config/index.ts'
import { createNatweave, DEVICE, type Natweave, type NatweaveEvent, TRANSPORT } from '../../core/index.ts'
import { memory, nodeCrypto, udpEncap, x509 } from '../../plugins/index.ts'
import { type Host, topologies, type VirtualInternet } from '../kit/index.ts'
import { drive, ping } from '../scenario/support.ts'

/** The page "Two nodes in five minutes", command by command; what needs privilege runs on the virtual internet. */

const ROOT = new URL('../../', import.meta.url)
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

async function up(net: VirtualInternet, host: Host, folder: string, names: Readonly<Record<string, string>>) {
  const { settings } = await loadConfig({ file: join(folder, 'natweave.config.yaml'), env: {} })
  // there is no DNS on the virtual internet
  const peers = Object.fromEntries(
    Object.entries(settings.peers).map(([name, peer]) => [
      name,
      peer.remote === undefined ? peer : { ...peer, remote: names[peer.remote]! },
    ]),
  )
  const transport = host.transport()
  const device = host.device()
  const epoch = Date.now()
  const { clock } = net
  const natweave: Natweave = createNatweave({
    plugins: [
      nodeCrypto(),
      udpEncap(),
      memory(),
      x509(),
      {
        name: 'virtual-host',
        api: 1,
        register: container => {
          container.register(TRANSPORT, { useValue: transport })
          container.register(DEVICE, { useValue: device })
        },
      },
    ],
    settings: { ...settings, peers },
    // the certificates are valid from today on
    clock: { now: () => clock.now(), wall: () => epoch + clock.now(), schedule: (at, run) => clock.schedule(at, run) },
    rng: net.rng(host.name),
  })
  const events: NatweaveEvent[] = []
  natweave.on(event => events.push(event))
  await natweave.start()
  await net.settle()
  return { natweave, events }
}

test('two nodes in five minutes', async () => {
  expect(await follow('On the gateway', folders.gateway)).toEqual(['natweave up'])
  expect(await follow('On the client', folders.client)).toEqual(['natweave up', 'natweave status'])
  const { net, alice, moon } = topologies.nat1({ seed: 1, trace: false })
  const gateway = await up(net, moon, folders.gateway, {})
  const client = await up(net, alice, folders.client, { 'gw.example.org': '203.0.113.20' })
  await drive(net, client.natweave.connect('gateway'))
  await net.advance(0)
  expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  const [peer] = client.natweave.status().peers
  expect(peer).toMatchObject({
    state: 'established',
    remoteId: 'gw.example.org',
    virtualAddresses: ['10.9.0.1'],
    proof: { own: expect.stringContaining('ecdsa-sha256'), peer: expect.stringContaining('gw.example.org') },
  })
  expect(gateway.natweave.status().peers[0]).toMatchObject({ remoteId: 'alice@example.org' })
})
