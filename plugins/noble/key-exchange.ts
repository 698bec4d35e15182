import { x25519 } from '@noble/curves/ed25519.js'
import { p256, p384, p521 } from '@noble/curves/nist.js'
import { bytesToNumberBE, numberToBytesBE } from '@noble/curves/utils.js'
import type { KeyExchange } from '../../core/contracts/crypto.ts'
import type { Rng } from '../../core/contracts/machine.ts'
import { UsageError } from '../../core/errors.ts'
import { Ke } from '../../core/wire/index.ts'
import { checkLength, invalid, orInvalid } from './invalid.ts'
import { ML_KEM, startMlKem } from './ml-kem.ts'
import { modPow, modpPrime } from './modp.ts'

/** Bits of the prime. */
const MODP: Readonly<Record<number, number>> = {
  [Ke.MODP_2048]: 2048,
  [Ke.MODP_3072]: 3072,
  [Ke.MODP_4096]: 4096,
  [Ke.MODP_6144]: 6144,
  [Ke.MODP_8192]: 8192,
}

type Curve = typeof p256

/** Octets of a coordinate; the first octet's mask for the bits the field has. */
const ECP: Readonly<Record<number, { readonly curve: Curve; readonly size: number; readonly mask: number }>> = {
  [Ke.ECP_256]: { curve: p256, size: 32, mask: 0xff },
  [Ke.ECP_384]: { curve: p384, size: 48, mask: 0xff },
  [Ke.ECP_521]: { curve: p521, size: 66, mask: 0x01 },
}

/** Twice the 256 bits of strength that no group here exceeds. */
const EXPONENT = 64

export const supportsGroup = (group: number): boolean =>
  group in MODP || group in ECP || group === Ke.CURVE25519 || group in ML_KEM

/** @returns undefined for a group not supported */
export function startKeyExchange(group: number, rng: Rng): KeyExchange | undefined {
  const bits = MODP[group]
  if (bits !== undefined) return modp(bits, rng)
  const curve = ECP[group]
  if (curve !== undefined) return ecp(curve, rng)
  return group === Ke.CURVE25519 ? curve25519(rng) : startMlKem(group, rng)
}

/** RFC 3526. Draws 64 octets, their first bit set. */
function modp(bits: number, rng: Rng): KeyExchange {
  const prime = modpPrime(bits)
  const exponent = rng.bytes(EXPONENT)
  exponent[0]! |= 0x80
  return {
    publicValue: numberToBytesBE(modPow(2n, exponent, prime), bits / 8),
    shared: peer => {
      checkLength(peer, bits / 8)
      const value = bytesToNumberBE(peer)
      if (value <= 1n || value >= prime - 1n) throw invalid('out of range')
      return numberToBytesBE(modPow(value, exponent, prime), bits / 8)
    },
  }
}

/** RFC 5903. Draws octets of one coordinate, the bits above the field cleared, until they are a private key. */
function ecp({ curve, size, mask }: { curve: Curve; size: number; mask: number }, rng: Rng): KeyExchange {
  const scalar = drawScalar(curve, size, mask, rng)
  return {
    publicValue: curve.getPublicKey(scalar, false).slice(1),
    shared: peer => {
      checkLength(peer, 2 * size)
      const point = new Uint8Array(1 + peer.length)
      point[0] = 0x04
      point.set(peer, 1)
      return orInvalid('no point of the curve', () => curve.getSharedSecret(scalar, point).slice(1))
    },
  }
}

function drawScalar(curve: Curve, size: number, mask: number, rng: Rng): Uint8Array {
  for (let tries = 0; tries < 100; tries++) {
    const scalar = rng.bytes(size)
    scalar[0]! &= mask
    if (curve.utils.isValidSecretKey(scalar)) return scalar
  }
  throw new UsageError('USAGE_RNG', 'the random generator gives no usable private key')
}

/** RFC 8031. Draws 32 octets; RFC 7748's function clamps them. */
function curve25519(rng: Rng): KeyExchange {
  const scalar = rng.bytes(32)
  return {
    publicValue: x25519.getPublicKey(scalar),
    shared: peer => {
      checkLength(peer, 32)
      return orInvalid('all-zero result', () => x25519.getSharedSecret(scalar, peer)) // RFC 8031 §2.2
    },
  }
}
