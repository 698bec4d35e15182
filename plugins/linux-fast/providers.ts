import { type CryptoProvider, type PacketCrypto, TransformType } from '../../core/contracts/crypto.ts'
import { Encr } from '../../core/wire/index.ts'

/** Of several providers each call goes to the first that supports the algorithm; one always does that was asked for before. */
export function firstOf(providers: readonly CryptoProvider[]): PacketCrypto {
  const encryption = (id: number, key: Uint8Array): CryptoProvider => {
    // AES-CTR's nonce is part of its key, RFC 3686 §5.1
    const bits = (key.length - (id === Encr.ENCR_AES_CTR ? 4 : 0)) * 8
    return providers.find(p => p.supports(TransformType.ENCR, id, bits === 0 ? undefined : bits)) ?? providers[0]!
  }
  return {
    supports: (type, id, keyBits) => providers.some(p => p.supports(type, id, keyBits)),
    aead: (id, key) => encryption(id, key).aead(id, key),
    cipher: (id, key) => encryption(id, key).cipher(id, key),
    mac: (id, key) => (providers.find(p => p.supports(TransformType.INTEG, id)) ?? providers[0]!).mac(id, key),
  }
}
