import { getU32 } from './fields.ts'

/** ESP, RFC 4303 §2: only the SA's algorithm knows how what follows the header splits into IV, ciphertext and ICV. */
export const Esp = { SPI: 0, SEQUENCE: 4, HEADER: 8 } as const

/** Octets behind the payload and its padding: Pad Length, Next Header. */
export const ESP_TRAILER = 2
/** SPIs below are reserved; 0 is for local use and never on the wire. */
export const MIN_SPI = 256

/** @param at - offset of the ESP header; 8 octets must be there */
export const espSpi = (bytes: Uint8Array, at: number): number => getU32(bytes, at + Esp.SPI)

/** The low 32 bits, all that is sent. */
export const espSequence = (bytes: Uint8Array, at: number): number => getU32(bytes, at + Esp.SEQUENCE)
