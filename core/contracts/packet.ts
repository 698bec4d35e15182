/**
 * One datagram or IP packet inside a buffer somebody else owns. The octets are `bytes[start..end)`; edits in place move
 * `start` and `end`. There is one such object per direction, reused for every packet: whoever is handed one may read and
 * change it during the call only, and copies what it keeps.
 *
 * `tos`, `ttl`, `df`, `id` and `flowLabel` are fields of the outer IP header: asked for when sending (transports that
 * cannot set them ignore them), reported when receiving (`ttl` 0 means unknown). In flows of protocol 51 `id` must be sent
 * and reported as it is, and the header goes without options: AH covers both.
 */
export interface Packet {
  bytes: Uint8Array
  start: number
  end: number
  /** IP protocol number of what starts at `start`, where the layer needs it (ESP's Next Header). */
  nextHeader: number
  tos: number
  ttl: number
  df: boolean
  id: number
  flowLabel: number
  /**
   * Received by IP protocol 51 only, where the transport has it: so many octets in front of `start` are the outer header as
   * it came, options or extension headers included. Needed for packets that have any: AH covers them.
   */
  outer?: number | undefined
}

/** Free octets in front of a packet that modes and encapsulations may grow into. */
export const HEADROOM = 128
/** Free octets behind it: ESP padding, ICV. */
export const TAILROOM = 320
/** Largest packet handled, IP's own limit. */
export const MAX_PACKET = 65_535

/** A packet object with room for the largest packet, its content empty at `HEADROOM`. */
export const newPacket = (capacity = HEADROOM + MAX_PACKET + TAILROOM): Packet => ({
  bytes: new Uint8Array(capacity),
  start: HEADROOM,
  end: HEADROOM,
  nextHeader: 0,
  tos: 0,
  ttl: 0,
  df: false,
  id: 0,
  flowLabel: 0,
})

/** A view of the octets; allocates, so for control messages only. */
export const octets = (packet: Packet): Uint8Array => packet.bytes.subarray(packet.start, packet.end)
