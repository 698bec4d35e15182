import type { KeyLine, SaView } from './party.ts'

const INTEGRITY: Readonly<Record<string, { ike: string; esp: string }>> = {
  sha1: { ike: 'HMAC_SHA1_96 [RFC2404]', esp: 'HMAC-SHA-1-96 [RFC2404]' },
  sha256: { ike: 'HMAC_SHA2_256_128 [RFC4868]', esp: 'HMAC-SHA-256-128 [RFC4868]' },
  sha384: { ike: 'HMAC_SHA2_384_192 [RFC4868]', esp: 'HMAC-SHA-384-192 [RFC4868]' },
  sha512: { ike: 'HMAC_SHA2_512_256 [RFC4868]', esp: 'HMAC-SHA-512-256 [RFC4868]' },
}

/**
 * The keys that charon has logged (levels ike 4 and chd 4) for its first IKE SA and first Child SA, which `sas` must
 * show. This makes the tshark checks testable without natweave.
 *
 * @param log - made at the end that started both SAs when `role` is initiator
 */
export function keysOfLog(log: string, sas: readonly SaView[], role: 'initiator' | 'responder'): KeyLine[] {
  const [sa] = sas
  if (sa === undefined) return []
  const values = dumps(log)
  const value = (name: string) => values.get(name) ?? ''
  const ikeCipher = sa.ikeSuite.split('-')[0] ?? ''
  const ike: KeyLine = {
    type: 'ike',
    spii: sa.spiInitiator,
    spir: sa.spiResponder,
    sk_ei: value('Sk_ei secret'),
    sk_er: value('Sk_er secret'),
    encr: ikeCipher.includes('gcm')
      ? `AES-GCM-${ikeCipher.slice(3, 6)} with 16 octet ICV [RFC5282]`
      : `AES-CBC-${ikeCipher.slice(3)} [RFC3602]`,
    sk_ai: value('Sk_ai secret'),
    sk_ar: value('Sk_ar secret'),
    integ: INTEGRITY[sa.ikeSuite.split('-')[1] ?? '']?.ike ?? 'NONE [RFC4306]',
  }
  const esp = (spi: string, owner: 'initiator' | 'responder'): KeyLine => ({
    type: 'esp',
    src: '*',
    dst: '*',
    spi,
    encr: sa.cipher.includes('gcm') ? 'AES-GCM with 16 octet ICV [RFC4106]' : 'AES-CBC [RFC3602]',
    encrKey: value(`encryption ${owner} key`),
    integ: INTEGRITY[sa.cipher.split('-')[1] ?? '']?.esp ?? 'NULL',
    integKey: value(`integrity ${owner} key`),
  })
  const other = role === 'initiator' ? 'responder' : 'initiator'
  return [ike, esp(sa.spiOut, role), esp(sa.spiIn, other)]
}

/** First value of each name in a log: `name => N bytes @ 0x…`, then lines of up to 16 octets. */
function dumps(log: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>()
  let name: string | undefined
  for (const line of log.split('\n')) {
    const body = line.replace(/^\S+ \d+\[\w+\] ?/, '')
    const octets = /^ *\d+: ((?:[0-9A-F]{2} ){1,16})/.exec(`${body} `)?.[1]
    const head = /^(.*?) *=> \d+ bytes @/.exec(body)?.[1]
    if (octets !== undefined && name !== undefined)
      values.set(name, (values.get(name) ?? '') + octets.replaceAll(' ', '').toLowerCase())
    else if (head !== undefined) name = values.has(head.trim()) ? undefined : head.trim()
    else name = undefined
  }
  return values
}
