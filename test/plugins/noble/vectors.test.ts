import { getDiffieHellman } from 'node:crypto'
import { expect, test } from 'vitest'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { modpPrime } from '../../../plugins/noble/modp.ts'
import { publishedVectors } from '../crypto-vectors.ts'

publishedVectors(nobleProvider)

test.each([
  ['modp14', 2048],
  ['modp15', 3072],
  ['modp16', 4096],
  ['modp17', 6144],
  ['modp18', 8192],
] as const)('the formula of RFC 3526 gives the prime OpenSSL knows as %s', (name, bits) => {
  expect(modpPrime(bits).toString(16)).toBe(getDiffieHellman(name).getPrime('hex'))
})
