import type { Case } from '../case.ts'
import type { Lab } from '../lab.ts'
import type { Product } from '../party.ts'
import { ping } from '../traffic.ts'
import { Tunnel } from '../tunnel.ts'

/** IKE_AUTH of either end takes several of these, and none of them is fragmented by IP. */
const SIZE = { natweave: 256, strongSwan: 200 } as const

/** IKE fragmentation (RFC 7383) of both ends, through a NAT that lets no IP fragments through. */
async function small(lab: Lab, initiator: Product, responder: Product): Promise<readonly string[]> {
  const nat = { nat: 'port-restricted', dropFragments: true } as const
  const tunnel = await Tunnel.up(lab, { initiator, responder, ...nat, fragmentSize: SIZE })
  const inner = await tunnel.inner()
  const there = await ping(lab, 'alice', tunnel.mars.address)
  const back = await ping(lab, 'mars', inner.address)
  const facts = await tunnel.expectProtected()
  const [, mine, theirs] = /^IKE fragments=(\d+)\+(\d+)$/.exec(facts[0] ?? '') ?? []
  if (Number(mine ?? 0) < 2 || Number(theirs ?? 0) < 2)
    throw new Error(`IKE fragments of both ends are wanted: ${facts[0]}`)
  return [`ping ${there} ${back}`, ...facts]
}

const row = (initiator: Product, responder: Product): Case => ({
  name: `fragmentation nat1 ${initiator}→${responder}, small datagrams, no IP fragments`,
  needs: 'natweave',
  run: lab => small(lab, initiator, responder),
})

export const cases: readonly Case[] = [
  row('natweave', 'strongSwan'),
  row('strongSwan', 'natweave'),
  row('natweave', 'natweave'),
]
