import type { Aead, Cipher, Mac, PacketCrypto } from '../contracts/crypto.ts'
import type { EspKeys, EspSuite } from '../contracts/data-plane.ts'
import type { Drop } from '../contracts/drop.ts'
import type { Rng } from '../contracts/machine.ts'
import { MAX_PACKET, type Packet } from '../contracts/packet.ts'
import { UsageError } from '../errors.ts'
import { Encr, ESP_TRAILER, Esp, setU32 } from '../wire/index.ts'
import { equalAt } from './equal.ts'
import { SaMemory, Word } from './sa-memory.ts'
import { type EspTransform, espTransform, refusesSuite } from './transforms.ts'

/** ESP packets of one SA, RFC 4303, sealed and opened in the caller's buffer. */

const HALF = 0x1_0000_0000
/** Random IVs are drawn this many at a time, so that most packets cost no call and no allocation. */
const IV_POOL = 256
const NOTHING = new Uint8Array(0)
/** Engines move what is smaller. */
const LEAST_FIXED = 128

const fixed = (octets: number): Uint8Array => new Uint8Array(new ArrayBuffer(LEAST_FIXED), 0, octets)

/** The protection shared by both directions: one AEAD, or a cipher and a MAC beside it. */
class Protection {
  readonly transform: EspTransform
  readonly icv: number
  readonly aead: Aead | undefined
  readonly cipher: Cipher | undefined
  readonly mac: Mac | undefined
  readonly esn: boolean
  /** salt | IV, RFC 4106 §4. Where it stays, as `aad`: providers that work by address look it up once. */
  readonly nonce: Uint8Array
  /** SPI | sequence number, 4 or 8 octets of it, RFC 4106 §5; GMAC covers the IV too, RFC 4543 §3.3. */
  readonly aad: Uint8Array
  /** The ESN octets that a separate MAC covers behind the packet, RFC 4303 §2.2.1. */
  readonly high = new Uint8Array(4)
  readonly #ivInAad: boolean

