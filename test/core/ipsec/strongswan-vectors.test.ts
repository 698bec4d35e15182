import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { octets } from '../../../core/contracts/packet.ts'
import { EspOpener, EspSealer, stripTrailer, Tunnel } from '../../../core/ipsec/index.ts'
import { espSequence, espSpi } from '../../../core/wire/index.ts'
import { SeededRng } from '../../kit/rng.ts'
import { hex, PROVIDERS, packetOf, suiteNamed, toHex, udpFlow } from './sample.ts'

interface Recording {
  readonly hosts: Readonly<
    Record<
      string,
      {
        readonly childSas: readonly {
          readonly encryption_initiator_key: string
          readonly encryption_responder_key: string
        }[]
        readonly esp: readonly { readonly raw: string; readonly key: string; readonly packet: string }[]
      }
    >
  >
}

const SUITES = { 'rw-psk': 'aes128gcm16', 'rw-cert': 'chacha20poly1305' } as const
const cases = Object.entries(SUITES).flatMap(([run, cipher]) => {
  const file = new URL(`../../vectors/strongswan/${run}.vectors.json`, import.meta.url)
  const { hosts } = JSON.parse(readFileSync(file, 'utf8')) as Recording
  return Object.entries(hosts).flatMap(([host, { childSas, esp }]) =>
    esp.map(({ raw, key, packet }, i) => {
      const { encryption_initiator_key, encryption_responder_key } = childSas[0]!
      const material = hex(key === 'initiator' ? encryption_initiator_key : encryption_responder_key)
      return { name: `${run} ${host} ${i}`, cipher, material, raw, packet }
    }),
  )
})

describe.each(PROVIDERS)('$name', crypto => {
  test.each(cases)('$name', ({ cipher, material, raw, packet }) => {
    const esp = packetOf(hex(raw))
    const suite = suiteNamed(cipher)
    const spi = espSpi(esp.bytes, esp.start)
    const sequence = espSequence(esp.bytes, esp.start)
    const iv = esp.bytes.slice(esp.start + 8, esp.start + 16)
    const keys = { spi, encr: material.slice(0, -4), salt: material.slice(-4), integ: hex('') }
    expect(new EspOpener(crypto, suite, keys).open(esp, sequence)).toBeUndefined()
    expect(stripTrailer(esp)).toBeUndefined()
    const mode = new Tunnel().create()
    expect(mode.decode(esp, udpFlow('10.0.0.1', '10.0.0.2'))).toBeUndefined()
    expect(toHex(octets(esp))).toBe(packet)

    expect(mode.encode(esp)).toBeUndefined()
    new EspSealer(crypto, suite, keys, new SeededRng(1), sequence).sealWith(esp, iv)
    expect(toHex(octets(esp))).toBe(raw)
  })
})

test('there are packets', () => {
  expect(cases.length).toBeGreaterThan(8)
})
