import {
  createDiffieHellman,
  createECDH,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  getDiffieHellman,
} from 'node:crypto'
import type { KeyExchange } from '../../core/contracts/crypto.ts'
import type { Rng } from '../../core/contracts/machine.ts'
import { PeerError, UsageError } from '../../core/errors.ts'
import { Ke, NotifyType } from '../../core/wire/index.ts'

const MODP: Readonly<Record<number, string>> = {
  [Ke.MODP_2048]: 'modp14',
  [Ke.MODP_3072]: 'modp15',
  [Ke.MODP_4096]: 'modp16',
  [Ke.MODP_6144]: 'modp17',
  [Ke.MODP_8192]: 'modp18',
}

/** Octets of a coordinate; the first octet's mask for the bits the field has. */
const ECP: Readonly<Record<number, { readonly curve: string; readonly size: number; readonly mask: number }>> = {
  [Ke.ECP_256]: { curve: 'prime256v1', size: 32, mask: 0xff },
  [Ke.ECP_384]: { curve: 'secp384r1', size: 48, mask: 0xff },
  [Ke.ECP_521]: { curve: 'secp521r1', size: 66, mask: 0x01 },
}

/** Twice the 256 bits of strength that no group here exceeds. */
const EXPONENT = 64

export const supportsGroup = (group: number): boolean => group in MODP || group in ECP || group === Ke.CURVE25519

/** @returns undefined for a group not supported */
export function startKeyExchange(group: number, rng: Rng): KeyExchange | undefined {
  const modpGroup = MODP[group]
  if (modpGroup !== undefined) return modp(modpGroup, rng)
  const curve = ECP[group]
  if (curve !== undefined) return ecp(curve, rng)
  return group === Ke.CURVE25519 ? x25519(rng) : undefined
}

/** RFC 3526. Draws 64 octets, their first bit set. */
function modp(name: string, rng: Rng): KeyExchange {
  const prime = getDiffieHellman(name).getPrime()
  const exponent = rng.bytes(EXPONENT)
  exponent[0]! |= 0x80
  const dh = createDiffieHellman(prime, 2)
  dh.setPrivateKey(exponent)
  const largest = Buffer.from(prime)
  largest[largest.length - 1]! -= 2 // the prime is odd: p - 2 needs no borrow
  return {
    publicValue: leftPadded(dh.generateKeys(), prime.length),
    shared: peer => {
      checkLength(peer, prime.length)
      const small = peer.subarray(0, -1).every(octet => octet === 0) && peer[peer.length - 1]! <= 1
      if (small || Buffer.compare(peer, largest) > 0) throw invalid('out of range')
      return leftPadded(dh.computeSecret(peer), prime.length)
    },
  }
}

/** RFC 5903. Draws octets of one coordinate, the bits above the field cleared, until they are a private key. */
function ecp({ curve, size, mask }: { curve: string; size: number; mask: number }, rng: Rng): KeyExchange {
  const ecdh = createECDH(curve)
  for (let tries = 0; ; tries++) {
    if (tries === 100) throw new UsageError('USAGE_RNG', 'the random generator gives no usable private key')
    const scalar = rng.bytes(size)
    scalar[0]! &= mask
    try {
      ecdh.setPrivateKey(scalar)
      break
    } catch {
      // zero or not below the order of the curve
    }
  }
  return {
    publicValue: octets(ecdh.getPublicKey(null, 'uncompressed').subarray(1)),
    shared: peer => {
      checkLength(peer, 2 * size)
      const point = new Uint8Array(1 + peer.length)
      point[0] = 0x04
      point.set(peer, 1)
      try {
        return octets(ecdh.computeSecret(point))
      } catch (cause) {
        throw invalid('no point of the curve', cause)
      }
    },
  }
}

const PKCS8_X25519 = Buffer.from('302e020100300506032b656e04220420', 'hex')

/** RFC 8031. Draws 32 octets; RFC 7748's function clamps them. */
function x25519(rng: Rng): KeyExchange {
  const der = Buffer.concat([PKCS8_X25519, rng.bytes(32)])
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  der.fill(0)
  const { x } = createPublicKey(privateKey).export({ format: 'jwk' })
  return {
    publicValue: octets(Buffer.from(x!, 'base64url')),
    shared: peer => {
      checkLength(peer, 32)
      // OpenSSL takes far longer to read DER; the private key stays in octets, which can be wiped
      const jwk = { kty: 'OKP', crv: 'X25519', x: Buffer.from(peer).toString('base64url') }
      const publicKey = createPublicKey({ key: jwk, format: 'jwk' })
      try {
        return octets(diffieHellman({ privateKey, publicKey }))
      } catch (cause) {
        throw invalid('all-zero result', cause) // RFC 8031 §2.2; OpenSSL refuses it itself
      }
    },
  }
}

function checkLength(peer: Uint8Array, wanted: number): void {
  if (peer.length !== wanted) throw invalid(`${peer.length} octets instead of ${wanted}`)
}

const invalid = (why: string, cause?: unknown): PeerError => {
  const error = new PeerError('PEER_KE_INVALID', `key exchange value: ${why}`, NotifyType.INVALID_SYNTAX)
  if (cause !== undefined) error.cause = cause
  return error
}

/** Plain memory instead of a slice of Node's pool, which others' secrets share. */
const octets = (buffer: Buffer): Uint8Array => new Uint8Array(buffer)

function leftPadded(buffer: Buffer, length: number): Uint8Array {
  const out = new Uint8Array(length)
  out.set(buffer, length - buffer.length)
  return out
}
