import { getU32 } from './fields.ts'

/** AH, RFC 4302 §2: the ICV, padding included, fills what LENGTH says. */
export const Ah = { NEXT_HEADER: 0, LENGTH: 1, RESERVED: 2, SPI: 4, SEQUENCE: 8, ICV: 12, HEADER: 12 } as const

/** Octets of the AH header, ICV and padding included. @param at - 2 octets must be there */
export const ahLength = (bytes: Uint8Array, at: number): number => (bytes[at + Ah.LENGTH]! + 2) * 4

/** @param at - offset of the AH header; 12 octets must be there */
export const ahSpi = (bytes: Uint8Array, at: number): number => getU32(bytes, at + Ah.SPI)

/** The low 32 bits, all that is sent. */
export const ahSequence = (bytes: Uint8Array, at: number): number => getU32(bytes, at + Ah.SEQUENCE)
