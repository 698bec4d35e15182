import type { Case } from '../case.ts'
import { type Lab, NAT_TYPES, type NatType } from '../lab.ts'
import type { Product } from '../party.ts'
import { megabytesPerSecond, ping, transfer } from '../traffic.ts'
import { Tunnel, type TunnelOptions } from '../tunnel.ts'

/** PSK, virtual address, tunnel mode: ping and 50 MB by TCP, both ways. */
async function traffic(lab: Lab, options: TunnelOptions): Promise<readonly string[]> {
  const tunnel = await Tunnel.up(lab, options)
  const inner = await tunnel.inner()
  const there = await ping(lab, 'alice', tunnel.mars.address)
  const back = await ping(lab, 'mars', inner.address)
  const up = await transfer(lab, inner, tunnel.mars)
  const down = await transfer(lab, tunnel.mars, inner)
  const speeds = `${megabytesPerSecond(up)}/${megabytesPerSecond(down)} MB/s`
  const plane = process.env.NATWEAVE_PLANE === 'portable' ? 'portable' : 'linux-fast'
  const planes = await tunnel.planes()
  const strange = planes.find(one => one !== plane)
  if (strange !== undefined) throw new Error(`the plane is ${strange}, not ${plane}`)
  return [
    `ping ${there} ${back}`,
    `50 MB sha256 ok both ways ${speeds}`,
    ...(planes.length > 0 ? [`plane=${planes.join('+')}`] : []),
    ...(await tunnel.expectProtected()),
  ]
}

function row(
  initiator: Product,
  responder: Product,
  nat: NatType | undefined,
  more: Partial<TunnelOptions> = {},
): Case {
  const suite = more.esp === undefined ? '' : ` ${more.esp}`
  const raw = more.raw === undefined ? '' : ` raw sockets: ${more.raw}`
  const outer = more.outer6 ? ' over IPv6' : ''
  const natweave = initiator === 'natweave' || responder === 'natweave'
  return {
    name: `${nat === undefined ? 'direct' : `nat1/${nat}`} ${initiator}→${responder}${suite}${raw}${outer}`,
    ...(natweave ? { needs: 'natweave' } : {}),
    run: lab => traffic(lab, { initiator, responder, ...(nat === undefined ? {} : { nat }), ...more }),
  }
}

const PAIRS: readonly (readonly [Product, Product])[] = [
  ['natweave', 'strongSwan'],
  ['strongSwan', 'natweave'],
  ['natweave', 'natweave'],
]

export const cases: readonly Case[] = [
  row('strongSwan', 'strongSwan', 'port-restricted'),
  row('strongSwan', 'strongSwan', undefined),
  ...PAIRS.flatMap(([initiator, responder]) => NAT_TYPES.map(nat => row(initiator, responder, nat))),
  ...PAIRS.map(([initiator, responder]) => row(initiator, responder, undefined)),
  // plain ESP where both ends can and no NAT is on the way, else UDP encapsulation as before
  row('natweave', 'natweave', undefined, { raw: 'both' }),
  row('natweave', 'natweave', undefined, { raw: 'both', outer6: true }),
  row('natweave', 'natweave', undefined, { raw: 'initiator' }),
  row('natweave', 'strongSwan', undefined, { raw: 'initiator' }),
  row('natweave', 'natweave', 'port-restricted', { raw: 'both' }),
  // the other ciphers, once in each role
  ...PAIRS.slice(0, 2).flatMap(([initiator, responder]) =>
    ['aes256gcm16-x25519', 'aes128-sha256-x25519', 'aes256-sha512-x25519'].map(esp =>
      row(initiator, responder, 'port-restricted', { esp, ike: 'aes128-sha256-x25519' }),
    ),
  ),
]
