import { type AddressKey, type Cidr, type Ip, isV6, maskKey } from './address.ts'
import type { Exit } from './lan.ts'

export interface Route {
  readonly exit: Exit
  readonly bits: number
  /** Next hop; undefined when the destination itself is on the exit. */
  readonly via: AddressKey | undefined
  /** Preferred source address. */
  readonly source: Ip | undefined
}

/** Longest prefix match: one Map per prefix length, so that a lookup costs a few Map reads, however many routes. */
export class RouteTable {
  readonly #v4: Family = { lengths: [], byLength: new Map() }
  readonly #v6: Family = { lengths: [], byLength: new Map() }

  set({ ip, bits }: Cidr, exit: Exit, via?: AddressKey, source?: Ip): void {
    const family = isV6(ip.key) ? this.#v6 : this.#v4
    let routes = family.byLength.get(bits)
    if (routes === undefined) {
      routes = new Map()
      family.byLength.set(bits, routes)
      family.lengths.push(bits)
      family.lengths.sort((a, b) => b - a)
    }
    routes.set(maskKey(ip.key, bits), { exit, bits, via, source })
  }

  delete({ ip, bits }: Cidr): void {
    const family = isV6(ip.key) ? this.#v6 : this.#v4
    family.byLength.get(bits)?.delete(maskKey(ip.key, bits))
  }

  /** Forgets everything that leads out by `exit`. */
  deleteExit(exit: Exit): void {
    for (const family of [this.#v4, this.#v6])
      for (const routes of family.byLength.values())
        for (const [network, route] of routes) if (route.exit === exit) routes.delete(network)
  }

  lookup(destination: AddressKey): Route | undefined {
    const family = typeof destination === 'string' ? this.#v6 : this.#v4
    for (const bits of family.lengths) {
      const route = family.byLength.get(bits)!.get(maskKey(destination, bits))
      if (route !== undefined) return route
    }
    return undefined
  }
}

interface Family {
  readonly lengths: number[]
  readonly byLength: Map<number, Map<AddressKey, Route>>
}
