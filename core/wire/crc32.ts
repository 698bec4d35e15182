const table = Uint32Array.from({ length: 256 }, (_, octet) => {
  let crc = octet
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  return crc
})

/**
 * CRC-32 of ISO-HDLC, the one of Ethernet and zlib.
 *
 * @param crc - result for the octets before
 */
export function crc32(bytes: Uint8Array, crc = 0): number {
  let rest = ~crc
  for (const octet of bytes) rest = table[(rest ^ octet) & 0xff]! ^ (rest >>> 8)
  return ~rest >>> 0
}
