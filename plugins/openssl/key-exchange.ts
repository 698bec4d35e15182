import type { KeyExchange } from '../../core/contracts/crypto.ts'
import type { Rng } from '../../core/contracts/machine.ts'
import { NatweaveError, PeerError } from '../../core/errors.ts'
import { NotifyType } from '../../core/wire/index.ts'
import type { Rim } from './ciphers.ts'
import { At } from './scratch.ts'

/** OpenSSL's number of X25519, obj_mac.h. */
const X25519 = 1_034
const OCTETS = 32

/** Frees keys that nobody destroyed. */
const forgotten = new FinalizationRegistry<() => void>(free => free())

/** Whether the library has X25519: one in FIPS mode has not. */
export function hasX25519({ library, scratch }: Rim): boolean {
  const key = library.EVP_PKEY_new_raw_public_key(
    X25519,
    0,
    scratch.put(new Uint8Array(OCTETS).fill(9), At.KEY),
    OCTETS,
  )
  if (key === 0) {
    library.ERR_clear_error()
    return false
  }
  library.EVP_PKEY_free(key)
  return true
}

/** RFC 8031. Draws 32 octets; RFC 7748's function clamps them. Raw keys: reading DER takes OpenSSL ten times as long. */
export class X25519KeyExchange implements KeyExchange {
  readonly publicValue: Uint8Array
  readonly #rim: Rim
  #key: number

  constructor(rim: Rim, rng: Rng) {
    const { library, scratch } = rim
    const secret = rng.bytes(OCTETS)
    const key = library.EVP_PKEY_new_raw_private_key(X25519, 0, scratch.put(secret, At.KEY), OCTETS)
    secret.fill(0)
    scratch.bytes.fill(0, At.KEY, At.KEY + OCTETS)
    if (key === 0) throw new NatweaveError('CRYPTO_FAILED', 'OpenSSL: making a key for X25519 failed')
    this.#rim = rim
    this.#key = key
    forgotten.register(this, () => library.EVP_PKEY_free(key), this)
    library.EVP_PKEY_get_raw_public_key(key, scratch.address + At.DIGEST, this.#room())
    this.publicValue = scratch.bytes.slice(At.DIGEST, At.DIGEST + OCTETS)
  }

  shared(peer: Uint8Array): Uint8Array {
    if (peer.length !== OCTETS) throw invalid(`${peer.length} octets instead of ${OCTETS}`)
    const { library, scratch } = this.#rim
    const theirs = library.EVP_PKEY_new_raw_public_key(X25519, 0, scratch.put(peer, At.KEY), OCTETS)
    const context = library.EVP_PKEY_CTX_new(this.#key, 0)
    const done =
      library.EVP_PKEY_derive_init(context) > 0 &&
      library.EVP_PKEY_derive_set_peer(context, theirs) > 0 &&
      library.EVP_PKEY_derive(context, scratch.address + At.DIGEST, this.#room()) > 0
    library.EVP_PKEY_CTX_free(context)
    library.EVP_PKEY_free(theirs)
    if (!done) {
      // what failed here must not be told to whoever asks the library next
      library.ERR_clear_error()
      throw invalid('all-zero result') // RFC 8031 §2.2; OpenSSL refuses it itself
    }
    const shared = scratch.bytes.slice(At.DIGEST, At.DIGEST + OCTETS)
    scratch.bytes.fill(0, At.DIGEST, At.DIGEST + OCTETS)
    return shared
  }

  destroy(): void {
    if (forgotten.unregister(this)) this.#rim.library.EVP_PKEY_free(this.#key)
    this.#key = 0
  }

  /** Address of a size_t with how many octets there is room for. */
  #room(): number {
    const { bytes, address } = this.#rim.scratch
    new BigUint64Array(bytes.buffer, At.LENGTH, 1)[0] = BigInt(OCTETS)
    return address + At.LENGTH
  }
}

const invalid = (why: string): PeerError =>
  new PeerError('PEER_KE_INVALID', `key exchange value: ${why}`, NotifyType.INVALID_SYNTAX)
