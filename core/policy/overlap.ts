import type { Finding } from '../contracts/natweave.ts'
import type { Prefix } from '../contracts/net.ts'
import type { ChildSettings, PeerSettings, SelectorSettings, Settings } from '../contracts/settings.ts'
import { addressBytes, compareAddresses, prefixRange } from '../wire/index.ts'

/** Addresses that two parts of a configuration claim for themselves. */

const show = ({ address, bits }: Prefix): string => `${address}/${bits}`

export function checkOverlaps({ peers, pools }: Pick<Settings, 'peers' | 'pools'>): readonly Finding[] {
  const findings: Finding[] = []
  const warn = (at: string, problem: string, severity: Finding['severity'] = 'warning'): void =>
    void findings.push({ severity, at, problem })
  const all = Object.values(pools)
  for (const [i, pool] of all.entries())
    for (const other of all.slice(0, i))
      if (meet(pool.prefix, other.prefix))
        warn(
          `pools.${pool.name}.addresses`,
          `${show(pool.prefix)} overlaps ${show(other.prefix)} of pools.${other.name}: two peers could get one address`,
          'error',
        )
  const children = Object.values(peers).flatMap(peer =>
    Object.values(peer.children).map(child => ({ peer, child, at: `peers.${peer.name}.children.${child.name}` })),
  )
  for (const { child, at } of children)
    for (const [side, selectors] of [
      ['local', child.localTs],
      ['remote', child.remoteTs],
    ] as const)
      for (const [i, { range }] of selectors.entries())
        for (const pool of all)
          if (range !== 'dynamic' && range.bits > 0 && meet(range, pool.prefix))
            warn(
              `${at}.${side}[${i}]`,
              `${show(range)} overlaps pools.${pool.name} (${show(pool.prefix)}): what is sent to such an address may go either way`,
            )
  for (const [i, one] of children.entries()) {
    const wildcard = standsForMany(one.peer)
    if (wildcard !== undefined && fixedRemote(one.child) && apart(one.child) === undefined)
      warn(
        `${one.at}.remote`,
        `${wildcard}, and all would have the same selectors: only the first is served; give them addresses of a pool (peers.${one.peer.name}.pool with remote [dynamic]), or say how to tell them apart (conflicts)`,
      )
    for (const other of children.slice(0, i)) {
      if (one.peer === other.peer || apart(one.child) !== undefined || apart(other.child) !== undefined) continue
      const clash = clashOf(one.child, other.child)
      if (clash === 'equal')
        warn(`${one.at}.remote`, `the same selectors as ${other.at}: whichever comes second is refused`, 'error')
      else if (clash !== undefined)
        warn(`${one.at}.remote`, `${clash}: the narrower one decides, and the other peer never gets that part`)
    }
  }
  return findings
}

/** How SAs with equal selectors are told apart, where they are. */
const apart = ({ conflicts }: ChildSettings): 'flows' | 'map' | undefined =>
  typeof conflicts === 'object' ? 'map' : conflicts === 'flows' ? 'flows' : undefined

const fixedRemote = ({ remoteTs }: ChildSettings): boolean => remoteTs.every(({ range }) => range !== 'dynamic')

/** In words, when several peers may authenticate as this one. */
function standsForMany({ remoteId, remote }: PeerSettings): string | undefined {
  if (remote !== undefined) return undefined
  if (remoteId.type === 'any') return 'remoteId is any, so that many may come'
  return remoteId.value.includes('*') ? `remoteId ${remoteId.value} fits many` : undefined
}

function clashOf(one: ChildSettings, other: ChildSettings): string | undefined {
  if (!one.localTs.some(a => other.localTs.some(b => met(a, b)))) return undefined
  if (key(one.remoteTs) === key(other.remoteTs) && key(one.localTs) === key(other.localTs))
    return fixedRemote(one) ? 'equal' : undefined
  for (const a of one.remoteTs)
    for (const b of other.remoteTs)
      if (a.range !== 'dynamic' && b.range !== 'dynamic' && a.range.bits > 0 && b.range.bits > 0 && met(a, b))
        return `${show(a.range)} overlaps ${show(b.range)} of another peer`
  return undefined
}

const key = (selectors: readonly SelectorSettings[]): string => JSON.stringify(selectors)

/** Whether one packet can fit both; `dynamic` may be anything. */
function met(a: SelectorSettings, b: SelectorSettings): boolean {
  if (a.protocol !== b.protocol && a.protocol !== 0 && b.protocol !== 0) return false
  if (a.startPort > b.endPort || b.startPort > a.endPort) return false
  return a.range === 'dynamic' || b.range === 'dynamic' || meet(a.range, b.range)
}

function meet(a: Prefix, b: Prefix): boolean {
  if (addressBytes(a.address).length !== addressBytes(b.address).length) return false
  const [x, y] = [prefixRange(a), prefixRange(b)]
  return compareAddresses(x.start, y.end) <= 0 && compareAddresses(y.start, x.end) <= 0
}
