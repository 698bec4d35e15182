import { MlKem512, MlKem768, MlKem1024 } from 'mlkem'
import { expect, test } from 'vitest'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { SeededRng } from '../../kit/rng.ts'

/** ML-KEM against another implementation (npm's mlkem, which knows nothing of noble), octet by octet. */

test.each([
  [35, MlKem512],
  [36, MlKem768],
  [37, MlKem1024],
])('method %i: keys, ciphertexts and secrets of the same randomness are the same', async (group, Other) => {
  const other = new Other()
  for (let i = 0; i < 10; i++) {
    const [seed, message] = [new SeededRng(`seed ${i}`).bytes(64), new SeededRng(`message ${i}`).bytes(32)]
    const [publicKey, secretKey] = await other.deriveKeyPair(seed)
    const own = nobleProvider.keyExchange(group, { bytes: () => seed.slice() })
    expect(own.publicValue).toEqual(publicKey)
    const [ciphertext, shared] = await other.encap(publicKey, message)
    const answer = nobleProvider.encapsulate!(group, publicKey, { bytes: () => message.slice() })
    expect([answer.publicValue, answer.shared]).toEqual([ciphertext, shared])
    expect(own.shared(ciphertext)).toEqual(shared)
    // implicit rejection gives the same useless secret
    ciphertext[i * 7]! ^= 1 << (i % 8)
    expect(own.shared(ciphertext)).toEqual(await other.decap(ciphertext, secretKey))
  }
})
