import { closeSync, fchmodSync, openSync, writeSync } from 'node:fs'
import { SystemError } from '../errors.ts'
import { encrAlgorithm } from '../ike/suite.ts'
import { Encr, Integ, nameOf } from '../wire/index.ts'

/** Session keys in the words of Wireshark's tables `ikev2_decryption_table` and `esp_sa`, one JSON object a line. */

interface Names {
  readonly ike: string
  readonly esp: string
}

const INTEG: Readonly<Record<number, Names>> = {
  [Integ.AUTH_HMAC_SHA1_96]: { ike: 'HMAC_SHA1_96 [RFC2404]', esp: 'HMAC-SHA-1-96 [RFC2404]' },
  [Integ.AUTH_HMAC_SHA2_256_128]: { ike: 'HMAC_SHA2_256_128 [RFC4868]', esp: 'HMAC-SHA-256-128 [RFC4868]' },
  [Integ.AUTH_HMAC_SHA2_384_192]: { ike: 'HMAC_SHA2_384_192 [RFC4868]', esp: 'HMAC-SHA-384-192 [RFC4868]' },
  [Integ.AUTH_HMAC_SHA2_512_256]: { ike: 'HMAC_SHA2_512_256 [RFC4868]', esp: 'HMAC-SHA-512-256 [RFC4868]' },
}
const NO_INTEG: Names = { ike: 'NONE [RFC4306]', esp: 'NULL' }

function encrNames(id: number, bits: number): Names {
  if (id === Encr.ENCR_AES_CBC) return { ike: `AES-CBC-${bits} [RFC3602]`, esp: 'AES-CBC [RFC3602]' }
  if (id === Encr.ENCR_NULL) return { ike: 'NULL [RFC2410]', esp: 'NULL' }
  const [, icv] = /GCM_(\d+)$/.exec(nameOf(Encr, id)) ?? []
  if (icv === undefined) return { ike: nameOf(Encr, id), esp: nameOf(Encr, id) }
  const octets = encrAlgorithm(id).icvLength
  return {
    ike: `AES-GCM-${bits} with ${octets} octet ICV [RFC5282]`,
    esp: `AES-GCM with ${octets} octet ICV [RFC4106]`,
  }
}

/** A `keys` event's line with Wireshark's algorithm names. */
function wiresharkLine(line: Readonly<Record<string, string>>): Record<string, string> {
  const [id = 0, bits = 0] = (line['encr'] ?? '').split('/').map(Number)
  const table = line['type'] === 'ike' ? 'ike' : 'esp'
  // behind a NAT the addresses are not those on the wire
  const ends = table === 'esp' ? { src: '*', dst: '*' } : {}
  return {
    ...line,
    ...ends,
    encr: encrNames(id, bits)[table],
    integ: (INTEG[Number(line['integ'])] ?? NO_INTEG)[table],
  }
}

/** Opens a key log that only its owner can read. @throws SystemError SYSTEM_PERMISSION */
export function openKeylog(path: string): (line: Readonly<Record<string, string>>) => void {
  let file: number
  try {
    file = openSync(path, 'a', 0o600)
    // it may have been there before, readable by others
    fchmodSync(file, 0o600)
  } catch (error) {
    throw new SystemError('SYSTEM_PERMISSION', `the key log ${path} cannot be written: ${(error as Error).message}`)
  }
  process.on('exit', () => closeSync(file))
  return line => void writeSync(file, `${JSON.stringify(wiresharkLine(line))}\n`)
}
