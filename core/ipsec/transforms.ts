import type { PacketCrypto } from '../contracts/crypto.ts'
import { TransformType } from '../contracts/crypto.ts'
import type { EspKeys, EspSuite } from '../contracts/data-plane.ts'
import { Encr, Integ, IpProtocol } from '../wire/index.ts'

/** How an encryption algorithm stands in an ESP packet; octets. */
export interface EspTransform {
  /** Of the wire: 8 counting ones, or a random block for CBC, RFC 4303 §2.3.1. */
  readonly iv: number
  /** Taken from the end of the keying material into the nonce; AES-CTR's nonce is part of its key instead. */
  readonly salt: number
  /** ICV of an AEAD; 0 where an integrity algorithm stands beside. */
  readonly icv: number
  /** Ciphertext is a multiple of this; ESP itself wants 4, RFC 4303 §2.4. */
  readonly align: number
}

const aead = (salt: number, icv: number): EspTransform => ({ iv: 8, salt, icv, align: 4 })

/** RFC 2410, 3602, 3686, 4106, 4309, 4543, 7634. */
const ENCRYPTION: Readonly<Record<number, EspTransform>> = {
  [Encr.ENCR_NULL]: { iv: 0, salt: 0, icv: 0, align: 4 },
  [Encr.ENCR_AES_CBC]: { iv: 16, salt: 0, icv: 0, align: 16 },
  [Encr.ENCR_AES_CTR]: { iv: 8, salt: 0, icv: 0, align: 4 },
  [Encr.ENCR_AES_CCM_8]: aead(3, 8),
  [Encr.ENCR_AES_CCM_12]: aead(3, 12),
  [Encr.ENCR_AES_CCM_16]: aead(3, 16),
  [Encr.ENCR_AES_GCM_8]: aead(4, 8),
  [Encr.ENCR_AES_GCM_12]: aead(4, 12),
  [Encr.ENCR_AES_GCM_16]: aead(4, 16),
  [Encr.ENCR_CHACHA20_POLY1305]: aead(4, 16),
  [Encr.ENCR_NULL_AUTH_AES_GMAC]: aead(4, 16),
}

/** ICV lengths, RFC 2404, 3566, 4494 and 4868. */
const INTEGRITY: Readonly<Record<number, number>> = {
  [Integ.AUTH_HMAC_SHA1_96]: 12,
  [Integ.AUTH_AES_XCBC_96]: 12,
  [Integ.AUTH_AES_CMAC_96]: 12,
  [Integ.AUTH_HMAC_SHA2_256_128]: 16,
  [Integ.AUTH_HMAC_SHA2_384_192]: 24,
  [Integ.AUTH_HMAC_SHA2_512_256]: 32,
}

export const isAh = ({ protocol }: EspSuite): boolean => protocol === IpProtocol.AH

/** Undefined for an algorithm natweave has no ESP framing for. */
export const espTransform = (encr: number): EspTransform | undefined => ENCRYPTION[encr]

/** Octets of the ICV a suite puts behind a packet; undefined for a suite natweave cannot carry. */
export function icvLength(suite: EspSuite): number | undefined {
  if (isAh(suite)) return INTEGRITY[suite.integ ?? Integ.NONE]
  const { icv } = espTransform(suite.encr) ?? { icv: undefined }
  return icv === 0 ? INTEGRITY[suite.integ ?? Integ.NONE] : icv
}

/** Why ESP or AH with this suite and these keys cannot be; undefined when it can. */
export function refusesSuite(crypto: PacketCrypto, suite: EspSuite, keys: EspKeys): string | undefined {
  const { encr, keyBits, integ } = suite
  if (isAh(suite)) return refusesIntegrity(crypto, integ)
  const transform = espTransform(encr)
  if (transform === undefined || !crypto.supports(TransformType.ENCR, encr, keyBits))
    return `encryption transform ${encr}${keyBits === undefined ? '' : ` with ${keyBits} bits`} is not supported`
  if (keys.salt.length !== transform.salt) return `a salt of ${keys.salt.length} octets, wanted ${transform.salt}`
  if (transform.icv > 0) return undefined
  // encryption without integrity is open to everybody who can flip a bit: RFC 8221 §4
  return refusesIntegrity(crypto, integ)
}

function refusesIntegrity(crypto: PacketCrypto, integ: number = Integ.NONE): string | undefined {
  const known = INTEGRITY[integ] !== undefined && crypto.supports(TransformType.INTEG, integ)
  return known ? undefined : `integrity transform ${integ} is not supported`
}
