import type { KeyLine } from './party.ts'
import { run } from './process.ts'
import { FIRST_PORT } from './traffic.ts'

/** What Wireshark makes of a capture of the public segment, given the keys of one end. */
export interface Decoded {
  readonly packets: number
  /** Encrypted IKE messages, and how many of them decrypted with a good checksum. */
  readonly ikeEncrypted: number
  readonly ikeDecrypted: number
  /** Requests and responses of IKE_FOLLOWUP_KE that decrypted, each with N(ADDITIONAL_KEY_EXCHANGE) or KE inside. */
  readonly followUps: number
  /** ESP packets, how many had a good checksum, and how many had an IP packet inside. */
  readonly esp: number
  readonly espGoodIcv: number
  readonly espDecrypted: number
  /** ESP packets with a transport protocol inside and no IP header before it, as in BEET mode. */
  readonly espHeaderless: number
  /** AH packets with an IP packet inside. */
  readonly ah: number
  /** Malformed fields and whatever else Wireshark calls wrong, with frame numbers; the first few. */
  readonly complaints: readonly string[]
}

const FIELDS = [
  'frame.number',
  'ip.src',
  'ipv6.src',
  'frame.protocols',
  'isakmp.exchangetype',
  'isakmp.enc.decrypted',
  'isakmp.enc.data',
  'isakmp.key_exchange.dh_group',
  'esp.spi',
  'esp.icv_good',
  'esp.icv_bad',
  '_ws.malformed',
  '_ws.expert.severity',
  '_ws.expert.message',
] as const
type Row = Readonly<Record<(typeof FIELDS)[number], string>>

/** IKE_FOLLOWUP_KE. */
const FOLLOWUP = '44'
/** Wireshark's PI_ numbers. */
const WARNING = 0x600000
const ERROR = 0x800000

/** Decodes a capture with tshark. */
export async function decode(file: string, allKeys: readonly KeyLine[]): Promise<Decoded> {
  // one IKE SA has one row: of several keys, as with additional key exchanges, those of IKE_AUTH and after
  const keys = [...new Map(allKeys.map(line => [line.type === 'ike' ? line.spii + line.spir : line, line])).values()]
  const options = [
    'esp.enable_encryption_decode:TRUE',
    'esp.enable_authentication_check:TRUE',
    'tcp.analyze_sequence_numbers:FALSE',
    ...keys.flatMap(table),
  ]
  // what our streams carry is random octets, and no protocol that Wireshark may guess from them
  const streams = ['tcp', 'udp'].flatMap(protocol => ['-d', `${protocol}.port==${FIRST_PORT}-${FIRST_PORT + 999},data`])
  // Wireshark asks the lower port first, and a NAT may have picked one that belongs to another protocol
  const translated = ['1-499,isakmp', '501-1023,isakmp', '1024-4499,udpencap'].flatMap(ports => [
    '-d',
    `udp.port==${ports}`,
  ])
  const argv = [
    'tshark',
    '-n',
    '-r',
    file,
    ...options.flatMap(each => ['-o', each]),
    '-T',
    'fields',
    '-E',
    'aggregator=;',
    ...translated,
    ...streams,
  ]
  // what is protected with the keys before
  if (keys.length < allKeys.length) argv.push('-Y', 'not isakmp.exchangetype == 43')
  argv.push(...FIELDS.flatMap(field => ['-e', field]))
  const done = await run(argv, { timeoutMs: 180_000 })
  if (done.code !== 0) throw new Error(`tshark: ${done.stderr.trim()}`)
  return summary(
    done.stdout
      .split('\n')
      .filter(line => line !== '')
      .map(parse),
  )
}

/**
 * @param inside - what every ESP packet must have in it; `ah`: there is AH with IP in it, and no ESP
 * @throws unless Wireshark has understood every packet; with `decrypted` also what is inside every encrypted one
 */
