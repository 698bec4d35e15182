import type { Case } from '../case.ts'
import type { NatType, Topology } from '../lab.ts'
import { MediationLab, type MediationOptions } from '../mediation.ts'
import type { Product } from '../party.ts'

const SHORT = { natweave: 'nw', strongSwan: 'ss' } as const satisfies Record<Product, string>

const title = ({ topology, med, alice, bob }: MediationOptions, what: string): string =>
  `mediation ${topology} ${SHORT[alice]}→${SHORT[bob]} by ${SHORT[med]}${what}`

/** alice asks; ping both ways through ESP, nothing in clear. */
const connects = (options: MediationOptions): Case => ({
  name: title(options, options.nats === undefined ? '' : ` ${options.nats.join(' ')}`),
  needs: 'natweave',
  run: async lab => {
    const site = await MediationLab.up(lab, options)
    await site.register('bob')
    await site.register('alice')
    const ms = await site.connect('alice')
    return [`connected in ${ms} ms`, ...(await site.use()), ...(await site.expectProtected())]
  },
})

/** alice asks before bob is there. */
const callsBack = (options: MediationOptions): Case => ({
  name: title(options, ', called back'),
  needs: 'natweave',
  run: async lab => {
    const site = await MediationLab.up(lab, options)
    await site.register('alice')
    const connected = site.connect('alice')
    await Promise.race([connected, new Promise(resolve => setTimeout(resolve, 2_000))])
    await site.register('bob')
    await connected
    return [...(await site.use()), ...(await site.expectProtected())]
  },
})

const mixed: readonly (readonly [med: Product, alice: Product, bob: Product])[] = [
  ['strongSwan', 'natweave', 'natweave'],
  ['strongSwan', 'natweave', 'strongSwan'],
  ['strongSwan', 'strongSwan', 'natweave'],
  ['natweave', 'natweave', 'natweave'],
  ['natweave', 'natweave', 'strongSwan'],
  ['natweave', 'strongSwan', 'natweave'],
  ['natweave', 'strongSwan', 'strongSwan'],
]
const TOPOLOGIES: readonly Topology[] = ['nat2', 'samenat', 'overlap', 'cgnat']

const HARD: readonly (readonly [alice: NatType, bob: NatType])[] = [
  ['symmetric', 'full-cone'],
  ['symmetric', 'restricted'],
  ['symmetric', 'port-restricted'],
  ['port-restricted', 'symmetric'],
]

export const cases: readonly Case[] = [
  ...TOPOLOGIES.flatMap(topology => mixed.map(([med, alice, bob]) => connects({ topology, med, alice, bob }))),
  // NATs that map every destination anew, with nobody to relay
  ...HARD.map(nats => connects({ topology: 'nat2', med: 'natweave', alice: 'natweave', bob: 'natweave', nats })),
  ...mixed.map(([med, alice, bob]) => callsBack({ topology: 'nat2', med, alice, bob })),
]
