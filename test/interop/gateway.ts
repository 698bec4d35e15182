import type { ConfigInput } from '../../core/config/index.ts'
import { Charon } from './charon.ts'
import { ADDRESS, type Host, type Lab } from './lab.ts'
import { NatweaveProcess } from './natweave.ts'
import { IDENTITY, type Product, PSK, type TunnelConfig } from './party.ts'

/** Ends whose configuration is more than the one Child SA of `Tunnel`: in the words of both products from one wish. */

export interface ChildWish {
  /** Prefix behind the end itself, and behind the other; undefined: its virtual address, the virtual address of the other. */
  readonly local?: string
  readonly remote?: string
  /** natweave: it is made for its first packet, not with the IKE SA. strongSwan's children wait for a command. */
  readonly trap?: boolean
}

export interface EndWish {
  readonly role: TunnelConfig['role']
  readonly children: Readonly<Record<string, ChildWish>>
  /** The initiator asks for a virtual address, the responder has some. */
  readonly virtual?: boolean
  readonly unique?: 'replace' | 'keep' | 'never'
  readonly said?: Partial<Said>
}

/** What both ends have to say alike; absent: what fits the other end. */
export interface Said {
  readonly own: string
  readonly peer: string
  readonly secret: string
  readonly ike: string
  readonly esp: string
}

const IKE = 'aes128-sha256-x25519'
const ESP = 'aes128gcm16-x25519'

const BASE: Omit<TunnelConfig, 'role'> = {
  ike: IKE,
  esp: ESP,
  gateway: ADDRESS.moon,
  dpdSeconds: 0,
  forceEncapsulation: false,
  mobike: false,
  raw: false,
  mode: 'tunnel',
  protocol: 'esp',
  protects: ADDRESS.moonLan,
  vendorId: false,
}

export type End = NatweaveProcess | Charon

export function end(lab: Lab, host: Host, product: Product, wish: EndWish): End {
  const config: TunnelConfig = { ...BASE, role: wish.role }
  return product === 'natweave'
    ? new NatweaveProcess(lab, host, config, natweaveConfig(wish))
    : new Charon(lab, host, config, swanctlConf(wish))
}

const saying = ({ role, said }: EndWish): Said => ({
  own: IDENTITY[role],
  peer: IDENTITY[role === 'initiator' ? 'responder' : 'initiator'],
  secret: PSK,
  ike: IKE,
  esp: ESP,
  ...said,
})

function natweaveConfig(wish: EndWish): ConfigInput {
  const { role, children, virtual = false, unique } = wish
  const initiator = role === 'initiator'
  const { own, peer, secret, ike, esp } = saying(wish)
  return {
    device: { name: 'natweave0' },
    ike: { retransmit: { timeout: '500ms', tries: 3 } },
    ...(virtual && !initiator && { pools: { rw: { addresses: ADDRESS.pool } } }),
    peers: {
      tunnel: {
        ...(initiator && { remote: ADDRESS.moon }),
        ...(virtual && (initiator ? { addresses: ['ipv4'] } : { pool: 'rw' })),
        ...(unique !== undefined && { unique }),
        localId: own,
        remoteId: peer,
        psk: secret,
        proposals: [ike],
        mobike: false,
        dpd: 0,
        rekey: 0,
        reconnect: false,
        children: Object.fromEntries(
          Object.entries(children).map(([name, { local, remote, trap = false }]) => [
            name,
            {
              ...(local !== undefined && { local: [local] }),
              ...(remote !== undefined && { remote: [remote] }),
              proposals: [esp],
              rekey: 0,
              start: trap ? ('trap' as const) : ('connect' as const),
            },
          ]),
        ),
      },
    },
  }
}

function swanctlConf(wish: EndWish): string {
  const { role, children, virtual = false, unique } = wish
  const initiator = role === 'initiator'
  const { own, peer, secret, ike, esp } = saying(wish)
  const sections = Object.entries(children).map(
    ([name, { local, remote }]) => `${name} {
        ${local === undefined ? '' : `local_ts = ${local}`}
        ${remote === undefined ? '' : `remote_ts = ${remote}`}
        esp_proposals = ${esp}
        rekey_time = 0
      }`,
  )
  return `connections {
  tunnel {
    version = 2
    ${initiator ? `remote_addrs = ${ADDRESS.moon}` : `local_addrs = ${ADDRESS.moon}`}
    ${virtual ? (initiator ? 'vips = 0.0.0.0' : 'pools = rw') : ''}
    ${unique === undefined ? '' : `unique = ${unique}`}
    proposals = ${ike}
    encap = no
    mobike = no
    rekey_time = 0
    local { auth = psk
      id = ${own} }
    remote { auth = psk
      id = ${peer} }
    children {
      ${sections.join('\n      ')}
    }
  }
}
pools {
  rw { addrs = ${ADDRESS.pool} }
}
secrets {
  ike { secret = "${secret}" }
}
`
}
