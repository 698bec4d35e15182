import type { KeyExchange } from '../contracts/crypto.ts'
import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { ChildSettings } from '../contracts/settings.ts'
import { PeerError } from '../errors.ts'
import { ExchangeType, NotifyType, type Payload, ProtocolId, payloadOf } from '../wire/index.ts'
import {
  acceptAnswer,
  addChild,
  answerChild,
  type ChildDraft,
  type ChildFailure,
  type ChildIntent,
  forgetAnswer,
  intend,
  intentPayloads,
  isFailure,
  rejectAnswer,
} from './child.ts'
import { isLower, lowest, Rival } from './collision.ts'
import { wipe } from './equal.ts'
import type { Exchange } from './exchange.ts'
import { FollowUp, isPassing, MAX_FORGOTTEN } from './follow-up.ts'
import type { ChildSa } from './host.ts'
import type { IkeSa } from './ike-sa.ts'
import { childByPeerSpi, DeleteChild, DeleteIke, spiBytes } from './informational.ts'
import type { Secrets } from './keys.ts'
import { findError, findNotify, notify } from './notify.ts'
import { keGroupsOf } from './proposal.ts'
import { RekeyIke, respondRekeyIke } from './rekey-ike.ts'
import { protocolOf } from './selection.ts'
import { answerKeyExchange } from './suite.ts'

/**
 * CREATE_CHILD_SA for Child SAs, RFC 7296 §1.3.1 and §1.3.3: a further one, or one that replaces another; with the
 * IKE_FOLLOWUP_KE that belong to it.
 */

const NONCE = 32
const MAX_RETRIES = 3
/** Child SAs that a peer may have on one IKE SA, with those that are being replaced. */
const MAX_CHILDREN = 256

const usable = ({ state }: ChildSa): boolean => state === 'installed' || state === 'rekeying'

export class ChildExchange implements Exchange {
  readonly settings: ChildSettings
  /** The SA it replaces; undefined for a further one. */
  readonly replaces: ChildSa | undefined
  #intent: ChildIntent | undefined
  #nonce: Uint8Array | undefined
  #keyExchange: KeyExchange | undefined
  #group: number | undefined
  #retries = 0
  #forgotten = 0
  /** The peer has rekeyed the same SA meanwhile. */
  #rival: Rival<ChildSa> | undefined
  /** What CREATE_CHILD_SA has agreed on, until the additional key exchanges are done. */
  #agreed: { readonly draft: ChildDraft; readonly followUp: FollowUp } | undefined

  constructor(settings: ChildSettings, replaces?: ChildSa) {
    this.settings = settings
    this.replaces = replaces
  }

  get type(): number {
    return this.#agreed === undefined ? ExchangeType.CREATE_CHILD_SA : ExchangeType.IKE_FOLLOWUP_KE
  }

