import type { Endpoint } from '../../core/contracts/net.ts'
import { WireError } from '../../core/errors.ts'
import type { PathCandidateKind } from '../../core/path/index.ts'
import { addressBytes, type Codec, decode, encode, familyOf, formatAddress } from '../../core/wire/index.ts'

/** Data of the notify ME_ENDPOINT. */
export interface MeEndpoint {
  readonly kind: PathCandidateKind
  /** 32 bits. */
  readonly priority: number
  /** Absent: the sender asks for it (family 0). Port 0: see `isAnyPort`. */
  readonly endpoint?: Endpoint
}

/** Numbers of the family octet. */
const NONE = 0
const IPV4 = 1
const IPV6 = 2

const TYPES: Readonly<Record<PathCandidateKind, number>> = {
  host: 1,
  'peer-reflexive': 2,
  'server-reflexive': 3,
  relayed: 4,
}
const KINDS = new Map(Object.entries(TYPES).map(([kind, type]) => [type, kind as PathCandidateKind]))

const codec: Codec<MeEndpoint> = {
  read: r => {
    const priority = r.u32()
    const family = r.u8()
    const type = r.u8()
    const port = r.u16()
    const kind = KINDS.get(type)
    if (kind === undefined) throw new WireError(`ME_ENDPOINT: type ${type}`)
    if (family === NONE) return { kind, priority }
    if (family !== IPV4 && family !== IPV6) throw new WireError(`ME_ENDPOINT: family ${family}`)
    return { kind, priority, endpoint: { address: formatAddress(r.take(family === IPV4 ? 4 : 16)), port } }
  },
  write: (w, { kind, priority, endpoint }) => {
    w.u32(priority)
    w.u8(endpoint === undefined ? NONE : familyOf(endpoint.address) === 4 ? IPV4 : IPV6)
    w.u8(TYPES[kind])
    w.u16(endpoint?.port ?? 0)
    if (endpoint !== undefined) w.put(addressBytes(endpoint.address))
  },
}

/** 8, 12 or 24 octets. */
export const encodeEndpoint = (value: MeEndpoint): Uint8Array => encode(codec, value)

/** @returns undefined for a type or family not known and for a wrong length: that endpoint is skipped, the rest counts */
export function decodeEndpoint(data: Uint8Array): MeEndpoint | undefined {
  try {
    return decode(codec, data)
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

/**
 * A NAT in front of the sender takes ports nobody can know: the sender is reached at this address, and agrees to be looked
 * for at all its ports. strongSwan cannot send to port 0, and would get nowhere with such a peer anyway.
 */
export const isAnyPort = ({ kind, endpoint }: MeEndpoint): boolean =>
  kind === 'server-reflexive' && endpoint?.port === 0
