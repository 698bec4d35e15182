import { type Fact, type Facts, knownFact } from '../contracts/facts.ts'

/** What follows from facts that are known; a fact that somebody found out for itself stays as it is. */
export function derive(facts: Facts): Facts {
  const both = bothBehindNat(facts)
  return both === undefined || facts['bothBehindNat'] !== undefined ? facts : { ...facts, bothBehindNat: both }
}

function bothBehindNat(facts: Facts): Fact | undefined {
  const { localBehindNat: here, remoteBehindNat: there } = facts
  const source = 'localBehindNat and remoteBehindNat'
  const at = Math.max(here?.at ?? 0, there?.at ?? 0)
  if (knownFact(facts, 'localBehindNat') === false || knownFact(facts, 'remoteBehindNat') === false)
    return { value: false, source, at }
  return here === undefined || there === undefined ? undefined : { value: true, source, at }
}
