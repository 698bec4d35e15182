import type { Address } from '../contracts/net.ts'
import type { SelectorSettings } from '../contracts/settings.ts'
import type { Selector } from '../contracts/strategy.ts'
import {
  type AddressRange,
  compareAddresses,
  formatAddress,
  parseAddress,
  prefixRange,
  rangePrefixes,
  type TrafficSelector,
} from '../wire/index.ts'

/** Traffic selectors between the three shapes they have: on the wire, in the configuration, and as shown text. */

/** Selectors of a TSi or TSr payload; those of unknown types are left out (they can never be chosen). */
export const fromWire = (selectors: readonly TrafficSelector[]): Selector[] =>
  selectors.flatMap(s =>
    s.family === 'unknown'
      ? []
      : [
          {
            family: s.family,
            protocol: s.protocol,
            startPort: s.startPort,
            endPort: s.endPort,
            start: formatAddress(s.startAddress),
            end: formatAddress(s.endAddress),
          },
        ],
  )

export const toWire = (selectors: readonly Selector[]): TrafficSelector[] =>
  selectors.map(s => ({
    family: s.family,
    protocol: s.protocol,
    startPort: s.startPort,
    endPort: s.endPort,
    startAddress: parseAddress(s.start)!,
    endAddress: parseAddress(s.end)!,
  }))

const familyOf = (address: Address): 4 | 6 => (address.includes(':') ? 6 : 4)

/** More than any honest answer has; a payload has room for 255, and each is compared with each. */
const MAX_NARROWED = 64

/** A selector with its addresses as octets, to compare them. */
interface Ranged {
  readonly selector: Selector
  readonly range: AddressRange
}

function ranged(selector: Selector): Ranged {
  const start = parseAddress(selector.start)!
  return { selector, range: { start, end: selector.end === selector.start ? start : parseAddress(selector.end)! } }
}

/** All of one address family. */
export const everything = (family: 4 | 6): Selector => ({
  family,
  protocol: 0,
  startPort: 0,
  endPort: 65_535,
  start: family === 4 ? '0.0.0.0' : '::',
  end: family === 4 ? '255.255.255.255' : 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
})

/** One address, all protocols and ports. */
export const host = (address: Address): Selector => ({
  ...everything(familyOf(address)),
  start: address,
  end: address,
})

/**
 * Configured selectors as ranges.
 * @param dynamic - what `dynamic` stands for: the virtual addresses, else the outer address
 */
export function fromSettings(settings: readonly SelectorSettings[], dynamic: readonly Selector[]): readonly Selector[] {
  const known = fixed.get(settings)
  if (known !== undefined) return known
  const list = ranges(settings, dynamic)
  if (settings.every(({ range }) => range !== 'dynamic')) fixed.set(settings, Object.freeze(list))
  return list
}

/** Lists without `dynamic` are the same for all SAs. */
const fixed = new WeakMap<readonly SelectorSettings[], readonly Selector[]>()

function ranges(settings: readonly SelectorSettings[], dynamic: readonly Selector[]): Selector[] {
  return settings.flatMap(({ range, protocol, startPort, endPort }) => {
    if (range === 'dynamic') return dynamic.map(s => ({ ...s, protocol, startPort, endPort }))
    const { start, end } = prefixRange(range)
    const family = familyOf(range.address)
    return [{ family, protocol, startPort, endPort, start: formatAddress(start), end: formatAddress(end) }]
  })
}

function intersect({ selector: a, range: ra }: Ranged, { selector: b, range: rb }: Ranged): Ranged | undefined {
  if (a.family !== b.family) return undefined
  if (a.protocol !== 0 && b.protocol !== 0 && a.protocol !== b.protocol) return undefined
  const startPort = Math.max(a.startPort, b.startPort)
  const endPort = Math.min(a.endPort, b.endPort)
  const [lower, start] = compareAddresses(ra.start, rb.start) > 0 ? [ra.start, a.start] : [rb.start, b.start]
  const [upper, end] = compareAddresses(ra.end, rb.end) < 0 ? [ra.end, a.end] : [rb.end, b.end]
  if (compareAddresses(lower, upper) > 0 || startPort > endPort) return undefined
  return {
    selector: { family: a.family, protocol: a.protocol || b.protocol, startPort, endPort, start, end },
    range: { start: lower, end: upper },
  }
}

const contains = (outer: Ranged, inner: Ranged): boolean => {
  const shared = intersect(outer, inner)
  return shared !== undefined && sameSelector(shared.selector, inner.selector)
}

export const sameSelector = (a: Selector, b: Selector): boolean =>
  a.family === b.family &&
  a.protocol === b.protocol &&
  a.startPort === b.startPort &&
  a.endPort === b.endPort &&
  a.start === b.start &&
  a.end === b.end

/**
 * The responder's narrowing, RFC 7296 §2.9: what of `proposed` the policy `allowed` covers, at most 64 selectors. Empty:
 * TS_UNACCEPTABLE. A selector that another one in the result contains is left out.
 */
export function narrow(proposed: readonly Selector[], allowed: readonly Selector[]): readonly Selector[] {
  if (proposed.length === 1 && allowed.length === 1 && sameSelector(proposed[0]!, allowed[0]!)) return allowed
  const limits = allowed.map(ranged)
  let kept: Ranged[] = []
  for (const selector of proposed) {
    const whole = ranged(selector)
    for (const limit of limits) {
      const part = intersect(whole, limit)
      if (part === undefined || kept.some(other => contains(other, part))) continue
      kept = kept.filter(other => !contains(part, other))
      if (kept.length < MAX_NARROWED) kept.push(part)
    }
  }
  return kept.map(({ selector }) => selector)
}

/** True when every answered selector lies inside a proposed one: a responder may narrow, never widen. */
export function within(answered: readonly Selector[], proposed: readonly Selector[]): boolean {
  const outer = proposed.map(ranged)
  return answered.length > 0 && answered.map(ranged).every(a => outer.some(p => contains(p, a)))
}

/** `10.3.0.0/24`, `10.3.0.5`, `10.3.0.5-10.3.0.9`, with `[tcp/80]`-like limits where there are any. */
export function showSelector(s: Selector): string {
  const limits =
    s.protocol === 0 && s.startPort === 0 && s.endPort === 65_535
      ? ''
      : `[${s.protocol || 'any'}${s.startPort === 0 && s.endPort === 65_535 ? '' : `/${s.startPort === s.endPort ? s.startPort : `${s.startPort}-${s.endPort}`}`}]`
  if (s.start === s.end) return s.start + limits
  const prefixes = rangePrefixes(ranged(s).range)
  const [prefix] = prefixes
  const text =
    prefixes.length === 1 && prefix !== undefined ? `${prefix.address}/${prefix.bits}` : `${s.start}-${s.end}`
  return text + limits
}
