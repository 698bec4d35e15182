import {
  addressOfBytes,
  classifyNatt,
  ExchangeType,
  Flag,
  IKE_PORT,
  IpProtocol,
  NATT_PORT,
  NON_ESP_MARKER,
  nameOf,
  newIpInfo,
  peekIkeHeader,
  readIp,
  Udp,
} from '../../wire/index.ts'

/** What a packet is to somebody who reads it on the wire; `clear` is whatever is none of the others. */
export type Kind = 'ike' | 'esp' | 'keepalive' | 'clear'

/** One packet on one segment, as far as anybody without keys can read it. */
export interface Sighting {
  /** Virtual ms. */
  readonly at: number
  readonly kind: Kind
  /** `198.51.100.1:4500`; without the port where there is none. */
  readonly from: string
  readonly to: string
  /** Of the IP packet. */
  readonly octets: number
  /** `IKE_AUTH request 1`; empty unless IKE. */
  readonly title: string
  /** Equal for the same message on every segment, whatever its addresses are there; empty unless IKE. */
  readonly key: string
}

const info = newIpInfo()

/** Reads one IP packet off a tap. */
export function sight(packet: Uint8Array, at: number): Sighting {
  const octets = packet.length
  if (readIp(packet, 0, octets, info) !== undefined)
    return { at, kind: 'clear', from: '?', to: '?', octets, title: '', key: '' }
  const family = info.version
  const show = (offset: number, port: number): string => {
    const address = addressOfBytes(packet, offset, family)
    return port < 0 ? address : family === 6 ? `[${address}]:${port}` : `${address}:${port}`
  }
  const udp = info.protocol === IpProtocol.UDP && info.fragmentOffset === 0
  const ports = [info.sourcePort, info.destinationPort]
  const from = show(info.sourceAt, udp ? info.sourcePort : -1)
  const to = show(info.destinationAt, udp ? info.destinationPort : -1)
  const seen = { at, from, to, octets }
  if (info.protocol === IpProtocol.ESP) return { ...seen, kind: 'esp', title: '', key: '' }
  if (!udp) return { ...seen, kind: 'clear', title: '', key: '' }
  const start = info.upperAt + Udp.HEADER
  if (ports.includes(IKE_PORT)) return { ...seen, ...ike(packet.subarray(start, info.end)) }
  if (!ports.includes(NATT_PORT)) return { ...seen, kind: 'clear', title: '', key: '' }
  const kind = classifyNatt(packet, start, info.end)
  if (kind === 'ike') return { ...seen, ...ike(packet.subarray(start + NON_ESP_MARKER, info.end)) }
  return { ...seen, kind: kind === 'short' ? 'clear' : kind, title: '', key: '' }
}

function ike(message: Uint8Array): Pick<Sighting, 'kind' | 'title' | 'key'> {
  const head = peekIkeHeader(message)
  if (head === undefined) return { kind: 'clear', title: '', key: '' }
  const kind = (head.flags & Flag.RESPONSE) === 0 ? 'request' : 'response'
  const title = `${nameOf(ExchangeType, head.exchange)} ${kind} ${head.messageId}`
  // the last octets are an ICV or a hash: they tell fragments, and messages of other SAs, apart
  const mark = message.subarray(-12).join('.')
  return { kind: 'ike', title, key: `${head.initiatorSpi.toString(16)} ${title} ${mark}` }
}

/** One IKE message on its way over all segments. */
export interface Crossing {
  readonly type: 'message'
  /** When it was first seen, virtual ms. */
  readonly at: number
  /** True from the left end to the right one. */
  readonly rightwards: boolean
  readonly title: string
  /** Its sightings from left to right; undefined where it never came. */
  readonly hops: readonly (Sighting | undefined)[]
}

/** ESP and keepalives between two IKE messages, as the middle segment saw them. */
export interface Stretch {
  readonly type: 'stretch'
  readonly at: number
  readonly until: number
  readonly right: Tally
  readonly left: Tally
}

export interface Tally {
  readonly esp: number
  readonly espOctets: number
  readonly keepalives: number
}

/**
 * Puts together what the segments between two hosts saw, left to right.
 *
 * @param segments - sightings in order of time, one list for each segment
 * @param leftmost - address of the left host, without port
 */
export function assemble(segments: readonly (readonly Sighting[])[], leftmost: string): (Crossing | Stretch)[] {
  const crossings = segments.length === 0 ? [] : cross(segments, leftmost)
  const middle = segments[Math.floor(segments.length / 2)] ?? []
  const outward = crossings.flatMap(c => c.hops[Math.floor(segments.length / 2)] ?? [])
  const borders = outward.map(({ at }) => at)
  const stretches: { at: number; until: number; right: Sums; left: Sums }[] = []
  const left = middleAddress(crossings, Math.floor(segments.length / 2))
  let last = -1
  for (const seen of middle) {
    if (seen.kind !== 'esp' && seen.kind !== 'keepalive') continue
    const slot = borders.findLastIndex(at => at <= seen.at)
    if (slot !== last || stretches.length === 0)
      stretches.push({ at: seen.at, until: seen.at, right: sums(), left: sums() })
    last = slot
    const stretch = stretches.at(-1)!
    stretch.until = seen.at
    const tally = addressOf(seen.from) === left ? stretch.right : stretch.left
    if (seen.kind === 'keepalive') tally.keepalives++
    else {
      tally.esp++
      tally.espOctets += seen.octets
    }
  }
  const bands = stretches.map((s): Stretch => ({ type: 'stretch', ...s }))
  return [...crossings, ...bands].sort((a, b) => a.at - b.at)
}

type Sums = { -readonly [K in keyof Tally]: Tally[K] }
const sums = (): Sums => ({ esp: 0, espOctets: 0, keepalives: 0 })

const addressOf = (end: string): string => end.replace(/:\d+$/, '')

/** The address that stands for the left host on this segment. */
function middleAddress(crossings: readonly Crossing[], segment: number): string | undefined {
  const one = crossings.find(({ hops, rightwards }) => rightwards && hops[segment] !== undefined)
  return one && addressOf(one.hops[segment]!.from)
}

function cross(segments: readonly (readonly Sighting[])[], leftmost: string): Crossing[] {
  const waiting = segments.map(list => list.filter(({ kind }) => kind === 'ike'))
  const take = (segment: number, { key, at }: Sighting): Sighting | undefined => {
    const list = waiting[segment]!
    const index = list.findLastIndex(other => other.key === key && other.at >= at)
    return index < 0 ? undefined : list.splice(index, 1)[0]
  }
  const follow = (first: Sighting, order: readonly number[]): (Sighting | undefined)[] => {
    let previous: Sighting | undefined = first
    return order.map(segment => (previous = previous && take(segment, previous)))
  }
  // the latest first: of a message sent twice, the second sighting belongs to the second sending if it came after that
  const outer = waiting.map((_, index) => index)
  const fromLeft = waiting[0]!.filter(({ from }) => addressOf(from) === leftmost)
  const right = fromLeft.toReversed().map((first): Crossing => {
    const { at, title } = first
    return { type: 'message', at, rightwards: true, title, hops: follow(first, outer) }
  })
  const left = waiting
    .at(-1)!
    .toReversed()
    .map((first): Crossing => {
      const { at, title } = first
      return { type: 'message', at, rightwards: false, title, hops: follow(first, outer.toReversed()).reverse() }
    })
  return [...right, ...left].sort((a, b) => a.at - b.at)
}
