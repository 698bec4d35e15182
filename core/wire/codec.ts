import { UsageError, WireError } from '../errors.ts'

/**
 * Cursor over octets somebody else owns. Every read is checked: what is not there throws WireError with the position
 * (from the start of the outermost reader), the octets wanted and those available.
 */
export class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #base: number
  #at = 0

  /** @param base - position of `bytes[0]` in the outermost message, for error messages and `position` */
  constructor(bytes: Uint8Array, base = 0) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#base = base
  }

  /** Octets not yet read. */
  get left(): number {
    return this.#bytes.length - this.#at
  }

  /** Offset of the next octet in the outermost message. */
  get position(): number {
    return this.#base + this.#at
  }

  u8(): number {
    return this.#view.getUint8(this.#advance(1))
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2))
  }

  u24(): number {
    const at = this.#advance(3)
    return (this.#view.getUint16(at) << 8) | this.#view.getUint8(at + 2)
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4))
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#advance(8))
  }

  /** The next `length` octets as a view, never a copy: it dies with the datagram. */
  take(length: number): Uint8Array {
    const at = this.#advance(length)
    return this.#bytes.subarray(at, at + length)
  }

  /** A reader that cannot see past the next `length` octets; they count as read here. */
  sub(length: number): Reader {
    const base = this.position
    return new Reader(this.take(length), base)
  }

  /** Skips octets whose value has no meaning (reserved fields). */
  skip(length: number): void {
    this.#advance(length)
  }

  /** @throws WireError unless everything was read */
  end(what: string): void {
    if (this.left > 0) throw new WireError(`${what}: ${this.left} octets too many at ${this.position}`)
  }

  #advance(wanted: number): number {
    const at = this.#at
    if (wanted < 0 || wanted > this.left)
      throw new WireError(`at ${this.position}: wanted ${wanted} octets, ${this.left} available`)
    this.#at = at + wanted
    return at
  }
}

/**
 * Growing buffer. A value that does not fit its field is a bug of the caller: UsageError USAGE_FIELD_RANGE, and nothing
 * of that field is written.
 */
export class Writer {
  #bytes: Uint8Array
  #view: DataView
  #at = 0

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity)
    this.#view = new DataView(this.#bytes.buffer)
  }

  /** Octets written so far. */
  get length(): number {
    return this.#at
  }

  u8(value: number): void {
    inRange(value, 0xff)
    const at = this.#grow(1) // may replace the view
    this.#view.setUint8(at, value)
  }

  u16(value: number): void {
    inRange(value, 0xffff)
    const at = this.#grow(2) // may replace the view
    this.#view.setUint16(at, value)
  }

  /** Fifteen bits behind a flag that stays 0 (attribute types). */
  u15(value: number): void {
    inRange(value, 0x7fff)
    this.u16(value)
  }

  u24(value: number): void {
    inRange(value, 0xff_ffff)
    const at = this.#grow(3)
    this.#view.setUint16(at, value >>> 8)
    this.#view.setUint8(at + 2, value & 0xff)
  }

  u32(value: number): void {
    inRange(value, 0xffff_ffff)
    const at = this.#grow(4) // may replace the view
    this.#view.setUint32(at, value)
  }

  u64(value: bigint): void {
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) throw outOfRange(value, '18446744073709551615')
    const at = this.#grow(8) // may replace the view
    this.#view.setBigUint64(at, value)
  }

  put(bytes: Uint8Array): void {
    const at = this.#grow(bytes.length)
    this.#bytes.set(bytes, at)
  }

  zeros(length: number): void {
    // #grow hands out zeroed memory: nothing is ever taken back
    this.#grow(length)
  }

  /** Overwrites an octet written before, such as a next-payload field whose value is known only later. */
  patchU8(at: number, value: number): void {
    inRange(value, 0xff)
    this.#written(at, 1)
    this.#view.setUint8(at, value)
  }

  patchU16(at: number, value: number): void {
    inRange(value, 0xffff)
    this.#written(at, 2)
    this.#view.setUint16(at, value)
  }

  patchU32(at: number, value: number): void {
    inRange(value, 0xffff_ffff)
    this.#written(at, 4)
    this.#view.setUint32(at, value)
  }

  /** What was written, in memory of its own and no larger than needed. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#at)
  }

  #grow(length: number): number {
    const at = this.#at
    const end = at + length
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(end, this.#bytes.length * 2))
      larger.set(this.#bytes.subarray(0, at))
      this.#bytes = larger
      this.#view = new DataView(larger.buffer)
    }
    this.#at = end
    return at
  }

  #written(at: number, length: number): void {
    if (at < 0 || at + length > this.#at)
      throw new UsageError('USAGE_FIELD_RANGE', `patch of ${length} octets at ${at}: only ${this.#at} written`)
  }
}

/** How one value stands on the wire. Reading throws WireError only; writing throws UsageError for a value that does not fit. */
export interface Codec<T> {
  read(reader: Reader): T
  write(writer: Writer, value: T): void
}

