import { type NatKind, type Report, showProbe, type Verdict } from '../../plugins/stun/index.ts'
import { showEndpoint } from '../contracts/net.ts'
import { type Output, table } from './output.ts'

/** What `natweave detect` prints. */

const TITLES: Readonly<Record<Verdict['fact'], string>> = {
  localNatKind: 'NAT',
  localNatMapping: 'mapping',
  localNatFiltering: 'filtering',
  localHairpin: 'hairpinning',
  localPortAllocation: 'outer ports',
  localPortStep: 'port step',
  localPortParity: 'port parity',
  mappingLifetime: 'idle mapping',
  udpFragments: 'fragments',
}

/** What it means for reaching peers without a relay; by the table of RFC 5128 §3.3 and RFC 4787. */
const MEANING: Readonly<Record<NatKind, string>> = {
  none: 'Peers can reach this host at its own address.',
  'udp-blocked': 'No UDP gets through to this server: peers are reached over TCP, or not at all.',
  'symmetric-firewall': 'Peers are reached directly when both ends send; nobody gets in unasked.',
  'full-cone': 'Peers can reach this host at its mapped address.',
  'restricted-cone': 'Hole punching reaches every peer that has UDP.',
  'port-restricted-cone':
    'Hole punching reaches peers behind every NAT but symmetric ones; those need prediction or a relay.',
  symmetric:
    'Hole punching reaches peers without a NAT or behind full or restricted cones; others need prediction or a relay.',
}

export function renderDetection(report: Report, { colours: c, terminal }: Output): string[] {
  const { server, local, mapped, verdicts, probes } = report
  const kind = verdicts.find(verdict => verdict.fact === 'localNatKind')?.value
  const rows = verdicts.map(verdict => {
    const value = verdict.value === undefined ? c.yellow('unknown') : c.bold(show(verdict))
    const sure = verdict.value === undefined ? '' : `${(100 * verdict.confidence).toFixed(1)}%`
    return ['  ', TITLES[verdict.fact], value, sure, c.dim(`${verdict.rule} [${verdict.evidence.join(', ')}]`)]
  })
  return [
    `STUN server ${showEndpoint(server)}: ${showEndpoint(local)} is seen as ${mapped === undefined ? 'nothing' : c.bold(showEndpoint(mapped))}`,
    '',
    ...table(rows),
    ...(kind === undefined ? [] : ['', MEANING[kind]]),
    // on a terminal they have been printed one by one
    ...(terminal ? [] : ['', 'Evidence', ...probes.map(probe => `  ${showProbe(probe)}`)]),
  ]
}

function show({ fact, value }: Verdict): string {
  switch (fact) {
    case 'mappingLifetime':
      return `lives ${value! / 1000} s`
    case 'localNatKind':
      return value === 'none' ? 'none' : value!.replaceAll('-', ' ')
    case 'udpFragments':
      return value ? 'get through' : 'do not get through'
    case 'localPortParity':
      return value ? 'kept' : 'not kept'
    default:
      return typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value)
  }
}
