import type { Address } from '../contracts/net.ts'
import type { SelectorSettings } from '../contracts/settings.ts'
import type { Selector } from '../contracts/strategy.ts'
import { formatAddress, parseAddress, type TrafficSelector } from '../wire/index.ts'

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

const toInteger = (address: Address): bigint => {
  let value = 0n
  for (const octet of parseAddress(address)!) value = (value << 8n) | BigInt(octet)
  return value
}

function fromInteger(value: bigint, family: 4 | 6): Address {
  const bytes = new Uint8Array(family === 4 ? 4 : 16)
  for (let i = bytes.length - 1, rest = value; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn)
  return formatAddress(bytes)
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
export function fromSettings(settings: readonly SelectorSettings[], dynamic: readonly Selector[]): Selector[] {
  return settings.flatMap(({ range, protocol, startPort, endPort }) => {
    if (range === 'dynamic') return dynamic.map(s => ({ ...s, protocol, startPort, endPort }))
    const family = familyOf(range.address)
    const hostBits = BigInt((family === 4 ? 32 : 128) - range.bits)
    const start = (toInteger(range.address) >> hostBits) << hostBits
    const end = start | ((1n << hostBits) - 1n)
    return [{ family, protocol, startPort, endPort, start: fromInteger(start, family), end: fromInteger(end, family) }]
  })
}

function intersect(a: Selector, b: Selector): Selector | undefined {
  if (a.family !== b.family) return undefined
  if (a.protocol !== 0 && b.protocol !== 0 && a.protocol !== b.protocol) return undefined
  const startPort = Math.max(a.startPort, b.startPort)
  const endPort = Math.min(a.endPort, b.endPort)
  const [aStart, aEnd, bStart, bEnd] = [toInteger(a.start), toInteger(a.end), toInteger(b.start), toInteger(b.end)]
  const start = aStart > bStart ? aStart : bStart
  const end = aEnd < bEnd ? aEnd : bEnd
  if (start > end || startPort > endPort) return undefined
  return {
    family: a.family,
    protocol: a.protocol || b.protocol,
    startPort,
    endPort,
    start: fromInteger(start, a.family),
    end: fromInteger(end, a.family),
  }
}

const contains = (outer: Selector, inner: Selector): boolean => {
  const shared = intersect(outer, inner)
  return shared !== undefined && sameSelector(shared, inner)
}

export const sameSelector = (a: Selector, b: Selector): boolean =>
  a.family === b.family &&
  a.protocol === b.protocol &&
  a.startPort === b.startPort &&
  a.endPort === b.endPort &&
  a.start === b.start &&
  a.end === b.end

/**
 * The responder's narrowing, RFC 7296 §2.9: what of `proposed` the policy `allowed` covers. Empty: TS_UNACCEPTABLE.
 * A selector that another one in the result contains is left out.
 */
export function narrow(proposed: readonly Selector[], allowed: readonly Selector[]): Selector[] {
  const parts = proposed.flatMap(p => allowed.flatMap(a => intersect(p, a) ?? []))
  return parts.filter(
    (part, i) => !parts.some((other, j) => i !== j && contains(other, part) && (!contains(part, other) || j < i)),
  )
}

/** True when every answered selector lies inside a proposed one: a responder may narrow, never widen. */
export const within = (answered: readonly Selector[], proposed: readonly Selector[]): boolean =>
  answered.length > 0 && answered.every(a => proposed.some(p => contains(p, a)))

/** `10.3.0.0/24`, `10.3.0.5`, `10.3.0.5-10.3.0.9`, with `[tcp/80]`-like limits where there are any. */
export function showSelector(s: Selector): string {
  const limits =
    s.protocol === 0 && s.startPort === 0 && s.endPort === 65_535
      ? ''
      : `[${s.protocol || 'any'}${s.startPort === 0 && s.endPort === 65_535 ? '' : `/${s.startPort === s.endPort ? s.startPort : `${s.startPort}-${s.endPort}`}`}]`
  if (s.start === s.end) return s.start + limits
  const size = toInteger(s.end) - toInteger(s.start) + 1n
  const width = s.family === 4 ? 32 : 128
  const bits = size.toString(2).length - 1
  const aligned = size === 1n << BigInt(bits) && toInteger(s.start) % size === 0n
  return (aligned ? `${s.start}/${width - bits}` : `${s.start}-${s.end}`) + limits
}
