import type { ChildSaSpec } from '../contracts/data-plane.ts'
import type { SelectorPair } from './selector.ts'

/** Who wants selectors, or has them. */
export interface Claimant {
  readonly owner: string
  readonly peer: string
  /** Others may have the same selectors: flows tell whose a packet is. */
  readonly shared: boolean
}

interface Claim extends Claimant {
  readonly selectors: SelectorPair
  count: number
}

export const owner = (spec: ChildSaSpec): string => spec.owner ?? spec.peer

/** Who has the selectors of this SA. */
export const claimant = (spec: ChildSaSpec): Claimant => ({
  owner: owner(spec),
  peer: spec.peer,
  shared: spec.shared ?? false,
})

/** Whose SAs have which selectors. */
export class Claims {
  /** By `SelectorPair.key`, and for how many SAs. */
  readonly #claims = new Map<string, Claim>()
  /** Those of a single remote address, by it, and all others: a gateway has a hundred thousand of the first kind. */
  readonly #byHost = new Map<string, Claim[]>()
  readonly #wide = new Set<Claim>()

  /**
   * Why an SA of this owner must not get these selectors: another owner's SA has them, and its traffic would go to the
   * newcomer (RFC 3948 §5.2, two clients behind one NAT). Where one peer of the configuration stands for many owners,
   * selectors that overlap are no better: whoever asks for a part of another's addresses would get its packets. Of different
   * peers selectors that merely overlap are the configuration's business, and distinct ports are a cure.
   */
  conflict(selectors: SelectorPair, by: Claimant): string | undefined {
    const claim = this.#claims.get(selectors.key)
    const same = claim === undefined || claim.owner === by.owner || (claim.shared && by.shared) ? undefined : claim
    const other = same ?? this.#overlapping(selectors, by)
    if (other === undefined) return undefined
    const what = same === undefined ? 'overlap with those of' : 'already belong to'
    return `selectors ${selectors.key} ${what} an SA of ${other.owner}`
  }

  #overlapping(selectors: SelectorPair, { owner, peer, shared }: Claimant): Claim | undefined {
    for (const claim of this.#near(selectors))
      if (claim.peer === peer && claim.owner !== owner && claim.selectors.overlaps(selectors))
        if (!claim.shared || !shared || claim.selectors.key !== selectors.key) return claim
    return undefined
  }

  /** All that may overlap. */
  *#near({ remoteHost }: SelectorPair): Iterable<Claim> {
    if (remoteHost === undefined) return yield* this.#claims.values()
    yield* this.#byHost.get(remoteHost) ?? []
    yield* this.#wide
  }

  /** Takes the selectors for one more SA of this owner, whether it sends or not. `conflict` was asked. */
  claim(selectors: SelectorPair, by: Claimant): void {
    const claim = this.#claims.get(selectors.key)
    if (claim !== undefined) {
      claim.count++
      return
    }
    const made = { ...by, selectors, count: 1 }
    this.#claims.set(selectors.key, made)
    const { remoteHost } = selectors
    if (remoteHost === undefined) this.#wide.add(made)
    else {
      const same = this.#byHost.get(remoteHost)
      if (same === undefined) this.#byHost.set(remoteHost, [made])
      else same.push(made)
    }
  }

  /** Gives back what one `claim` took. */
  release(selectors: SelectorPair): void {
    const claim = this.#claims.get(selectors.key)
    if (claim === undefined || --claim.count > 0) return
    this.#claims.delete(selectors.key)
    this.#wide.delete(claim)
    const { remoteHost } = claim.selectors
    const same = remoteHost === undefined ? undefined : this.#byHost.get(remoteHost)
    if (same === undefined) return
    same.splice(same.indexOf(claim), 1)
    if (same.length === 0) this.#byHost.delete(remoteHost!)
  }
}
