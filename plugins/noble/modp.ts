/** MODP groups of RFC 3526: bits of the prime and the summand of its formula. */
const SUMMAND: Readonly<Record<number, number>> = {
  2048: 124476,
  3072: 1690314,
  4096: 240904,
  6144: 929484,
  8192: 4743158,
}

const primes = new Map<number, bigint>()

/**
 * The prime of a group, 2^n - 2^(n-64) - 1 + 2^64 · (⌊2^(n-130) · π⌋ + summand), computed when first asked for.
 *
 * @param bits - 2048, 3072, 4096, 6144 or 8192
 */
export function modpPrime(bits: number): bigint {
  let prime = primes.get(bits)
  if (prime === undefined) {
    const n = BigInt(bits)
    const pi = scaledPi(n - 130n)
    prime = (1n << n) - (1n << (n - 64n)) - 1n + ((pi + BigInt(SUMMAND[bits] ?? 0)) << 64n)
    primes.set(bits, prime)
  }
  return prime
}

/** ⌊2^bits · π⌋ by Machin's formula, π = 16 arctan(1/5) - 4 arctan(1/239). */
function scaledPi(bits: bigint): bigint {
  const guard = 64n
  const one = 1n << (bits + guard)
  return (16n * arctanInverse(5n, one) - 4n * arctanInverse(239n, one)) >> guard
}

function arctanInverse(x: bigint, one: bigint): bigint {
  let power = one / x
  let sum = power
  for (let n = 3n, sign = -1n; power !== 0n; n += 2n, sign = -sign) {
    power /= x * x
    sum += (sign * power) / n
  }
  return sum
}

/**
 * base ^ exponent mod modulus with windows of four bits. BigInt arithmetic takes a time that depends on its operands, so
 * this suits short-lived exponents only.
 *
 * @param exponent - big-endian octets
 */
export function modPow(base: bigint, exponent: Uint8Array, modulus: bigint): bigint {
  const powers: bigint[] = [1n]
  for (let i = 1; i < 16; i++) powers.push((powers[i - 1]! * base) % modulus)
  let result = 1n
  const shiftIn = (window: number) => {
    for (let i = 0; i < 4; i++) result = (result * result) % modulus
    result = (result * powers[window]!) % modulus
  }
  for (const octet of exponent) {
    shiftIn(octet >>> 4)
    shiftIn(octet & 15)
  }
  return result
}
