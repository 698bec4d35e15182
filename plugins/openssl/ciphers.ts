import type { Aead, Cipher, Mac } from '../../core/contracts/crypto.ts'
import { NatweaveError } from '../../core/errors.ts'
import type { Library } from './library.ts'
import { At, LEAST, type Scratch } from './scratch.ts'

/** OpenSSL's numbers, evp.h. */
const CTRL_AEAD_SET_IVLEN = 0x9
const CTRL_AEAD_GET_TAG = 0x10
const CTRL_AEAD_SET_TAG = 0x11

/** The library of this thread with its memory. */
export interface Rim {
  readonly library: Library
  readonly scratch: Scratch
  /** Contexts for messages by cipher and direction, without a key while there is nothing to do. */
  readonly shared: Map<number, number>
}

function free({ library }: Rim, contexts: readonly number[]): void {
  for (const context of contexts) library.EVP_CIPHER_CTX_free(context)
}

/** How an AEAD is told of its texts: CCM wants to know the length first, GMAC covers the text and leaves it. */
export type AeadKind = 'plain' | 'ccm' | 'gmac'

/** Frees contexts, and with them the keys in them, that nobody destroyed. */
const forgotten = new FinalizationRegistry<() => void>(free => free())

function checked(result: number, what: string): void {
  if (result <= 0) throw new NatweaveError('CRYPTO_FAILED', `OpenSSL: ${what} failed`)
}

/**
 * An AEAD of OpenSSL. Packets, of which there are many, have a context for each direction, for which a key schedule is paid
 * once; messages, which are few, all have one and the same, so that an SA that is idle keeps nothing but its key.
 */
export class OpensslAead implements Aead {
  readonly tagLength: number
  readonly #rim: Rim
  readonly #cipher: number
  readonly #kind: AeadKind
  readonly #key: Uint8Array
  #contexts: [open: number, seal: number] | undefined
  /** An SA has the same nonce and associated data for all of its packets, with other octets: their addresses. */
  #nonce: Uint8Array | undefined
  #nonceAt: number | undefined
  #aad: Uint8Array | undefined
  #aadAt: number | undefined

  constructor(rim: Rim, cipher: number, kind: AeadKind, key: Uint8Array, tagLength: number) {
    this.tagLength = tagLength
    this.#rim = rim
    this.#cipher = cipher
    this.#kind = kind
    this.#key = key.slice()
  }

  sealAt(nonce: Uint8Array, aad: Uint8Array, bytes: Uint8Array, start: number, end: number): void {
    const context = this.#context(1, nonce.length)
    this.#seal(context, this.#atNonce(nonce), this.#atAad(aad), aad.length, bytes, start, end)
  }

  openAt(nonce: Uint8Array, aad: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
    const context = this.#context(0, nonce.length)
    return this.#open(context, this.#atNonce(nonce), this.#atAad(aad), aad.length, bytes, start, end)
  }

  seal(nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, out: Uint8Array): void {
    const length = plaintext.length
    const bytes = new Uint8Array(Math.max(LEAST + 1, length + this.tagLength))
    bytes.set(plaintext)
    const { scratch } = this.#rim
    const context = this.#borrow(1, nonce.length)
    this.#seal(context, scratch.put(nonce, At.NONCE), scratch.place(aad, At.AAD), aad.length, bytes, 0, length)
    this.#giveBack(context)
    out.set(bytes.subarray(0, length + this.tagLength))
  }

  open(nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): boolean {
    const { length } = sealed
    const bytes = new Uint8Array(Math.max(LEAST + 1, length))
    bytes.set(sealed)
    const { scratch } = this.#rim
    const context = this.#borrow(0, nonce.length)
    const [nonceAt, aadAt] = [scratch.put(nonce, At.NONCE), scratch.place(aad, At.AAD)]
    const genuine = this.#open(context, nonceAt, aadAt, aad.length, bytes, 0, length)
    this.#giveBack(context)
    if (genuine) out.set(bytes.subarray(0, length - this.tagLength))
    return genuine
  }

