/**
 * A new fact and a rule that uses it. The detector in mirror.ts finds out whether the NAT keeps ports; two rules, plain
 * data that could stand in a YAML file as well, say what follows: transport mode where possible, but not behind a NAT
 * that many hosts share, where two of them could not be told apart.
 *
 *     node --import tsx examples/detector.ts
 */
import { type ConfigInput, parseConfig } from '../core/config/index.ts'
import { createNatweave, type PlanReport } from '../core/index.ts'
import { memory, nodeCrypto, udpEncap } from '../plugins/index.ts'
import { type Host, hostPlugin, type NatName, topologies, type VirtualInternet } from '../test/kit/index.ts'
import { mirror } from './mirror.ts'

const psk = 'correct horse battery staple'

const client: ConfigInput = {
  local: { id: 'alice.example.org' },
  peers: {
    bob: {
      remote: '203.0.113.60',
      remoteId: 'bob.example.org',
      psk,
      children: { host: { remote: ['203.0.113.60'] } },
    },
  },
  policy: {
    rules: [
      // waits until the fact is known, then speaks
      { when: { natKeepsPort: false }, avoid: ['transport'] },
      { prefer: ['transport', 'tunnel'] },
    ],
  },
}

const server: ConfigInput = {
  local: { id: 'bob.example.org' },
  peers: { anybody: { remoteId: 'any', psk, children: { host: { local: ['203.0.113.60'], remote: ['0.0.0.0/0'] } } } },
}

function build(net: VirtualInternet, host: Host, config: ConfigInput) {
  const sources = { env: {}, readFile: () => new Uint8Array(0) }
  return createNatweave({
    plugins: [nodeCrypto(), udpEncap(), mirror(), memory(), hostPlugin(host)],
    settings: parseConfig(config, sources).settings,
    clock: net.clock,
    rng: net.rng(`natweave on ${host.name}`),
  })
}

/** What `natweave plan` shows. */
function show([report]: readonly PlanReport[]): void {
  for (const [name, { value, source }] of Object.entries(report?.facts ?? {}))
    console.log(`  ${name} = ${value} (${source})`)
  for (const { plan, usable, reasons } of report?.plans ?? [])
    console.log(`  ${usable ? '✓' : '✗'} ${plan.path} + ${plan.encap} + ${plan.mode}: ${reasons.join('; ')}`)
}

for (const nata of ['portRestrictedCone', 'symmetric'] satisfies NatName[]) {
  const { net, alice, bob } = topologies.nat1({ seed: 1, nata })
  const [a, b] = [build(net, alice, client), build(net, bob, server)]
  await a.start()
  await b.start()
  console.log(`behind a ${nata} NAT, before anything is known`)
  show(a.plan('bob'))
  const { children } = await net.complete(a.connect('bob'))
  console.log(`behind a ${nata} NAT, connected in ${children[0]?.mode} mode`)
  show(a.plan('bob'))
  await net.complete(a.stop())
  await net.complete(b.stop())
}
