import { HEADROOM, newPacket } from '../../core/index.ts'
import { EspOpener, EspSealer } from '../../core/ipsec/index.ts'
import { keysFor, PROVIDERS, suiteNamed, suitesOf } from '../core/ipsec/sample.ts'
import { SeededRng } from '../kit/index.ts'
import { type Bench, type Figure, rate } from './measure.ts'

const SIZES = [64, 1_400]
const SUITES = ['aes128gcm16', 'aes256gcm16', 'chacha20poly1305', 'aes128-sha256', 'aes128-sha1']

/** Seal and open of one ESP packet each way, by suite and provider; sizes are of the payload. */
export const esp: Bench = {
  name: 'esp',
  about: 'ESP seal and open, one SA, one core',
  async run(): Promise<readonly Figure[]> {
    const figures: Figure[] = []
    for (const suite of SUITES)
      for (const size of SIZES)
        for (const work of ['seal', 'open'] as const)
          for (const crypto of PROVIDERS) {
            if (!suitesOf(crypto).includes(suite)) continue
            const perSecond = rate(work === 'seal' ? sealing(crypto, suite, size) : opening(crypto, suite, size), 0.3)
            const how = `Esp${work === 'seal' ? 'Sealer' : 'Opener'} in place on one buffer; best of 5 samples`
            const compare = `${suite} ${work} ${size} octets`
            figures.push({ what: crypto.name, value: (perSecond * size * 8) / 1e6, unit: 'Mbit/s', compare, how })
          }
    return figures
  },
}

type Provider = (typeof PROVIDERS)[number]

function sealing(crypto: Provider, name: string, size: number): () => void {
  const suite = suiteNamed(name)
  const sealer = new EspSealer(crypto, suite, keysFor(suite, 1), new SeededRng(1))
  const packet = newPacket()
  return () => {
    packet.start = HEADROOM
    packet.end = HEADROOM + size
    if (sealer.seal(packet) !== undefined) throw new Error('not sealed')
  }
}

function opening(crypto: Provider, name: string, size: number): () => void {
  const suite = suiteNamed(name)
  const keys = keysFor(suite, 1)
  const packet = newPacket()
  packet.end = packet.start + size
  new EspSealer(crypto, suite, keys, new SeededRng(1)).seal(packet)
  const { start, end } = packet
  const sealed = packet.bytes.slice(start, end)
  const opener = new EspOpener(crypto, suite, keys)
  return () => {
    // opening is in place: the copy is part of what a data plane does
    packet.bytes.set(sealed, start)
    packet.start = start
    packet.end = end
    if (opener.open(packet, 1) !== undefined) throw new Error('not opened')
  }
}