  request(sa: IkeSa, now: number): Payload[] | undefined {
    if (this.#agreed !== undefined) return this.#agreed.followUp.request(sa)
    const old = this.replaces
    if (old !== undefined && (!sa.children.has(old.id) || old.state === 'replaced' || old.state === 'deleting'))
      return undefined
    // what was asked for again, such as after a hard limit, may have come in another way meanwhile
    const standing = [...sa.children.values()].some(c => c.settings.name === this.settings.name && usable(c))
    if (old === undefined && standing) return undefined
    // the peer is about to replace the same, or the IKE SA: it would answer TEMPORARY_FAILURE
    if (sa.followUps.replaces('ike') || (old !== undefined && sa.followUps.replaces(old))) {
      sa.later(this, now)
      return undefined
    }
    if (old !== undefined) old.state = 'rekeying'
    try {
      this.#intent = intend(sa, this.settings, old)
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      this.#failed(sa, error.code, error.message)
      return undefined
    }
    this.#nonce = sa.rng.bytes(NONCE)
    this.#rival = undefined
    // NONE, number 0, stands for no key exchange
    this.#group ??= keGroupsOf(this.#intent.proposals).find(g => g !== 0)
    this.#keyExchange = this.#group === undefined ? undefined : sa.crypto.keyExchange(this.#group, sa.rng)
    const [proposals, ...rest] = intentPayloads(this.#intent, false)
    return [
      ...(old === undefined
        ? []
        : [
            notify(NotifyType.REKEY_SA, undefined, { protocol: protocolOf(old.suite), spi: spiBytes(old.inbound.spi) }),
          ]),
      proposals!,
      { type: 'Nonce', data: this.#nonce },
      ...(this.#keyExchange === undefined
        ? []
        : [{ type: 'KE', group: this.#group!, data: this.#keyExchange.publicValue } as const]),
      ...rest,
    ]
  }

  /** Whether the peer may rekey the same SA now, which then both do. */
  get contested(): boolean {
    // with additional key exchanges under way it may not, RFC 9370 §2.2.4
    return this.replaces?.state === 'rekeying' && this.#rival === undefined && this.#agreed === undefined
  }

  /** The peer's rekey of the same SA was answered: which one stays is decided when ours is answered as well. */
  contest(lowest: Uint8Array): Rival<ChildSa> {
    this.#rival = new Rival(lowest)
    return this.#rival
  }

  response(sa: IkeSa, message: IncomingMessage, now: number): void {
    if (this.#agreed !== undefined) return this.#goOn(sa, this.#agreed, message.payloads, now)
    const { payloads } = message
    const error = findError(payloads)?.notify
    const rival = this.#livingRival(sa)
    if (error !== undefined && rival !== undefined) return this.#yield(sa, rival, now)
    if (error === NotifyType.TEMPORARY_FAILURE) return this.#later(sa, now)
    if (error === NotifyType.INVALID_KE_PAYLOAD) return this.#otherGroup(sa, payloads, now)
    // the peer has lost it: what both ends still want is a new one
    if (error === NotifyType.CHILD_SA_NOT_FOUND && this.replaces !== undefined)
      return this.#lost(sa, this.replaces, now)
    const result = this.#accept(sa, message)
    if (isFailure(result)) {
      rejectAnswer(sa, this.#intent!, payloads, now)
      return rival === undefined ? this.#failed(sa, result.code, result.why) : this.#yield(sa, rival, now)
    }
    const { draft, secrets, followUp } = result
    const nr = payloadOf(payloads, 'Nonce')!.data
    if (rival !== undefined && isLower(lowest(this.#nonce!, nr), rival.lowest)) {
      // with additional key exchanges there is nothing to delete yet: they are just not begun
      if (followUp === undefined) this.#redundant(sa, draft.complete(secrets, now), now)
      wipe(...secrets)
      return this.#yield(sa, rival, now)
    }
    if (rival !== undefined) {
      rival.fate = 'goes'
      sa.followUps.forget(this.replaces!)
      this.replaces!.successor = undefined
    }
    if (followUp === undefined) return this.#complete(sa, draft, secrets, now)
    this.#agreed = { draft, followUp }
    sa.proceed(this)
  }

  /** What came of an additional key exchange. */
  #goOn(
    sa: IkeSa,
    { draft, followUp }: { readonly draft: ChildDraft; readonly followUp: FollowUp },
    payloads: readonly Payload[],
    now: number,
  ): void {
    try {
      const error = findError(payloads)?.notify
      const secrets = error !== undefined && isPassing(error) ? undefined : followUp.response(payloads)
      if (secrets !== undefined) this.#complete(sa, draft, secrets, now)
      else if (error === undefined) return sa.proceed(this)
      else if (error === NotifyType.STATE_NOT_FOUND && ++this.#forgotten > MAX_FORGOTTEN)
        sa.enqueue(new DeleteIke('the peer forgets every time what it has begun', 'PEER_REKEY'), now)
      else this.#later(sa, now)
    } catch (problem) {
      if (!(problem instanceof PeerError)) throw problem
      forgetAnswer(sa, this.#intent!, now)
      this.#failed(sa, problem.code, problem.message)
    }
    followUp.wipe()
    this.#agreed = undefined
  }

  #complete(sa: IkeSa, draft: ChildDraft, secrets: Secrets, now: number): void {
    const child = draft.complete(secrets, now)
    wipe(...secrets)
    const old = this.replaces
    addChild(sa, child, true, old)
    if (old === undefined) return
    old.state = 'replaced'
    old.successor = child
    sa.enqueue(new DeleteChild(old, 'replaced'), now)
  }

  /** Of two rekeys at the same time this was the one that goes. */
  #redundant(sa: IkeSa, child: ChildSa, now: number): void {
    child.state = 'replaced'
    addChild(sa, child, false, 'redundant')
    sa.enqueue(new DeleteChild(child, 'redundant'), now)
  }

  /** One that is gone again was closed by its creator: it had the lowest nonce. Or its key exchanges came to nothing. */
  #livingRival(sa: IkeSa): Rival<ChildSa> | undefined {
    const rival = this.#rival
    if (rival === undefined) return undefined
    const { made } = rival
    const lives = made === undefined ? sa.followUps.replaces(this.replaces!) : sa.children.has(made.id)
    return lives ? rival : undefined
  }

  /** The peer's new SA stays, and the peer deletes the old one. */
  #yield(sa: IkeSa, rival: Rival<ChildSa>, now: number): void {
    const { made } = rival
    const old = this.replaces!
    rival.fate = 'stays'
    if (made === undefined) {
      // its key exchanges go on; should they come to nothing, this one has another go
      old.state = 'installed'
      return sa.later(this, now)
    }
    old.state = 'replaced'
    old.successor = made
    made.state = 'installed'
    sa.effect({ type: 'child-rekeyed', child: made, replaces: old })
  }

  #accept(
    sa: IkeSa,
    message: IncomingMessage,
  ): { readonly draft: ChildDraft; readonly secrets: Secrets; readonly followUp: FollowUp | undefined } | ChildFailure {
    const nonce = payloadOf(message.payloads, 'Nonce')
    const ke = payloadOf(message.payloads, 'KE')
    const ni = this.#nonce!
    const nr = nonce?.data.slice() ?? new Uint8Array(0)
    const failure = (code: string, why: string) => ({ code, why, notify: NotifyType.INVALID_SYNTAX })
    if (nonce === undefined && payloadOf(message.payloads, 'SA') !== undefined)
      return failure('PEER_SYNTAX', 'the answer lacks a nonce')
    const group = ke?.group === this.#group ? this.#group : undefined
    const draft = acceptAnswer(sa, this.#intent!, message, { ni, nr }, group)
    if (isFailure(draft)) return draft
    const [first, ...additional] = draft.methods
    try {
      const secrets = first === undefined ? [] : [this.#keyExchange!.shared(ke!.data)]
      return { draft, secrets, followUp: FollowUp.after(secrets, additional, message.payloads) }
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      return failure(error.code, error.message)
    }
  }

  #later(sa: IkeSa, now: number): void {
    if (this.replaces?.state === 'rekeying') this.replaces.state = 'installed'
    if (++this.#retries > MAX_RETRIES) return this.#failed(sa, 'PEER_BUSY', 'the peer has no time for it')
    sa.later(this, now)
  }

  #otherGroup(sa: IkeSa, payloads: readonly Payload[], now: number): void {
    const data = findNotify(payloads, NotifyType.INVALID_KE_PAYLOAD)?.data
    const group = data?.length === 2 ? (data[0]! << 8) | data[1]! : 0
    if (!keGroupsOf(this.#intent!.proposals).includes(group) || ++this.#retries > MAX_RETRIES)
      return this.#failed(sa, 'PEER_NO_PROPOSAL', `the peer wants key exchange group ${group}, which is not offered`)
    this.#group = group
    sa.enqueue(this, now)
  }

  #lost(sa: IkeSa, old: ChildSa, now: number): void {
    if (sa.children.delete(old.id)) sa.effect({ type: 'child-down', child: old, why: 'unknown to the peer' })
    sa.enqueue(new ChildExchange(this.settings), now)
  }

  /** The old SA goes on until its hard limit; the engine tries again or lets it end. */
  #failed(sa: IkeSa, code: string, why: string): void {
    if (this.replaces?.state === 'rekeying') this.replaces.state = 'installed'
    sa.effect({ type: 'child-failed', name: this.settings.name, code, why })
  }
}

/** @throws PeerError only for what ends the IKE SA */
export function respondCreateChild(sa: IkeSa, request: IncomingMessage, now: number): Payload[] {
  const { payloads } = request
  const proposals = payloadOf(payloads, 'SA')?.proposals
  const nonce = payloadOf(payloads, 'Nonce')
  if (proposals === undefined || nonce === undefined)
    throw new PeerError('PEER_SYNTAX', 'CREATE_CHILD_SA without SA or nonce', NotifyType.INVALID_SYNTAX)
  const ike = proposals[0]?.protocol === ProtocolId.IKE
  // RFC 7296 §2.25.2: nothing new on an SA that is about to be replaced or deleted
  if (
    sa.state !== 'established' ||
    sa.successor !== undefined ||
    sa.provisional ||
    ((sa.current instanceof RekeyIke || sa.followUps.replaces('ike')) && !ike) ||
    sa.pending(DeleteIke)
  )
    return [notify(NotifyType.TEMPORARY_FAILURE)]
  if (!sa.budget.take(now)) {
    sa.drop('create-storm')
    return [notify(NotifyType.TEMPORARY_FAILURE)]
  }
  if (ike) return respondRekeyIke(sa, payloads, proposals, nonce.data, now)
  const rekey = findNotify(payloads, NotifyType.REKEY_SA)
  const old = rekey === undefined ? undefined : childByPeerSpi(sa, rekey.spi)
  if (rekey !== undefined && old === undefined)
    return [notify(NotifyType.CHILD_SA_NOT_FOUND, undefined, { protocol: rekey.protocol, spi: rekey.spi })]
  const own = sa.current instanceof ChildExchange && sa.current.replaces === old ? sa.current : undefined
  const both = old !== undefined && own?.contested === true
  // §2.25.1: our own DELETE of the same SA is under way, or it has been rekeyed
  if (old !== undefined && old.state !== 'installed' && !both) return [notify(NotifyType.TEMPORARY_FAILURE)]
  if (sa.children.size + sa.followUps.size >= MAX_CHILDREN) return [notify(NotifyType.NO_ADDITIONAL_SAS)]
  const nr = sa.rng.bytes(NONCE)
  const ni = nonce.data.slice()
  const keyExchange = (group: number, peer: Uint8Array) => answerKeyExchange(sa.crypto, group, peer, sa.rng)
  const result = answerChild(sa, payloads, { ni, nr }, keyExchange, old)
  if (isFailure(result)) {
    if (result.notify === NotifyType.INVALID_SYNTAX) throw new PeerError(result.code, result.why, result.notify)
    sa.effect({ type: 'child-failed', name: old?.settings.name ?? '', code: result.code, why: result.why })
    return [notify(result.notify, result.data)]
  }
  const { draft, secrets } = result
  const methods = draft.methods.slice(1)
  if (methods.length > 0 && (sa.followUps.full || !sa.budget.take(now, methods.length))) {
    wipe(...secrets)
    sa.drop('create-storm')
    return [notify(NotifyType.TEMPORARY_FAILURE)]
  }
  const rival = both ? own.contest(lowest(ni, nr)) : undefined
  const complete = (all: Secrets, at: number) => {
    const child = draft.complete(all, at)
    const open = rival?.fate === 'open'
    if (open) {
      rival.made = child
      child.state = 'replaced'
    } else if (old !== undefined) old.state = 'replaced'
    if (old !== undefined) old.successor = child
    // the peer sends on the new SA as soon as it has this answer; we do when it has shown that it does
    addChild(sa, child, old === undefined, open ? 'redundant' : old)
  }
  const link: Payload[] = []
  if (methods.length === 0) {
    complete(secrets, now)
    wipe(...secrets)
  } else {
    if (old !== undefined) sa.followUps.forget(old)
    // not when the old one was deleted meanwhile, nor when our own rekey of it stays
    const possible = () =>
      old === undefined || (sa.children.has(old.id) && (old.state === 'installed' || rival?.fate === 'open'))
    link.push(sa.followUps.add({ replaces: old, methods, secrets, possible, complete }, sa.rng, now))
  }
  const [chosen, ...rest] = result.payloads
  return [chosen!, { type: 'Nonce', data: nr }, ...rest, ...link]
}