/** The type of value a codec carries. */
export type Value<C> = C extends Codec<infer T> ? T : never

export const u8: Codec<number> = { read: r => r.u8(), write: (w, v) => w.u8(v) }
export const u16: Codec<number> = { read: r => r.u16(), write: (w, v) => w.u16(v) }
export const u24: Codec<number> = { read: r => r.u24(), write: (w, v) => w.u24(v) }
export const u32: Codec<number> = { read: r => r.u32(), write: (w, v) => w.u32(v) }
export const u64: Codec<bigint> = { read: r => r.u64(), write: (w, v) => w.u64(v) }

/** Everything up to the end of the enclosing length. */
export const rest: Codec<Uint8Array> = { read: r => r.take(r.left), write: (w, v) => w.put(v) }

/** Exactly `length` octets. */
export const fixed = (length: number): Codec<Uint8Array> => ({
  read: r => r.take(length),
  write: (w, v) => {
    if (v.length !== length) throw outOfRange(`${v.length} octets`, `${length} octets`)
    w.put(v)
  },
})

/** `codec`, then reserved octets: sent zero, ignored on receipt. */
export const reserved = <T>(codec: Codec<T>, octets: number): Codec<T> => ({
  read: r => {
    const value = codec.read(r)
    r.skip(octets)
    return value
  },
  write: (w, v) => {
    codec.write(w, v)
    w.zeros(octets)
  },
})

/** Fields one after another; the order of the keys is the order on the wire. */
export function struct<S extends Record<string, Codec<unknown>>>(fields: S): Codec<{ [K in keyof S]: Value<S[K]> }> {
  type Fields = { [K in keyof S]: Value<S[K]> }
  const entries = Object.entries(fields)
  return {
    read: r => {
      const value: Record<string, unknown> = {}
      for (const [name, codec] of entries) value[name] = codec.read(r)
      return value as Fields
    },
    write: (w, value) => {
      for (const [name, codec] of entries) codec.write(w, value[name])
    },
  }
}

/** Reads a value that fills `octets` exactly. */
export function decode<T>(codec: Codec<T>, octets: Uint8Array): T {
  const reader = new Reader(octets)
  const value = codec.read(reader)
  reader.end('value')
  return value
}

/** The octets of a value. */
export function encode<T>(codec: Codec<T>, value: T): Uint8Array {
  const writer = new Writer()
  codec.write(writer, value)
  return writer.finish()
}

function inRange(value: number, largest: number): void {
  if (!Number.isInteger(value) || value < 0 || value > largest) throw outOfRange(value, String(largest))
}

const outOfRange = (value: number | bigint | string, allowed: string): UsageError =>
  new UsageError('USAGE_FIELD_RANGE', `${value} does not fit a field of ${allowed}`)

/** Octets one after the other, in memory of their own. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
