/**
 * A VPN composed in code: a road warrior behind a NAT and a gateway, each a natweave build of its own, on the virtual
 * internet, so that it runs anywhere and needs no privilege. Outside this repository the imports read 'natweave',
 * 'natweave/config', 'natweave/plugins' and 'natweave/testing'.
 *
 *     node --import tsx examples/compose.ts
 */
import { type ConfigInput, parseConfig } from '../core/config/index.ts'
import { createNatweave, type Natweave } from '../core/index.ts'
import { memory, nodeCrypto, udpEncap } from '../plugins/index.ts'
import { type Host, hostPlugin, topologies } from '../test/kit/index.ts'

// alice (10.1.0.5) sits behind nata (198.51.100.1); moon (203.0.113.20) has the LAN 10.3.0.0/24 with mars (.5) in it
const { net, alice, moon } = topologies.nat1({ seed: 1, nata: 'symmetric' })

/** A build is its plugins and its settings. On a real host, `defaults()` stands in for the list. */
function build(host: Host, config: ConfigInput): Natweave {
  const { settings } = parseConfig(config, { env: { PSK: 'correct horse battery staple' }, readFile: noFiles })
  return createNatweave({
    plugins: [nodeCrypto(), udpEncap(), memory(), hostPlugin(host)],
    settings,
    clock: net.clock, // virtual time, and randomness from the seed: the same run every time
    rng: net.rng(`natweave on ${host.name}`),
  })
}

const noFiles = (path: string): never => {
  throw new Error(`${path} cannot be read: there are no files here`)
}

const warrior = build(alice, {
  local: { id: 'alice@example.org' },
  peers: {
    moon: {
      remote: '203.0.113.20',
      remoteId: 'moon.example.org',
      psk: { env: 'PSK' },
      addresses: ['ipv4'], // ask moon for a virtual address
      children: { lan: { remote: ['10.3.0.0/24'] } },
    },
  },
})

const gateway = build(moon, {
  local: { id: 'moon.example.org' },
  pools: { warriors: { addresses: '10.9.0.0/24' } },
  peers: {
    warriors: {
      remoteId: '*@example.org', // whoever of that name knows the key
      psk: { env: 'PSK' },
      pool: 'warriors',
      children: { lan: { local: ['10.3.0.0/24'] } },
    },
  },
})

// everything an application acts on comes as an event
warrior.on(event => {
  if (event.type === 'message') console.log(`${event.direction === 'out' ? '→' : '←'} ${event.summary}`)
  if (event.type === 'fact') console.log(`  learned ${event.name} = ${event.value} from ${event.source}`)
  if (event.type === 'plan')
    console.log(`  plan ${event.plan.path} + ${event.plan.encap} + ${event.plan.mode}: ${event.why}`)
})

await gateway.start()
await warrior.start()
await net.complete(warrior.connect('moon')) // virtual time passes until it stands
await net.advance(0)

const ping = alice.ping('10.3.0.5', { count: 3 })
await net.until(() => ping.done, { within: 10_000 })

for (const [name, natweave] of [
  ['alice', warrior],
  ['moon', gateway],
] as const)
  for (const { state, local, remote, suite, children } of natweave.status().peers)
    for (const { mode, encap, local: here, remote: there, counters } of children)
      console.log(
        `${name}: ${state}, ${local} ↔ ${remote}, ${suite}; ${mode} in ${encap}, ${here} === ${there}, ` +
          `${counters.packetsIn} packets in, ${counters.packetsOut} out`,
      )
console.log(`mars answered ${ping.received} of ${ping.sent} pings`)

await net.complete(warrior.stop())
await net.complete(gateway.stop())
