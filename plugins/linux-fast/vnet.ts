/** struct virtio_net_hdr, which Linux puts in front of every packet of a TUN device opened with IFF_VNET_HDR. */
export const Vnet = {
  FLAGS: 0,
  GSO_TYPE: 1,
  HEADER_LENGTH: 2,
  GSO_SIZE: 4,
  CHECKSUM_START: 6,
  CHECKSUM_OFFSET: 8,
  OCTETS: 10,
} as const

/** In `FLAGS`: the checksum at `CHECKSUM_START + CHECKSUM_OFFSET` is that of the pseudo header only. */
export const NEEDS_CHECKSUM = 1

/** In `GSO_TYPE`: a large packet to be cut into many. */
export const Gso = { NONE: 0, TCP4: 1, TCP6: 4, UDP: 5, ECN: 0x80 } as const

/** TCP header, RFC 9293 §3.1. */
export const Tcp = { SEQUENCE: 4, DATA_OFFSET: 12, FLAGS: 13, CHECKSUM: 16, HEADER: 20 } as const
export const TcpFlag = { FIN: 1, PSH: 8, ACK: 16, CWR: 128 } as const
