import { beet } from '../../../plugins/beet/index.ts'
import { ikeMe } from '../../../plugins/ike-me/index.ts'
import { udpEncap } from '../../../plugins/udp-encap/index.ts'
import type { ModeContext, ModeStrategy, Plugin } from '../../index.ts'
import { STRATEGY } from '../../index.ts'
import { Transport } from '../../ipsec/modes/transport.ts'

/** What is in play: nothing, one cure alone, or all of them with policy to choose. */
export interface Column {
  readonly name: 'none' | 'udp-encap' | 'beet' | 'ike-me' | 'policy'
  readonly title: string
  /** Fresh for each build. */
  plugins(): Plugin[]
  readonly udp: boolean
  readonly beet: boolean
  /** Peers are found through the mediation server med. */
  readonly mediated: boolean
}

/** IPv6 has no NATs here, and inner addresses are no places to be reached at. */
const me = (): Plugin => ikeMe({ disclose: { only: ['0.0.0.0/0'], hide: ['10.8.0.0/15'] } })

export const COLUMNS: readonly Column[] = [
  { name: 'none', title: 'without a cure', udp: false, beet: false, mediated: false, plugins: () => [lab] },
  {
    name: 'udp-encap',
    title: 'UDP encapsulation',
    udp: true,
    beet: false,
    mediated: false,
    plugins: () => [udpEncap()],
  },
  { name: 'beet', title: 'BEET', udp: false, beet: true, mediated: false, plugins: () => [beet()] },
  // a path through NATs is a pair of UDP mappings: nothing else goes through it
  { name: 'ike-me', title: 'IKE-ME', udp: true, beet: false, mediated: true, plugins: () => [udpEncap(), me()] },
  {
    name: 'policy',
    title: 'what policy chooses',
    udp: true,
    beet: true,
    mediated: false,
    plugins: () => [udpEncap(), beet(), me()],
  },
]

/** The mode of a child where both ends are hosts. */
export const hostMode = ({ name }: Column): string =>
  ({ none: UNREPAIRED, 'udp-encap': 'transport', beet: 'beet', 'ike-me': 'transport', policy: 'auto' })[name]

/** Transport mode as RFC 2406 had it: nobody mends a checksum that a NAT has made wrong. */
const UNREPAIRED = 'unrepaired'

const transport = new Transport()
const unrepaired: ModeStrategy = {
  slot: 'mode',
  name: UNREPAIRED,
  // of its own, so that nobody takes it for the one that repairs
  notify: 40_999,
  substitutes: true,
  solves: [],
  assess: facts => transport.assess(facts),
  refuses: context => transport.refuses(asOnTheWire(context)),
  create: context => transport.create(asOnTheWire(context)),
}

/** Selectors with the addresses packets have here, as if both ends saw the same. */
function asOnTheWire(context: ModeContext): ModeContext {
  const { local, remote } = context.flow()
  const seen = (selectors: ModeContext['local'], address: string): ModeContext['local'] =>
    selectors.map(selector => ({ ...selector, start: address, end: address }))
  return {
    ...context,
    local: seen(context.local, local.address),
    remote: seen(context.remote, remote.address),
    facts: {},
  }
}

/** A plugin of the matrix's own: what is needed to see the failure is no part of natweave. */
const lab: Plugin = {
  name: 'matrix-lab',
  api: 1,
  register: container => container.register(STRATEGY, { useValue: unrepaired }),
}
