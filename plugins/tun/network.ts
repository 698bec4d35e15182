import ipaddr from 'ipaddr.js'
import type { DeviceState } from '../../core/contracts/device.ts'
import type { Address, Prefix } from '../../core/contracts/net.ts'

/** Where a device's rules and routes go; no two devices of one network namespace may share any of it. */
export interface Layout {
  readonly device: string
  /** Routing table. */
  readonly table: number
  /** Rule preference of the traffic that must not enter the device; smaller than any device's `lookup`. */
  readonly bypass: number
  /** Rule preference of the look-up in `table`; smaller than 32766, the main table's. */
  readonly lookup: number
}

/** One thing `ip` can install, and how it is taken away. `add` may be repeated. */
export interface Item {
  /** The same key with another `add` replaces what was there. */
  readonly key: string
  readonly family: 4 | 6
  readonly add: readonly string[]
  /** What serves as well where `add` is refused. */
  readonly instead?: readonly string[]
  /** Absent for what lasts as long as the device. */
  readonly remove?: readonly string[]
}

/** Preferences per block: so many devices can live in one namespace. */
const SLOTS = 1_000
/** Smallest MTU with which Linux keeps IPv6 on an interface, RFC 8200 §5. */
const IPV6_MTU = 1_280
/** IPv4's own minimum, RFC 791. */
const IPV4_MTU = 68

/**
 * @param index - the interface index, which is what makes the layout unique in a namespace
 * @param preference - first of 2000 rule preferences
 * @param table - default `preference` plus the slot
 */
export function layoutOf(device: string, index: number, preference: number, table?: number): Layout {
  const slot = index % SLOTS
  return {
    device,
    table: table ?? preference + slot,
    bypass: preference + slot,
    // all bypass rules come before all look-ups: no device may swallow another one's IKE
    lookup: preference + SLOTS + slot,
  }
}

/**
 * Everything the state asks for, in the order of installing: what keeps IKE and ESP out of the device comes before the
 * routes, and the rule that makes the routes count comes last. A family without routes gets no rules.
 */
export function itemsFor(state: DeviceState, layout: Layout): readonly Item[] {
  const { device, table } = layout
  const routes = state.routes.map(({ to, source }) => ({ to: network(to), source, family: familyOf(to.address) }))
  const families = ([4, 6] as const).filter(family => routes.some(route => route.family === family))
  const items: Item[] = []
  const link = ['link', 'set', 'dev', device, 'mtu', String(effectiveMtu(state)), 'up']
  items.push({ key: 'link', family: 4, add: link })
  for (const family of families) {
    const selectors = ['esp', 'ah', ...state.bypassPorts.map(port => `udp sport ${port}`)]
    for (const selector of selectors) {
      const rule = ['pref', String(layout.bypass), 'ipproto', ...selector.split(' '), 'table', 'main']
      items.push(ruleItem(family, rule))
    }
  }
  for (const { address } of state.addresses) {
    // a host prefix: what is reached through the device is said by the routes alone, never by an address's length
    const family = familyOf(address)
    const prefix = `${address}/${family === 4 ? 32 : 128}`
    const options = family === 4 ? [] : ['nodad']
    items.push({
      key: `address ${prefix}`,
      family,
      add: [`-${family}`, 'addr', 'replace', prefix, 'dev', device, ...options],
      remove: [`-${family}`, 'addr', 'del', prefix, 'dev', device],
    })
  }
  for (const { to, source, family } of routes) {
    const route = [to, 'dev', device, 'table', String(table)]
    const plain = [`-${family}`, 'route', 'replace', ...route]
    items.push({
      key: `route ${to}`,
      family,
      // the one address of this side may be that of a host behind this one, and the system takes its own addresses only
      ...(source === undefined ? { add: plain } : { add: [...plain, 'src', source], instead: plain }),
      remove: [`-${family}`, 'route', 'del', ...route],
    })
  }
  for (const family of families) {
    items.push(ruleItem(family, ['pref', String(layout.lookup), 'table', String(table)]))
  }
  return [...new Map(items.map(item => [item.key, item])).values()]
}

/**
 * What leads from `installed` to `wanted`. To be added before anything is removed: in between, traffic may go two ways,
 * but never past the tunnel in the clear. Removal runs backwards.
 */
export function changes(
  installed: Iterable<Item>,
  wanted: readonly Item[],
): { readonly add: readonly Item[]; readonly remove: readonly Item[] } {
  const before = new Map([...installed].map(item => [item.key, item]))
  const after = new Set(wanted.map(item => item.key))
  return {
    add: wanted.filter(item => before.get(item.key)?.add.join(' ') !== item.add.join(' ')),
    remove: [...before.values()].filter(item => !after.has(item.key)).reverse(),
  }
}

/** A line of `ip -json rule`, as far as it is ours. */
export interface ListedRule {
  readonly priority: number
  readonly table?: string
  readonly ipproto?: string
  readonly sport?: number
}

/**
 * Rules that a killed process left behind: in our range, shaped like ours, of an interface that is gone.
 *
 * @param indexes - of the interfaces that exist, without the one about to be configured
 * @returns arguments of `ip` that remove them
 */
export function staleRules(
  rules: readonly ListedRule[],
  indexes: readonly number[],
  family: 4 | 6,
  preference: number,
  table?: number,
): readonly (readonly string[])[] {
  const live = new Set(indexes.map(index => index % SLOTS))
  return rules.flatMap(rule => {
    const offset = rule.priority - preference
    const slot = offset % SLOTS
    if (offset < 0 || offset >= 2 * SLOTS || live.has(slot)) return []
    const ours =
      offset < SLOTS ? rule.table === 'main' && rule.ipproto !== undefined : isTable(rule, table, preference + slot)
    if (!ours) return []
    const protocol = rule.ipproto === undefined ? [] : ['ipproto', rule.ipproto]
    const port = rule.sport === undefined ? [] : ['sport', String(rule.sport)]
    return [
      [`-${family}`, 'rule', 'del', 'pref', String(rule.priority), ...protocol, ...port, 'table', String(rule.table)],
    ]
  })
}

const isTable = (rule: ListedRule, ...tables: (number | undefined)[]): boolean =>
  tables.some(table => table !== undefined && rule.table === String(table))

function ruleItem(family: 4 | 6, rule: readonly string[]): Item {
  return {
    key: `rule ${family} ${rule.join(' ')}`,
    family,
    add: [`-${family}`, 'rule', 'add', ...rule],
    remove: [`-${family}`, 'rule', 'del', ...rule],
  }
}

function effectiveMtu(state: DeviceState): number {
  const v6 = [...state.addresses, ...state.routes.map(route => route.to)].some(({ address }) => familyOf(address) === 6)
  return Math.max(state.mtu, v6 ? IPV6_MTU : IPV4_MTU)
}

const familyOf = (address: Address): 4 | 6 => (address.includes(':') ? 6 : 4)

/** Without host bits, which `ip route` refuses. */
function network({ address, bits }: Prefix): string {
  const cidr = `${address}/${bits}`
  const base =
    familyOf(address) === 4 ? ipaddr.IPv4.networkAddressFromCIDR(cidr) : ipaddr.IPv6.networkAddressFromCIDR(cidr)
  return `${base instanceof ipaddr.IPv6 ? base.toRFC5952String() : base.toString()}/${bits}`
}