  constructor(crypto: PacketCrypto, suite: EspSuite, keys: EspKeys) {
    const refusal = refusesSuite(crypto, suite, keys)
    if (refusal !== undefined) throw new UsageError('USAGE_UNSUPPORTED_TRANSFORM', refusal)
    this.transform = espTransform(suite.encr)!
    this.esn = suite.esn
    if (this.transform.icv > 0) {
      this.aead = crypto.aead(suite.encr, keys.encr)
      this.icv = this.aead.tagLength
    } else {
      this.cipher = crypto.cipher(suite.encr, keys.encr)
      this.mac = crypto.mac(suite.integ!, keys.integ)
      this.icv = this.mac.length
    }
    this.nonce = fixed(keys.salt.length + this.transform.iv)
    this.nonce.set(keys.salt)
    this.#ivInAad = suite.encr === Encr.ENCR_NULL_AUTH_AES_GMAC
    this.aad = fixed((suite.esn ? 12 : 8) + (this.#ivInAad ? this.transform.iv : 0))
    setU32(this.aad, 0, keys.spi)
  }

  /** Puts the IV at `ivAt` where the ICV covers it. */
  initialize(bytes: Uint8Array, ivAt: number): void {
    const { nonce, aad } = this
    const { iv } = this.transform
    const inNonce = nonce.length - iv
    for (let i = 0; i < iv; i++) nonce[inNonce + i] = bytes[ivAt + i]!
    if (this.#ivInAad) for (let i = 0; i < iv; i++) aad[aad.length - iv + i] = bytes[ivAt + i]!
  }

  /** Puts a sequence number, its low half given too, where the ICV covers it. */
  number(sequence: number, low: number): void {
    const { aad } = this
    if (this.esn) {
      const high = (sequence - low) / HALF
      setU32(aad, 4, high)
      setU32(aad, 8, low)
      setU32(this.high, 0, high)
    } else setU32(aad, 4, low)
  }

  destroy(): void {
    this.aead?.destroy()
    this.cipher?.destroy()
    this.mac?.destroy()
    this.nonce.fill(0)
  }
}

/** Outbound half of a Child SA. Counts its sequence numbers itself, from 1. */
export class EspSealer {
  readonly #protection: Protection
  readonly #spi: number
  readonly #rng: Rng
  readonly #last: number
  readonly #numbers: Float64Array
  #pool: Uint8Array = NOTHING
  #poolAt = 0

  /**
   * @param first - number of the first packet; anything but 1 is for known answers
   * @param memory - where the number of the next packet is kept; one that is there already counts
   * @throws UsageError USAGE_UNSUPPORTED_TRANSFORM
   */
  constructor(
    crypto: PacketCrypto,
    suite: EspSuite,
    keys: EspKeys,
    rng: Rng,
    first = 1,
    { numbers }: SaMemory = new SaMemory(0),
  ) {
    this.#protection = new Protection(crypto, suite, keys)
    this.#spi = keys.spi
    this.#rng = rng
    this.#last = suite.esn ? Number.MAX_SAFE_INTEGER : HALF - 1
    this.#numbers = numbers
    if (numbers[Word.NEXT] === 0) numbers[Word.NEXT] = first
  }

  /** Number of the next packet. */
  get next(): number {
    return this.#numbers[Word.NEXT]!
  }

  /**
   * Payload → ESP packet, in place: grows by header and IV in front, by padding, trailer and ICV behind. `nextHeader`
   * goes into the trailer. A failure uses up no sequence number.
   */
  seal(packet: Packet): Drop | undefined {
    return this.#seal(packet, undefined)
  }

  /** As `seal`, with a given IV: for known answers. The same IV twice under one key gives an AEAD's key away. */
  sealWith(packet: Packet, iv: Uint8Array): Drop | undefined {
    return this.#seal(packet, iv)
  }

  destroy(): void {
    this.#protection.destroy()
    this.#pool.fill(0)
  }

  #seal(packet: Packet, given: Uint8Array | undefined): Drop | undefined {
    const { transform, icv, aead, cipher, mac, nonce, aad, high, esn } = this.#protection
    const sequence = this.next
    const low = sequence >>> 0
    if (sequence > this.#last) return 'sequence-exhausted'
    const { bytes } = packet
    const textAt = packet.start
    const ivAt = textAt - transform.iv
    const at = ivAt - Esp.HEADER
    const length = packet.end - textAt + ESP_TRAILER
    const padding = (transform.align - (length % transform.align)) % transform.align
    const textEnd = textAt + length + padding
    const end = textEnd + icv
    if (at < 0 || end > bytes.length || end - at > MAX_PACKET) return 'too-big'

    setU32(bytes, at + Esp.SPI, this.#spi)
    setU32(bytes, at + Esp.SEQUENCE, low)
    if (given !== undefined) bytes.set(given, ivAt)
    else this.#writeIv(bytes, ivAt, sequence, low)
    for (let i = 0; i < padding; i++) bytes[packet.end + i] = i + 1
    bytes[textEnd - 2] = padding
    bytes[textEnd - 1] = packet.nextHeader

    this.#protection.number(sequence, low)
    if (aead !== undefined) {
      this.#protection.initialize(bytes, ivAt)
      if (aead.sealAt !== undefined) aead.sealAt(nonce, aad, bytes, textAt, textEnd)
      else aead.seal(nonce, aad, bytes.subarray(textAt, textEnd), bytes.subarray(textAt, end))
    } else {
      const text = bytes.subarray(textAt, textEnd)
      cipher!.encrypt(bytes.subarray(ivAt, textAt), text, text)
      mac!.sign(bytes.subarray(at, textEnd), esn ? high : undefined, bytes.subarray(textEnd, end))
    }
    this.#numbers[Word.NEXT] = sequence + 1
    packet.start = at
    packet.end = end
    return undefined
  }

  /** The sequence number never repeats under one key, so it is the counter too; CBC's IV must be unforeseeable. */
  #writeIv(bytes: Uint8Array, at: number, sequence: number, low: number): void {
    const { iv } = this.#protection.transform
    if (iv === 8) {
      setU32(bytes, at, (sequence - low) / HALF)
      setU32(bytes, at + 4, low)
    } else if (iv > 0) {
      if (this.#poolAt === this.#pool.length) {
        this.#pool = this.#rng.bytes(iv * IV_POOL)
        this.#poolAt = 0
      }
      for (let i = 0; i < iv; i++) bytes[at + i] = this.#pool[this.#poolAt + i]!
      this.#poolAt += iv
    }
  }
}

/** Inbound half of a Child SA, without the replay window: its caller checks before and commits after `open`. */
export class EspOpener {
  readonly #protection: Protection
  readonly #icv: Uint8Array

  /** @throws UsageError USAGE_UNSUPPORTED_TRANSFORM */
  constructor(crypto: PacketCrypto, suite: EspSuite, keys: EspKeys) {
    this.#protection = new Protection(crypto, suite, keys)
    this.#icv = new Uint8Array(this.#protection.icv)
  }

  /**
   * Verifies and decrypts an ESP packet in place; afterwards the packet is payload, padding and trailer.
   *
   * @param sequence - the whole number, as the replay window inferred it
   */
  open(packet: Packet, sequence: number): Drop | undefined {
    const { transform, icv, aead, cipher, mac, nonce, aad, high, esn } = this.#protection
    const { bytes, start, end } = packet
    const ivAt = start + Esp.HEADER
    const textAt = ivAt + transform.iv
    const textEnd = end - icv
    if (textEnd - textAt < ESP_TRAILER) return 'malformed'
    // ciphers in whole blocks only; RFC 4303's alignment to 4 is left to the sender
    if (cipher !== undefined && (textEnd - textAt) % cipher.blockLength !== 0) return 'malformed'

    this.#protection.number(sequence, sequence >>> 0)
    if (aead !== undefined) {
      this.#protection.initialize(bytes, ivAt)
      const genuine =
        aead.openAt === undefined
          ? aead.open(nonce, aad, bytes.subarray(textAt, end), bytes.subarray(textAt, textEnd))
          : aead.openAt(nonce, aad, bytes, textAt, end)
      if (!genuine) return 'integrity'
    } else {
      const text = bytes.subarray(textAt, textEnd)
      mac!.sign(bytes.subarray(start, textEnd), esn ? high : undefined, this.#icv)
      if (!equalAt(this.#icv, bytes, textEnd)) return 'integrity'
      cipher!.decrypt(bytes.subarray(ivAt, textAt), text, text)
    }
    packet.start = textAt
    packet.end = textEnd
    return undefined
  }

  destroy(): void {
    this.#protection.destroy()
    this.#icv.fill(0)
  }
}

/**
 * Takes the trailer off an opened packet and sets `nextHeader`. The content of the padding is not looked at: it is
 * authenticated, and Linux does not look either.
 */
export function stripTrailer(packet: Packet): Drop | undefined {
  const { bytes, start, end } = packet
  const payloadEnd = end - ESP_TRAILER - bytes[end - 2]!
  if (payloadEnd < start) return 'padding'
  packet.nextHeader = bytes[end - 1]!
  packet.end = payloadEnd
  return undefined
}
