import type { ConfigInput } from '../../core/config/index.ts'
import { inspect } from './capture.ts'
import { Charon } from './charon.ts'
import type { Lab, NatType, Topology } from './lab.ts'
import { NatweaveProcess } from './natweave.ts'
import type { Party, Product, SaView, TunnelConfig } from './party.ts'
import { until } from './process.ts'
import { ping } from './traffic.ts'

/** alice and bob, each natweave or strongSwan, who find each other through med, which is one of the two as well. */

export interface MediationOptions {
  readonly topology: Topology
  readonly med: Product
  readonly alice: Product
  readonly bob: Product
  readonly nats?: readonly [alice: NatType, bob: NatType]
}

type End = 'alice' | 'bob'

/** Inside the tunnel, on the loopback interface of each. */
const INNER: Readonly<Record<End, string>> = { alice: '10.77.0.1', bob: '10.77.0.2' }
const OTHER: Readonly<Record<End, End>> = { alice: 'bob', bob: 'alice' }
const MED = '203.0.113.10'
const IKE = 'aes128-sha256-x25519'
const ESP = 'aes128gcm16-x25519'
const mediationKey = (end: End): string => `mediation secret of ${end}`
const PEER_KEY = 'end to end secret of alice and bob'

/** What the usual tunnel is told; here only the parts that are about the programs themselves count. */
const BASE: TunnelConfig = {
  role: 'initiator',
  ike: IKE,
  esp: ESP,
  gateway: MED,
  dpdSeconds: 0,
  forceEncapsulation: false,
  mobike: false,
  raw: false,
  mode: 'tunnel',
  protocol: 'esp',
  protects: '0.0.0.0/0',
  vendorId: false,
}

export class MediationLab {
  readonly lab: Lab
  readonly parties: Readonly<Record<'med' | End, Party>>
  readonly #endCapture: () => Promise<string>

  private constructor(lab: Lab, parties: MediationLab['parties'], endCapture: () => Promise<string>) {
    this.lab = lab
    this.parties = parties
    this.#endCapture = endCapture
  }

  /** med runs; the peers are started by `register`. */
  static async up(lab: Lab, { topology, med, alice, bob, nats }: MediationOptions): Promise<MediationLab> {
    const options = nats === undefined ? [] : ['--nata', nats[0], '--natb', nats[1]]
    await lab.up(topology, options)
    for (const end of ['alice', 'bob'] as const)
      await lab.exec(end, ['ip', 'address', 'add', `${INNER[end]}/32`, 'dev', 'lo'])
    const endCapture = await lab.capture('inet', 'br0', 'public')
    const parties = { med: server(lab, med), alice: peer(lab, 'alice', alice), bob: peer(lab, 'bob', bob) }
    await parties.med.start()
    return new MediationLab(lab, parties, endCapture)
  }

  /** Starts the peer: natweave registers by itself. */
  async register(end: End): Promise<void> {
    const party = this.parties[end]
    await party.start()
    if (party instanceof Charon) await party.connectIke('med')
    else if (party instanceof NatweaveProcess) await until(`${end} registered`, 10_000, () => party.established('med'))
  }

  /** @returns how long `connect` took */
  async connect(from: End): Promise<number> {
    const start = performance.now()
    await this.parties[from].connect()
    return Math.round(performance.now() - start)
  }

