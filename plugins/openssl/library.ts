import { createRequire } from 'node:module'

/** Calls into OpenSSL 1.1.1 or 3 by FFI. Pointers are addresses: numbers below 2^53, 0 for NULL. */
export interface Library {
  /** Which OpenSSL this is, for people. */
  readonly name: string
  /** Address of `bytes[0]`. Only memory that the collector does not move may be used: 64 octets or more. */
  address(bytes: Uint8Array): number
  /** EVP_CIPHER of that C function, such as `EVP_aes_128_gcm`; 0 where the library lacks it. */
  cipher(name: string): number
  /** EVP_MD of that C function, such as `EVP_sha256`; 0 where the library lacks it. */
  digest(name: string): number
  EVP_CIPHER_CTX_new(): number
  EVP_CIPHER_CTX_free(context: number): void
  EVP_CIPHER_CTX_ctrl(context: number, type: number, argument: number, pointer: number): number
  EVP_CIPHER_CTX_set_padding(context: number, padding: number): number
  EVP_CipherInit_ex(
    context: number,
    cipher: number,
    engine: number,
    key: number,
    iv: number,
    encrypt: -1 | 0 | 1,
  ): number
  EVP_CipherUpdate(context: number, out: number, outLength: number, data: number, length: number): number
  EVP_CipherFinal_ex(context: number, out: number, outLength: number): number
  HMAC_CTX_new(): number
  HMAC_CTX_free(context: number): void
  HMAC_Init_ex(context: number, key: number, length: number, digest: number, engine: number): number
  HMAC_Update(context: number, data: number, length: number): number
  HMAC_Final(context: number, out: number, outLength: number): number
  HMAC(
    digest: number,
    key: number,
    keyLength: number,
    data: number,
    length: number,
    out: number,
    outLength: number,
  ): number
  EVP_PKEY_new_raw_private_key(type: number, engine: number, key: number, length: number): number
  EVP_PKEY_new_raw_public_key(type: number, engine: number, key: number, length: number): number
  EVP_PKEY_get_raw_public_key(key: number, out: number, length: number): number
  EVP_PKEY_free(key: number): void
  EVP_PKEY_CTX_new(key: number, engine: number): number
  EVP_PKEY_CTX_free(context: number): void
  EVP_PKEY_derive_init(context: number): number
  EVP_PKEY_derive_set_peer(context: number, peer: number): number
  EVP_PKEY_derive(context: number, out: number, length: number): number
  ERR_clear_error(): void
}

const PROTOTYPES = [
  'int64 EVP_CIPHER_CTX_new()',
  'void EVP_CIPHER_CTX_free(int64 context)',
  'int EVP_CIPHER_CTX_ctrl(int64 context, int type, int argument, int64 pointer)',
  'int EVP_CIPHER_CTX_set_padding(int64 context, int padding)',
  'int EVP_CipherInit_ex(int64 context, int64 cipher, int64 engine, int64 key, int64 iv, int encrypt)',
  'int EVP_CipherUpdate(int64 context, int64 out, int64 outLength, int64 data, int length)',
  'int EVP_CipherFinal_ex(int64 context, int64 out, int64 outLength)',
  'int64 HMAC_CTX_new()',
  'void HMAC_CTX_free(int64 context)',
  'int HMAC_Init_ex(int64 context, int64 key, int length, int64 digest, int64 engine)',
  'int HMAC_Update(int64 context, int64 data, size_t length)',
  'int HMAC_Final(int64 context, int64 out, int64 outLength)',
  'int64 HMAC(int64 digest, int64 key, int keyLength, int64 data, size_t length, int64 out, int64 outLength)',
  'int64 EVP_PKEY_new_raw_private_key(int type, int64 engine, int64 key, size_t length)',
  'int64 EVP_PKEY_new_raw_public_key(int type, int64 engine, int64 key, size_t length)',
  'int EVP_PKEY_get_raw_public_key(int64 key, int64 out, int64 length)',
  'void EVP_PKEY_free(int64 key)',
  'int64 EVP_PKEY_CTX_new(int64 key, int64 engine)',
  'void EVP_PKEY_CTX_free(int64 context)',
  'int EVP_PKEY_derive_init(int64 context)',
  'int EVP_PKEY_derive_set_peer(int64 context, int64 peer)',
  'int EVP_PKEY_derive(int64 context, int64 out, int64 length)',
  'void ERR_clear_error()',
] as const

/** The process first: Node exports its own OpenSSL. Then what systems call theirs. */
const NAMES = [null, 'libcrypto.so.3', 'libcrypto.so.1.1', 'libcrypto.3.dylib', 'libcrypto-3-x64.dll'] as const

let found: Library | string | undefined

/** Loads it once. @returns why it cannot be had, in words */
export function loadLibrary(): Library | string {
  found ??= search()
  return found
}

function search(): Library | string {
  let koffi: typeof import('koffi')
  try {
    koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi')
  } catch {
    return 'the package koffi is not installed or not for this system'
  }
  for (const name of NAMES)
    try {
      const library = koffi.load(name)
      const functions = PROTOTYPES.map(prototype => [/\w+(?=\()/.exec(prototype)![0], library.func(prototype)])
      const addressOf = (symbol: string): number => {
        try {
          return (library.func(`int64 ${symbol}()`) as () => number)()
        } catch {
          return 0
        }
      }
      return {
        ...Object.fromEntries(functions),
        name: name ?? `OpenSSL ${process.versions.openssl} inside Node`,
        address: bytes => Number(koffi.address(bytes)),
        cipher: addressOf,
        digest: addressOf,
      }
    } catch {
      // not there, or without these functions
    }
  return 'neither Node nor the system gives out the functions of OpenSSL'
}
