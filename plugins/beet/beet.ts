import { type Facts, knownFact } from '../../core/contracts/facts.ts'
import type { IkeTask } from '../../core/contracts/ike-task.ts'
import type { Assessment, Mode, ModeContext, ModeStrategy, Problem, Selector } from '../../core/contracts/strategy.ts'
import { ConfigError, UsageError } from '../../core/errors.ts'
import { addressBytes } from '../../core/wire/index.ts'
import { BeetMode } from './mode.ts'
import { entryOf, isStatusType, STRONGSWAN, type UseBeetMode } from './numbers.ts'
import { vendorIdTask } from './vendor-id.ts'

export interface BeetOptions {
  /**
   * Notify types of USE_BEET_MODE. An initiator sends all that the peer can understand; a responder answers those it was
   * sent. Default: strongSwan's, 40961. The IETF draft's belongs here once IANA has assigned it.
   */
  readonly notify?: number | readonly number[]
  /** Send strongSwan's vendor ID, and take 40961 only from peers that sent it. Default true: strongSwan does the same. */
  readonly vendorId?: boolean
}

/** One fixed pair of inner addresses, known to both ends, so that no packet need carry it. RFC 7402 appendix B. */
export class Beet implements ModeStrategy {
  readonly slot = 'mode'
  readonly name = 'beet'
  readonly notify: number
  readonly fallback = 'tunnel'
  readonly strict = true
  readonly finds = ['peerBeet']
  readonly needs = 'the peer knows BEET mode'
  readonly solves: readonly Problem[] = ['checksums', 'address-identities', 'overlapping-spd']
  readonly #numbers: readonly UseBeetMode[]

  /** @throws ConfigError for numbers that are no notify types of the status range */
  constructor({ notify = STRONGSWAN.notify, vendorId = true }: BeetOptions = {}) {
    const numbers = [...new Set(typeof notify === 'number' ? [notify] : notify)]
    for (const number of numbers)
      if (!isStatusType(number)) throw new ConfigError('plugins.beet.notify', `${number} is not in 16384 to 65535`)
    if (numbers.length === 0) throw new ConfigError('plugins.beet.notify', 'a number is needed to ask for BEET mode')
    this.notify = numbers[0]!
    this.#numbers = numbers.map(number => entryOf(number, vendorId))
  }

  asks(facts: Facts): readonly number[] {
    const shown = knownFact(facts, 'peerBeet') === true
    return this.#numbers.filter(n => n.vendorId === undefined || shown).map(n => n.notify)
  }

  assess(facts: Facts): Assessment {
    if (knownFact(facts, 'peerBeet') === false && this.asks(facts).length === 0)
      return {
        usable: false,
        why: `the peer did not send strongSwan's vendor ID, so notify ${STRONGSWAN.notify} means nothing to it (strongSwan: send_vendor_id = yes)`,
      }
    if (knownFact(facts, 'innerPair') === false)
      return { usable: false, why: 'it carries one pair of addresses, and a side of the Child SA is a network' }
    return {
      usable: true,
      cost: { octets: 0, roundTrips: 0, trusts: [] },
      why: 'one fixed pair of inner addresses, which both ends know, so no inner header travels',
    }
  }

  refuses({ local, remote }: ModeContext): string | undefined {
    const problem = several('local', local) ?? several('remote', remote)
    if (problem !== undefined) return problem
    const [mine, theirs] = [local[0]!, remote[0]!]
    return mine.family === theirs.family
      ? undefined
      : `the inner addresses ${mine.start} and ${theirs.start} are of different families`
  }

  /** @throws UsageError USAGE_BEET_ADDRESSES for what `refuses` names */
  create(context: ModeContext): Mode {
    const refusal = this.refuses(context)
    if (refusal !== undefined) throw new UsageError('USAGE_BEET_ADDRESSES', refusal)
    return new BeetMode(addressBytes(context.local[0]!.start), addressBytes(context.remote[0]!.start))
  }

  tasks(): readonly IkeTask[] {
    return this.#numbers.flatMap(({ vendorId }) => (vendorId === undefined ? [] : [vendorIdTask(vendorId)]))
  }
}

/** Why a side's selectors are not one address; protocols and ports may differ. */
function several(side: string, selectors: readonly Selector[]): string | undefined {
  const first = selectors[0]
  if (first === undefined) return `there is no ${side} inner address`
  for (const { start, end } of selectors) {
    if (start !== end)
      return `one inner address on each side, but the ${side} one is ${start} to ${end}; use a Child SA per address, or tunnel mode`
    if (start !== first.start)
      return `one inner address on each side, but ${side} ones are ${first.start} and ${start}; use a Child SA for each`
  }
  return undefined
}
