import {
  buildIp,
  newIpInfo,
  parseIke,
  parsePayloads,
  readIp,
  serializeIke,
  serializePayloads,
} from '../../core/wire/index.ts'
import { hex, recording } from '../core/wire/octets.ts'
import { type Bench, type Figure, rate } from './measure.ts'

/** Parsing and serializing of messages that strongSwan sent, and of IP headers. */
export const codec: Bench = {
  name: 'codec',
  about: 'codecs on recorded messages',
  async run(): Promise<readonly Figure[]> {
    const recorded = recording('rw-psk').hosts
    const messages = Object.values(recorded)[0]!.messages
    const init = hex(messages.find(m => !m.encrypted)!.raw)
    const auth = messages.find(m => m.encrypted && m.plaintext !== undefined && m.plaintext.length > 200)!
    const chain = hex(auth.plaintext!)
    const { header, payloads } = parseIke(init)
    const inner = parsePayloads(auth.firstInner!, chain)
    const ip = buildIp(
      { source: Uint8Array.of(10, 1, 0, 5), destination: Uint8Array.of(10, 3, 0, 5), protocol: 17 },
      new Uint8Array(1_400),
    )
    const info = newIpInfo()
    const how = 'one message again and again; best of 5 samples'
    const figure = (what: string, compare: string, work: () => void): Figure => ({
      what,
      value: rate(work) / 1_000,
      unit: 'k/s',
      compare,
      how,
    })
    return [
      figure('parse', `IKE_SA_INIT of ${init.length} octets`, () => parseIke(init)),
      figure('serialize', `IKE_SA_INIT of ${init.length} octets`, () => serializeIke(header, payloads)),
      figure('parse', `payloads of IKE_AUTH, ${chain.length} octets`, () => parsePayloads(auth.firstInner!, chain)),
      figure('serialize', `payloads of IKE_AUTH, ${chain.length} octets`, () => serializePayloads(inner)),
      figure('read', 'IPv4 and UDP header for the policy', () => readIp(ip, 0, ip.length, info)),
    ]
  },
}
