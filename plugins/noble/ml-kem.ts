import { type MLKEM, ml_kem512, ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js'
import type { KeyExchange, KeyExchangeAnswer } from '../../core/contracts/crypto.ts'
import type { Rng } from '../../core/contracts/machine.ts'
import { Ke } from '../../core/wire/index.ts'
import { checkLength, orInvalid } from './invalid.ts'

/** ML-KEM, FIPS 203, as IKE uses it (draft-ietf-ipsecme-ikev2-mlkem): encapsulation key there, ciphertext back. */

interface Parameters {
  readonly kem: MLKEM
  /** Octets of the encapsulation key and of the ciphertext. */
  readonly key: number
  readonly ciphertext: number
}

/** By transform ID. */
export const ML_KEM: Readonly<Record<number, Parameters>> = {
  [Ke.ML_KEM_512]: { kem: ml_kem512, key: 800, ciphertext: 768 },
  [Ke.ML_KEM_768]: { kem: ml_kem768, key: 1_184, ciphertext: 1_088 },
  [Ke.ML_KEM_1024]: { kem: ml_kem1024, key: 1_568, ciphertext: 1_568 },
}

/** Octets of d and z, and of m. */
const SEED = 64
const MESSAGE = 32

/** The initiator's end. Draws 64 octets. @returns undefined for another method */
export function startMlKem(group: number, rng: Rng): KeyExchange | undefined {
  const parameters = ML_KEM[group]
  if (parameters === undefined) return undefined
  const { kem, ciphertext } = parameters
  const seed = rng.bytes(SEED)
  const { publicKey, secretKey } = kem.keygen(seed)
  seed.fill(0)
  return {
    publicValue: publicKey,
    shared: peer => {
      checkLength(peer, ciphertext)
      return kem.decapsulate(peer, secretKey)
    },
  }
}

/** The responder's end. Draws 32 octets. @returns undefined for another method */
export function answerMlKem(group: number, peer: Uint8Array, rng: Rng): KeyExchangeAnswer | undefined {
  const parameters = ML_KEM[group]
  if (parameters === undefined) return undefined
  const { kem, key } = parameters
  checkLength(peer, key)
  const message = rng.bytes(MESSAGE)
  // FIPS 203 §7.2: a key with a coefficient that is not reduced is none
  const { cipherText, sharedSecret } = orInvalid('no encapsulation key', () => kem.encapsulate(peer, message))
  message.fill(0)
  return { publicValue: cipherText, shared: sharedSecret }
}