  /** Both ends have the same Child SA, and packets go through it both ways. */
  async use(): Promise<readonly string[]> {
    const [alice, bob] = await Promise.all([this.#sa('alice'), this.#sa('bob')])
    if (alice.spiIn !== bob.spiOut || alice.spiOut !== bob.spiIn)
      throw new Error(`different Child SAs: ${JSON.stringify([alice, bob])}`)
    const there = await ping(this.lab, 'alice', INNER.bob)
    const back = await ping(this.lab, 'bob', INNER.alice)
    return [alice.cipher, `ping ${there} ${back}`]
  }

  /** Nothing of the tunnel's content, and nothing else in clear, was on the public segment. */
  async expectProtected(): Promise<readonly string[]> {
    const { esp, ike, clear, clearCount } = inspect(await this.#endCapture())
    // checks towards a home's own addresses leave the NAT, as do answers of hosts that have nothing there
    const foreign = clear.filter(line => !line.startsWith('protocol 1 '))
    if (foreign.length > 0) throw new Error(`${clearCount} packets in clear: ${foreign.join(', ')}`)
    return [`${ike} IKE, ${[...esp.values()].flat().length} ESP`]
  }

  async #sa(end: End): Promise<SaView> {
    let views: readonly SaView[] = []
    await until(`Child SA of ${end}`, 5_000, async () => {
      views = await this.parties[end].sas()
      return views.length > 0
    })
    return views.at(-1)!
  }
}

function server(lab: Lab, product: Product): Party {
  if (product === 'strongSwan') return new Charon(lab, 'med', BASE, swanctlServer())
  return new NatweaveProcess(lab, 'med', BASE, {
    device: false,
    local: { id: 'med@lab.test' },
    peers: Object.fromEntries(
      (['alice', 'bob'] as const).map(end => [
        end,
        {
          remoteId: `${end}@med.lab.test`,
          psk: mediationKey(end),
          proposals: [IKE],
          options: { 'ike-me': { mediation: true } },
        },
      ]),
    ),
  })
}

function peer(lab: Lab, host: End, product: Product): Party {
  if (product === 'strongSwan') return new Charon(lab, host, BASE, swanctlPeer(host))
  const other = OTHER[host]
  const config: ConfigInput = {
    device: { name: 'natweave0' },
    peers: {
      med: {
        remote: MED,
        localId: `${host}@med.lab.test`,
        remoteId: 'med@lab.test',
        psk: mediationKey(host),
        proposals: [IKE],
        options: { 'ike-me': { mediation: true } },
      },
      tunnel: {
        localId: `${host}@lab.test`,
        remoteId: `${other}@lab.test`,
        psk: PEER_KEY,
        proposals: [IKE],
        reconnect: false,
        options: { 'ike-me': { by: 'med', id: `${other}@med.lab.test` } },
        children: {
          lan: { local: [`${INNER[host]}/32`], remote: [`${INNER[other]}/32`], mode: 'tunnel', proposals: [ESP] },
        },
      },
    },
  }
  return new NatweaveProcess(lab, host, BASE, config)
}

const swanctlServer = (): string => `connections {
  mediation {
    version = 2
    mobike = no
    mediation = yes
    local_addrs = ${MED}
    proposals = ${IKE}
    local { auth = psk
      id = med@lab.test }
    remote { auth = psk }
  }
}
secrets {
${(['alice', 'bob'] as const)
  .map(end => `  ike-${end} { id-1 = med@lab.test\n id-2 = ${end}@med.lab.test\n secret = "${mediationKey(end)}" }`)
  .join('\n')}
}
`

const swanctlPeer = (host: End): string => `connections {
  med {
    version = 2
    mobike = no
    mediation = yes
    remote_addrs = ${MED}
    proposals = ${IKE}
    local { auth = psk
      id = ${host}@med.lab.test }
    remote { auth = psk
      id = med@lab.test }
  }
  tunnel {
    version = 2
    mobike = no
    mediated_by = med
    mediation_peer = ${OTHER[host]}@med.lab.test
    proposals = ${IKE}
    local { auth = psk
      id = ${host}@lab.test }
    remote { auth = psk
      id = ${OTHER[host]}@lab.test }
    children {
      lan {
        local_ts = ${INNER[host]}/32
        remote_ts = ${INNER[OTHER[host]]}/32
        esp_proposals = ${ESP}
      }
    }
  }
}
secrets {
  ike-med { id-1 = ${host}@med.lab.test
    id-2 = med@lab.test
    secret = "${mediationKey(host)}" }
  ike-peer { id-1 = ${host}@lab.test
    id-2 = ${OTHER[host]}@lab.test
    secret = "${PEER_KEY}" }
}
`