  destroy(): void {
    if (this.#contexts !== undefined) {
      forgotten.unregister(this)
      free(this.#rim, this.#contexts)
      this.#contexts = undefined
    }
    this.#key.fill(0)
  }

  /** All numbers but the last three are addresses. */
  #seal(
    context: number,
    nonce: number,
    aad: number,
    aadLength: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    const { library, scratch } = this.#rim
    const text = scratch.of(bytes) + start
    const length = end - start
    const outLength = scratch.address + At.LENGTH
    library.EVP_CipherInit_ex(context, 0, 0, 0, nonce, -1)
    if (this.#kind === 'ccm') library.EVP_CipherUpdate(context, 0, outLength, 0, length)
    library.EVP_CipherUpdate(context, 0, outLength, aad, aadLength)
    checked(
      library.EVP_CipherUpdate(context, this.#kind === 'gmac' ? 0 : text, outLength, text, length),
      'sealing a packet',
    )
    library.EVP_CipherFinal_ex(context, scratch.address + At.TAG, outLength)
    checked(library.EVP_CIPHER_CTX_ctrl(context, CTRL_AEAD_GET_TAG, this.tagLength, text + length), 'making a tag')
  }

  #open(
    context: number,
    nonce: number,
    aad: number,
    aadLength: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): boolean {
    const { library, scratch } = this.#rim
    const length = end - start - this.tagLength
    if (length < 0) return false
    const text = scratch.of(bytes) + start
    const outLength = scratch.address + At.LENGTH
    library.EVP_CipherInit_ex(context, 0, 0, 0, nonce, -1)
    library.EVP_CIPHER_CTX_ctrl(context, CTRL_AEAD_SET_TAG, this.tagLength, text + length)
    if (this.#kind === 'ccm') library.EVP_CipherUpdate(context, 0, outLength, 0, length)
    library.EVP_CipherUpdate(context, 0, outLength, aad, aadLength)
    const opened = library.EVP_CipherUpdate(context, this.#kind === 'gmac' ? 0 : text, outLength, text, length)
    // CCM looks at the tag while it decrypts, the others at the end
    const genuine =
      opened > 0 &&
      (this.#kind === 'ccm' || library.EVP_CipherFinal_ex(context, scratch.address + At.TAG, outLength) > 0)
    // an error that stays is told to whoever asks next: node:crypto would refuse a good key
    if (!genuine) library.ERR_clear_error()
    return genuine
  }

  #atNonce(nonce: Uint8Array): number {
    const { scratch } = this.#rim
    if (nonce !== this.#nonce) {
      this.#nonce = nonce
      this.#nonceAt = scratch.lasting(nonce)
    }
    return this.#nonceAt ?? scratch.put(nonce, At.NONCE)
  }

  #atAad(aad: Uint8Array): number {
    const { scratch } = this.#rim
    if (aad !== this.#aad) {
      this.#aad = aad
      this.#aadAt = scratch.lasting(aad)
    }
    return this.#aadAt ?? scratch.place(aad, At.AAD)
  }

  #context(direction: 0 | 1, nonceLength: number): number {
    const rim = this.#rim
    if (this.#contexts === undefined) {
      const contexts: [number, number] = [0, 0]
      this.#contexts = contexts
      forgotten.register(this, () => free(rim, contexts), this)
    }
    const contexts = this.#contexts
    if (contexts[direction] === 0) {
      contexts[direction] = this.#choose(direction, nonceLength)
      this.#setKey(contexts[direction], this.#key)
    }
    return contexts[direction]
  }

  /** The context of all messages, with this key. */
  #borrow(direction: 0 | 1, nonceLength: number): number {
    const { shared } = this.#rim
    const which = 2 * this.#cipher + direction
    let context = shared.get(which)
    if (context === undefined) {
      context = this.#choose(direction, nonceLength)
      shared.set(which, context)
    }
    this.#setKey(context, this.#key)
    return context
  }

  /** No key stays where nobody would wipe it. */
  #giveBack(context: number): void {
    this.#setKey(context, NO_KEY.subarray(0, this.#key.length))
  }

  #choose(direction: 0 | 1, nonceLength: number): number {
    const { library } = this.#rim
    const context = library.EVP_CIPHER_CTX_new()
    checked(library.EVP_CipherInit_ex(context, this.#cipher, 0, 0, 0, direction), 'choosing a cipher')
    checked(library.EVP_CIPHER_CTX_ctrl(context, CTRL_AEAD_SET_IVLEN, nonceLength, 0), 'setting the nonce length')
    return context
  }

  #setKey(context: number, key: Uint8Array): void {
    const { library, scratch } = this.#rim
    if (this.#kind === 'ccm') library.EVP_CIPHER_CTX_ctrl(context, CTRL_AEAD_SET_TAG, this.tagLength, 0)
    checked(library.EVP_CipherInit_ex(context, 0, 0, scratch.put(key, At.KEY), 0, -1), 'setting a key')
    scratch.bytes.fill(0, At.KEY, At.KEY + key.length)
  }
}

