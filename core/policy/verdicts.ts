import type { Facts, FactValue } from '../contracts/facts.ts'

/** What was decided, and on the values of which facts that rests. */
interface Kept<T> {
  readonly rests: readonly (readonly [name: string, value: FactValue | undefined])[]
  readonly verdict: T
}

/** Kept of one question; the oldest goes. */
const MOST = 16

/**
 * Decisions to be had again: a gateway asks the same of each of its thousands of SAs, and few facts have a say. Which ones,
 * is seen while it is decided: another value of one of them, or one that becomes known, is another case.
 */
export class Verdicts<T> {
  readonly #kept = new Map<string, Kept<T>[]>()

  /**
   * @param about - all that has a say beside the facts
   * @param decide - looks at facts through `watch` only, at their values alone, and says the same for the same ones
   */
  of(about: string, facts: Facts, decide: (watch: (facts: Facts) => Facts) => T): T {
    const kept = this.#kept.get(about) ?? []
    for (const { rests, verdict } of kept) if (agree(rests, facts)) return verdict
    const names = new Set<string>()
    let all = false
    const verdict = decide(seen =>
      watched(
        seen,
        name => names.add(name),
        () => {
          all = true
        },
      ),
    )
    // who looks at all of them would be asked anew for each peer
    if (all) return verdict
    kept.push({ rests: [...names].map(name => [name, facts[name]?.value]), verdict })
    if (kept.length > MOST) kept.shift()
    this.#kept.set(about, kept)
    return verdict
  }
}

function agree(rests: Kept<unknown>['rests'], facts: Facts): boolean {
  for (const [name, value] of rests) if (facts[name]?.value !== value) return false
  return true
}

/** The same facts, which tell who looks at one, or at all. */
const watched = (facts: Facts, one: (name: string) => void, all: () => void): Facts =>
  new Proxy(facts, {
    get(target, name) {
      if (typeof name === 'string') one(name)
      return Reflect.get(target, name)
    },
    has(target, name) {
      if (typeof name === 'string') one(name)
      return Reflect.has(target, name)
    },
    ownKeys(target) {
      all()
      return Reflect.ownKeys(target)
    },
  })
