import type { ChildSettings } from '../contracts/settings.ts'
import type { ModeContext, ModeStrategy, Selector } from '../contracts/strategy.ts'
import type { Payload } from '../wire/index.ts'
import type { ChildSa } from './host.ts'
import type { IkeSa } from './ike-sa.ts'
import { findNotify } from './notify.ts'

/** Which mode a Child SA gets: asked for and granted by notify, tunnel mode where nobody asks, RFC 7296 §1.3.1. */

interface Asked {
  readonly settings: ChildSettings
  readonly mode: ModeStrategy
  /** Notify types that ask for `mode`. */
  readonly asks: readonly number[]
  readonly local: readonly Selector[]
  readonly remote: readonly Selector[]
  readonly replaces: ChildSa | undefined
}

/** Notify types that ask this peer for a mode; none for the default one. */
export const asksFor = (mode: ModeStrategy, { facts }: IkeSa): readonly number[] =>
  mode.asks?.(facts) ?? (mode.notify === undefined ? [] : [mode.notify])

/** The initiator's reading of the answer; undefined when the Child SA must fail. */
export function grantedMode(sa: IkeSa, asked: Asked, payloads: readonly Payload[]): ModeStrategy | undefined {
  const { mode, settings, asks, replaces } = asked
  if (mode.notify === undefined || asks.some(type => findNotify(payloads, type) !== undefined)) return mode
  if (isMeant(mode, settings) || (mode.strict && replaces !== undefined)) return undefined
  return mode.fallback === undefined ? undefined : sa.host.mode(mode.fallback)
}

/** What the mode that the user asked for has against the selectors of the same user, to follow another reason. */
export function objection(sa: IkeSa, { mode, settings, local, remote }: Asked): string {
  const why = isMeant(mode, settings) ? mode.refuses?.(contextOf(sa, local, remote, true)) : undefined
  return why === undefined ? '' : `; ${mode.name} mode: ${why}`
}

/** The mode a peer asks for; none where it asks for several, as only one can be. */
export function askedModes(sa: IkeSa, payloads: readonly Payload[]): readonly ModeStrategy[] {
  const asked = sa.host.modes().filter(m => asksFor(m, sa).some(type => findNotify(payloads, type) !== undefined))
  return asked.length === 1 ? asked : []
}

/** Modes to try for a child: the asked ones it allows, then tunnel mode, which needs no asking. */
export function modesFor(
  sa: IkeSa,
  child: ChildSettings,
  asked: readonly ModeStrategy[],
  replaces?: ChildSa,
): ModeStrategy[] {
  if (replaces !== undefined) {
    const mode = sa.host.mode(replaces.plan.mode)!
    // without the peer's asking the new SA would be in tunnel mode on its side
    return mode.notify === undefined || asked.includes(mode) ? [mode] : []
  }
  const allowed = (m: ModeStrategy): boolean => child.mode === 'auto' || child.mode === m.name
  const modes = asked.filter(allowed)
  const wanted = sa.host.mode(child.mode)
  const fallback = wanted !== undefined && !isMeant(wanted, child) ? wanted.fallback : undefined
  for (const m of sa.host.modes()) if (m.notify === undefined && (allowed(m) || fallback === m.name)) modes.push(m)
  return modes
}

/** Whether it is this mode or none. */
const isMeant = (mode: ModeStrategy, settings: ChildSettings): boolean =>
  mode.strict === true && settings.mode === mode.name

export const contextOf = (
  sa: IkeSa,
  local: readonly Selector[],
  remote: readonly Selector[],
  initiator: boolean,
): ModeContext => ({ local, remote, initiator, facts: sa.facts, flow: () => sa.flow })