const NO_KEY = new Uint8Array(32)

/** AES-CBC or AES-CTR. */
export class OpensslCipher implements Cipher {
  readonly ivLength: number
  readonly blockLength: number
  readonly #rim: Rim
  readonly #contexts: readonly [decrypt: number, encrypt: number]
  readonly #counter: Uint8Array | undefined

  /** @param nonce - for CTR: the last part of its keying material, RFC 3686 §4 */
  constructor(rim: Rim, cipher: number, key: Uint8Array, nonce?: Uint8Array) {
    this.ivLength = nonce === undefined ? 16 : 8
    this.blockLength = nonce === undefined ? 16 : 1
    this.#rim = rim
    const { library, scratch } = rim
    const make = (direction: 0 | 1): number => {
      const context = library.EVP_CIPHER_CTX_new()
      const iv = scratch.put(new Uint8Array(16), At.NONCE)
      checked(
        library.EVP_CipherInit_ex(context, cipher, 0, scratch.put(key, At.KEY), iv, direction),
        'choosing a cipher',
      )
      library.EVP_CIPHER_CTX_set_padding(context, 0)
      scratch.bytes.fill(0, At.KEY, At.KEY + key.length)
      return context
    }
    const contexts = [make(0), make(1)] as const
    this.#contexts = contexts
    forgotten.register(this, () => free(rim, contexts), this)
    if (nonce !== undefined) {
      this.#counter = new Uint8Array(16)
      this.#counter.set(nonce)
      this.#counter[15] = 1
    }
  }

  encrypt(iv: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    this.#run(1, iv, data, out)
  }

  decrypt(iv: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    this.#run(0, iv, data, out)
  }

  destroy(): void {
    if (!forgotten.unregister(this)) return
    free(this.#rim, this.#contexts)
    this.#counter?.fill(0)
  }

  #run(direction: 0 | 1, iv: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    const { library, scratch } = this.#rim
    this.#counter?.set(iv, 4)
    const nonce = scratch.put(this.#counter ?? iv, At.NONCE)
    library.EVP_CipherInit_ex(this.#contexts[direction], 0, 0, 0, nonce, -1)
    const small = data.length < LEAST
    const at = scratch.place(data, At.DIGEST)
    const to = small ? at : library.address(out)
    checked(
      library.EVP_CipherUpdate(this.#contexts[direction], to, scratch.address + At.LENGTH, at, data.length),
      'a cipher',
    )
    if (small) out.set(scratch.bytes.subarray(At.DIGEST, At.DIGEST + data.length))
  }
}

/** Truncated HMAC. */
export class OpensslMac implements Mac {
  readonly length: number
  readonly #rim: Rim
  readonly #context: number

  constructor(rim: Rim, digest: number, key: Uint8Array, length: number) {
    this.length = length
    this.#rim = rim
    const { library, scratch } = rim
    const context = library.HMAC_CTX_new()
    this.#context = context
    checked(library.HMAC_Init_ex(context, scratch.put(key, At.KEY), key.length, digest, 0), 'setting a key')
    scratch.bytes.fill(0, At.KEY, At.KEY + key.length)
    forgotten.register(this, () => library.HMAC_CTX_free(context), this)
  }

  sign(data: Uint8Array, tail: Uint8Array | undefined, out: Uint8Array): void {
    const { library, scratch } = this.#rim
    const context = this.#context
    library.HMAC_Init_ex(context, 0, 0, 0, 0)
    library.HMAC_Update(context, scratch.place(data, At.DIGEST), data.length)
    if (tail !== undefined) library.HMAC_Update(context, scratch.put(tail, At.TAG), tail.length)
    checked(library.HMAC_Final(context, scratch.address + At.DIGEST, scratch.address + At.LENGTH), 'a MAC')
    for (let i = 0; i < this.length; i++) out[i] = scratch.bytes[At.DIGEST + i]!
  }

  destroy(): void {
    if (forgotten.unregister(this)) this.#rim.library.HMAC_CTX_free(this.#context)
  }
}
