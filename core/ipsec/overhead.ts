import type { EspSuite } from '../contracts/data-plane.ts'
import { ESP_TRAILER, Esp, Ipv4, Ipv6 } from '../wire/index.ts'
import { ahHeaderLength } from './ah.ts'
import { espTransform, icvLength, isAh } from './transforms.ts'

/** What surrounds an inner packet on the wire. */
export interface Framing {
  readonly suite: EspSuite
  /** Name of the mode; all but `tunnel` leave the inner IP header out. */
  readonly mode: string
  /** `Mode.saves`, where the mode says it. */
  readonly saves?: number | undefined
  /** `EncapStrategy.overhead`. */
  readonly encapOctets: number
  /** Of the outer IP header. */
  readonly family: 4 | 6
}

/**
 * Largest inner packet whose outer packet fits `pathMtu`, padding included. Modes without inner header are taken to save
 * one of the outer family. Never below 68, IPv4's own least (RFC 791).
 */
export function innerMtu(pathMtu: number, framing: Framing): number {
  const room = pathMtu - outerOctets(framing)
  if (isAh(framing.suite)) return Math.max(68, room + savedOctets(framing))
  const { align } = transform(framing.suite)
  return Math.max(68, room - (room % align) - ESP_TRAILER + savedOctets(framing))
}

/** Octets a packet grows by at most, outer IP header and padding included. */
export function espOverhead(framing: Framing): number {
  if (isAh(framing.suite)) return outerOctets(framing) - savedOctets(framing)
  return outerOctets(framing) + ESP_TRAILER + transform(framing.suite).align - 1 - savedOctets(framing)
}

/** Everything but payload, padding and trailer. */
function outerOctets({ suite, encapOctets, family }: Framing): number {
  if (isAh(suite)) return ipHeader(family) + encapOctets + ahHeaderLength(icvLength(suite) ?? 0, 8)
  return ipHeader(family) + encapOctets + Esp.HEADER + transform(suite).iv + (icvLength(suite) ?? 0)
}

const savedOctets = ({ mode, saves, family }: Framing): number => saves ?? (mode === 'tunnel' ? 0 : ipHeader(family))

const ipHeader = (family: 4 | 6): number => (family === 4 ? Ipv4.HEADER : Ipv6.HEADER)

/** An unknown suite is refused elsewhere; here it counts as the widest. */
const transform = (suite: EspSuite): { iv: number; align: number } => espTransform(suite.encr) ?? { iv: 16, align: 16 }
