import type { Rng } from '../contracts/machine.ts'

/**
 * Punching by chance: one end has many outer ports that nobody can predict, the other sends to many ports of that address.
 * Both ends in the same room of 64512 ports: with 256 against 1024 they meet in 98 of 100 cases.
 */

const FIRST_PORT = 1_024
const PORTS = 65_536 - FIRST_PORT

/** Probability that one of `probes` different ports is one of `mappings`. */
export function meetingChance(mappings: number, probes: number): number {
  let miss = 1
  for (let i = 0; i < probes; i++) miss *= Math.max(0, PORTS - mappings - i) / (PORTS - i)
  return 1 - miss
}

/** All ports from 1024 on in random order, none twice. */
export class RandomPorts {
  readonly #rng: Rng
  /** What stands at a place that the shuffle has touched. */
  readonly #moved = new Map<number, number>()
  #left = PORTS

  constructor(rng: Rng) {
    this.#rng = rng
  }

  next(): number | undefined {
    if (this.#left === 0) return undefined
    const octets = this.#rng.bytes(4)
    const at = new DataView(octets.buffer, octets.byteOffset).getUint32(0) % this.#left
    const last = --this.#left
    const port = this.#moved.get(at) ?? at
    this.#moved.set(at, this.#moved.get(last) ?? last)
    return FIRST_PORT + port
  }
}
