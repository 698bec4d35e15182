import { Blocks } from './blocks.ts'
import type { ChildSettings, Settings } from './contracts/settings.ts'
import type { Selector } from './contracts/strategy.ts'
import { showIdentity } from './ike/identity.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import { addressBytes, familyOf, formatAddress, prefixRange, rangePrefixes } from './wire/index.ts'

/** Which addresses this side sees in place of a peer's own, where the configuration wants that (`conflicts: { map: … }`). */
export class SeenAs {
  readonly #settings: Settings
  readonly #sasOf: (peer: string) => readonly IkeSa[]
  readonly #blocks = new Map<string, Blocks>()

  /** @param sasOf - all live IKE SAs with a peer */
  constructor(settings: Settings, sasOf: (peer: string) => readonly IkeSa[]) {
    this.#settings = settings
    this.#sasOf = sasOf
    for (const pool of Object.values(settings.pools)) this.#blocks.set(pool.name, new Blocks(pool))
  }

  /** @returns undefined when the pool has no room, or a range is no prefix */
  seen(sa: IkeSa, { name, conflicts }: ChildSettings, remote: readonly Selector[]): readonly Selector[] | undefined {
    const pool = typeof conflicts === 'object' ? this.#settings.pools[conflicts.map] : undefined
    if (pool === undefined) return undefined
    const owner = keyOf(sa.peer ?? '', name, sa)
    const seen: Selector[] = []
    for (const selector of remote) {
      const [prefix, ...more] = rangePrefixes({ start: addressBytes(selector.start), end: addressBytes(selector.end) })
      if (more.length > 0 || familyOf(pool.prefix.address) !== selector.family) return undefined
      const block = this.#blocks.get(pool.name)!.take(`${owner}${selector.start}`, prefix!.bits, key => this.#busy(key))
      if (block === undefined) return undefined
      const { start, end } = prefixRange(block)
      seen.push({ ...selector, start: formatAddress(start), end: formatAddress(end) })
    }
    return seen
  }

  /** Whether the owner that the key names has a live Child SA whose addresses are seen as others. */
  #busy(key: string): boolean {
    return Object.keys(this.#settings.peers).some(peer =>
      this.#sasOf(peer).some(sa =>
        [...sa.children.values()].some(
          child => child.untranslated !== undefined && key.startsWith(keyOf(peer, child.settings.name, sa)),
        ),
      ),
    )
  }
}

const keyOf = (peer: string, child: string, sa: IkeSa): string => `${peer}/${child}/${showIdentity(sa.remoteId)} `
