import type { Lan, VirtualInternet } from '../../../test/kit/index.ts'
import { sight } from '../demo/sightings.ts'

/** What crossed the public segment, for people: IKE messages one by one, everything else in runs. */

const AH = 51
const KINDS = { ike: 'IKE', esp: 'ESP', keepalive: 'NAT-keepalive', clear: 'in the clear' } as const

interface Row {
  readonly at: number
  readonly from: string
  readonly to: string
  readonly what: string
  count: number
}

/** Lines kept of one cell. */
const LINES = 40

export class CellTrace {
  readonly #rows: Row[] = []

  constructor(net: VirtualInternet, segment: Lan) {
    net.tap(segment, (packet, { at }) => this.#see(packet, at))
  }

  #see(packet: Uint8Array, at: number): void {
    const { kind, title, from, to } = sight(packet, at)
    const what = packet[0]! >> 4 === 4 && packet[9] === AH ? 'AH' : kind === 'ike' ? title : KINDS[kind]
    // a run is what two ends say to each other without a message of IKE between
    const run = kind === 'ike' ? this.#rows.slice(-1) : this.#rows.slice(-4)
    const same = run.findLast(row => row.what === what && row.from === from && row.to === to)
    if (same !== undefined) same.count++
    else this.#rows.push({ at, from, to, what, count: 1 })
  }

  lines(): readonly string[] {
    const lines = this.#rows.map(
      ({ at, from, to, what, count }) =>
        `${(at / 1_000).toFixed(3).padStart(8)} s  ${from} → ${to}  ${what}${count > 1 ? ` ×${count}` : ''}`,
    )
    return lines.length <= LINES ? lines : [...lines.slice(0, LINES), '… and more']
  }
}
