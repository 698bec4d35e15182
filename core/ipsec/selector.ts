import type { Selector } from '../contracts/strategy.ts'
import { addressBytes, getU32, type IpInfo } from '../wire/index.ts'

/** Which packets a Child SA may carry: its traffic selectors (RFC 4301 §4.4.1, RFC 7296 §3.13) in a form fast to match. */

const ALL_PORTS = 65_535

interface Range {
  readonly version: 4 | 6
  /** First and last address as 32-bit words, most significant first. */
  readonly start: readonly number[]
  readonly end: readonly number[]
  /** 0 for any. */
  readonly protocol: number
  readonly startPort: number
  readonly endPort: number
}

/** One side's selectors, made ready. */
interface Side {
  readonly ranges: readonly Range[]
  readonly key: string
  readonly breadth: number
  /** Its only address; undefined where it has several. */
  readonly host: string | undefined
}

/** Of lists that many SAs have in common, those of the configuration foremost. */
const sides = new WeakMap<readonly Selector[], Side>()

function sideOf(selectors: readonly Selector[]): Side {
  const known = sides.get(selectors)
  if (known !== undefined) return known
  const ranges = selectors.map(compile)
  const side = { ranges, key: sideKey(selectors), breadth: Math.max(...ranges.map(breadth)), host: hostOf(ranges) }
  if (Object.isFrozen(selectors)) sides.set(selectors, side)
  return side
}

let latest: { readonly local: unknown; readonly remote: unknown; readonly pair: SelectorPair } | undefined

/** The same one for lists that were asked for last: whoever has a say in an SA asks, and they come one after the other. */
export function selectorPair(local: readonly Selector[], remote: readonly Selector[]): SelectorPair {
  if (latest?.local !== local || latest.remote !== remote)
    latest = { local, remote, pair: new SelectorPair(local, remote) }
  return latest.pair
}

/** Both sides of an SA's selectors; any of the one may talk to any of the other. */
export class SelectorPair {
  readonly #local: readonly Range[]
  readonly #remote: readonly Range[]
  /** Equal for pairs that match the same packets by the same selectors, in whatever order they were given. */
  readonly key: string
  /** How much it matches, as a logarithm; a lower one is more specific. */
  readonly breadth: number
  /** The remote side's only address; undefined where it has several. */
  readonly remoteHost: string | undefined

  /** @throws UsageError USAGE_ADDRESS for text that is no address */
  constructor(local: readonly Selector[], remote: readonly Selector[]) {
    const [here, there] = [sideOf(local), sideOf(remote)]
    this.#local = here.ranges
    this.#remote = there.ranges
    this.key = [here.key, there.key].join(' = ')
    this.remoteHost = there.host
    this.breadth = here.breadth + there.breadth
  }

  /** @param info - of the inner packet in `bytes` */
  matchesOutbound(bytes: Uint8Array, info: IpInfo): boolean {
    return (
      some(this.#local, bytes, info, info.sourceAt, info.sourcePort) &&
      some(this.#remote, bytes, info, info.destinationAt, info.destinationPort)
    )
  }

  /** Whether a packet can match both. */
  overlaps(other: SelectorPair): boolean {
    return meet(this.#remote, other.#remote) && meet(this.#local, other.#local)
  }

  matchesInbound(bytes: Uint8Array, info: IpInfo): boolean {
    return (
      some(this.#remote, bytes, info, info.sourceAt, info.sourcePort) &&
      some(this.#local, bytes, info, info.destinationAt, info.destinationPort)
    )
  }
}

function hostOf(side: readonly Range[]): string | undefined {
  const [first] = side
  if (first === undefined) return undefined
  const one = side.every(({ start, end }) => same(start, first.start) && same(end, first.start))
  return one ? first.start.join('.') : undefined
}

const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((word, i) => word === b[i])

/** Whether ports do not matter, so that fragments without any match too. */
export const hasAllPorts = ({ startPort, endPort }: Selector): boolean => startPort === 0 && endPort === ALL_PORTS

const meet = (a: readonly Range[], b: readonly Range[]): boolean => a.some(x => b.some(y => rangesMeet(x, y)))

function rangesMeet(a: Range, b: Range): boolean {
  if (a.version !== b.version) return false
  if (a.protocol !== b.protocol && a.protocol !== 0 && b.protocol !== 0) return false
  const portsMeet = a.startPort <= b.endPort && b.startPort <= a.endPort
  // OPAQUE ones have no port at all: they meet their like, and what has all ports
  const opaque = (r: Range): boolean => r.startPort > r.endPort
  const all = (r: Range): boolean => r.startPort === 0 && r.endPort === ALL_PORTS
  if (opaque(a) || opaque(b) ? !(opaque(a) && opaque(b)) && !all(a) && !all(b) : !portsMeet) return false
  return !before(a.end, b.start) && !before(b.end, a.start)
}

function before(a: readonly number[], b: readonly number[]): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! < b[i]!
  return false
}

function some(ranges: readonly Range[], bytes: Uint8Array, info: IpInfo, addressAt: number, port: number): boolean {
  for (let i = 0; i < ranges.length; i++) {
    const range = ranges[i]!
    if (range.version !== info.version) continue
    if (range.protocol !== 0 && range.protocol !== info.protocol) continue
    if (hasPort(range, port) && hasAddress(range, bytes, addressAt)) return true
  }
  return false
}

/**
 * Ports that cannot be seen (later fragments, protocols without any) fit only selectors for all of them, or OPAQUE ones,
 * which RFC 7296 §3.13.1 writes as 65535 to 0.
 */
function hasPort({ startPort, endPort }: Range, port: number): boolean {
  if (startPort === 0 && endPort === ALL_PORTS) return true
  return port < 0 ? startPort === ALL_PORTS && endPort === 0 : port >= startPort && port <= endPort
}

function hasAddress({ start, end }: Range, bytes: Uint8Array, at: number): boolean {
  // as long as the words equal those of a bound, the next ones decide
  let atStart = true
  let atEnd = true
  for (let i = 0; i < start.length && (atStart || atEnd); i++) {
    const word = getU32(bytes, at + 4 * i)
    if ((atStart && word < start[i]!) || (atEnd && word > end[i]!)) return false
    atStart = atStart && word === start[i]
    atEnd = atEnd && word === end[i]
  }
  return true
}

const compile = (selector: Selector): Range => ({
  version: selector.family,
  start: words(selector.start),
  end: words(selector.end),
  protocol: selector.protocol,
  startPort: selector.startPort,
  endPort: selector.endPort,
})

function words(address: string): number[] {
  const octets = addressBytes(address)
  const words: number[] = []
  for (let at = 0; at < octets.length; at += 4) words.push(getU32(octets, at))
  return words
}

// joined: texts that are added up stay in parts, each of which takes as much as a short text
const sideKey = (side: readonly Selector[]): string =>
  side
    .map(s => [s.start, '-', s.end, '[', s.protocol, '/', s.startPort, '-', s.endPort, ']'].join(''))
    .sort()
    .join(',')

/** Bits left free: of the address (out of 128, so that families compare), the protocol and the port. */
function breadth({ start, end, protocol, startPort, endPort }: Range): number {
  const size = end.reduce((sum, word, i) => sum * 0x1_0000_0000 + word - start[i]!, 0) + 1
  const addressBits = Math.log2(Math.max(1, size)) * (4 / start.length)
  const portBits = endPort >= startPort ? Math.log2(endPort - startPort + 1) : 0
  return addressBits + (protocol === 0 ? 8 : 0) + portBits
}