export function expectUnderstood(
  decoded: Decoded,
  decrypted: boolean,
  inside: 'ip' | 'no IP header' | 'ah' = 'ip',
): void {
  const { packets, complaints, ikeEncrypted, ikeDecrypted, esp, espGoodIcv } = decoded
  if (complaints.length > 0) throw new Error(`tshark: ${complaints.join('; ')}`)
  if (packets === 0 || ikeEncrypted === 0 || (inside === 'ah' ? decoded.ah : esp) === 0)
    throw new Error(`tshark: nothing to check in ${packets} packets`)
  if (!decrypted) return
  if (ikeDecrypted !== ikeEncrypted) throw new Error(`tshark: ${ikeDecrypted} of ${ikeEncrypted} IKE messages decrypt`)
  if (espGoodIcv !== esp) throw new Error(`tshark: ${espGoodIcv} of ${esp} ESP packets have a good ICV`)
  const right = inside === 'no IP header' ? decoded.espHeaderless : decoded.espDecrypted
  if (right !== esp) throw new Error(`tshark: ${right} of ${esp} ESP packets have inside: ${inside}`)
}

function parse(line: string): Row {
  const cells = line.split('\t')
  return Object.fromEntries(FIELDS.map((field, i) => [field, cells[i] ?? ''])) as Row
}

function summary(rows: readonly Row[]): Decoded {
  const count = (test: (row: Row) => boolean) => rows.filter(test).length
  const encrypted = (row: Row) => row['isakmp.exchangetype'] !== '' && row['isakmp.enc.data'] !== ''
  return {
    packets: rows.length,
    ikeEncrypted: count(encrypted),
    ikeDecrypted: count(row => encrypted(row) && row['isakmp.enc.decrypted'] !== ''),
    followUps: count(row => row['isakmp.exchangetype'] === FOLLOWUP && row['isakmp.key_exchange.dh_group'] !== ''),
    esp: count(row => row['esp.spi'] !== ''),
    espGoodIcv: count(row => row['esp.icv_good'] === '1'),
    espDecrypted: count(row => /:esp:ip:/.test(row['frame.protocols'])),
    espHeaderless: count(row => /:esp:(icmp|tcp|udp)/.test(row['frame.protocols'])),
    ah: count(row => /:ip:ah:ip:/.test(row['frame.protocols'])),
    complaints: rows.flatMap(complaint).slice(0, 5),
  }
}

function complaint(row: Row): string[] {
  // warnings on a decrypted inner packet (D-SACK and the like) speak of the kernel's TCP, not of natweave
  const limit = /:(esp:(ip|tcp)|ah:ip)/.test(row['frame.protocols']) ? ERROR : WARNING
  const severe = row['_ws.expert.severity'].split(';').some(level => Number(level) >= limit)
  if (row['_ws.malformed'] === '' && row['esp.icv_bad'] !== '1' && !severe) return []
  const what = row['esp.icv_bad'] === '1' ? 'bad ICV' : row['_ws.expert.message'] || 'malformed'
  return [`frame ${row['frame.number']} from ${row['ip.src'] || row['ipv6.src']} (${row['frame.protocols']}): ${what}`]
}

/** Rows of Wireshark's tables as command line options: one of ESP for each family. */
function table(line: KeyLine): string[] {
  if (line.type === 'ike') {
    const { spii, spir, sk_ei, sk_er, encr, sk_ai, sk_ar, integ } = line
    return [
      `uat:ikev2_decryption_table:${spii},${spir},${sk_ei},${sk_er},"${encr}",${sk_ai || '""'},${sk_ar || '""'},"${integ}"`,
    ]
  }
  const cells = [line.src, line.dst, hex(line.spi), line.encr, hex(line.encrKey), line.integ, hex(line.integKey)]
  return ['IPv4', 'IPv6'].map(family => `uat:esp_sa:${[family, ...cells].map(cell => `"${cell}"`).join(',')}`)
}

const hex = (digits: string): string => (digits === '' ? '' : `0x${digits}`)
