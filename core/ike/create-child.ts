import type { KeyExchange } from '../contracts/crypto.ts'
import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { ChildSettings } from '../contracts/settings.ts'
import { PeerError } from '../errors.ts'
import { ExchangeType, NotifyType, type Payload, ProtocolId, payloadOf } from '../wire/index.ts'
import {
  acceptAnswer,
  addChild,
  answerChild,
  type ChildFailure,
  type ChildIntent,
  intend,
  intentPayloads,
  isFailure,
  rejectAnswer,
} from './child.ts'
import type { Exchange } from './exchange.ts'
import type { ChildSa } from './host.ts'
import type { IkeSa } from './ike-sa.ts'
import { childByPeerSpi, DeleteChild, DeleteIke, spiBytes } from './informational.ts'
import { findError, findNotify, notify } from './notify.ts'
import { keGroupsOf } from './proposal.ts'
import { RekeyIke, respondRekeyIke } from './rekey-ike.ts'
import { protocolOf } from './selection.ts'

/** CREATE_CHILD_SA for Child SAs, RFC 7296 §1.3.1 and §1.3.3: a further one, or one that replaces another. */

const NONCE = 32
const MAX_RETRIES = 3

export class ChildExchange implements Exchange {
  readonly type = ExchangeType.CREATE_CHILD_SA
  readonly settings: ChildSettings
  /** The SA it replaces; undefined for a further one. */
  readonly replaces: ChildSa | undefined
  #intent: ChildIntent | undefined
  #nonce: Uint8Array | undefined
  #keyExchange: KeyExchange | undefined
  #group: number | undefined
  #retries = 0

  constructor(settings: ChildSettings, replaces?: ChildSa) {
    this.settings = settings
    this.replaces = replaces
  }

  request(sa: IkeSa): Payload[] | undefined {
    const old = this.replaces
    if (old !== undefined && (!sa.children.has(old.id) || old.state === 'replaced' || old.state === 'deleting'))
      return undefined
    if (old !== undefined) old.state = 'rekeying'
    try {
      this.#intent = intend(sa, this.settings, old)
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      this.#failed(sa, error.code, error.message)
      return undefined
    }
    this.#nonce = sa.rng.bytes(NONCE)
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

  response(sa: IkeSa, message: IncomingMessage, now: number): void {
    const { payloads } = message
    const error = findError(payloads)?.notify
    if (error === NotifyType.TEMPORARY_FAILURE) return this.#later(sa, now)
    if (error === NotifyType.INVALID_KE_PAYLOAD) return this.#otherGroup(sa, payloads, now)
    // the peer has lost it: what both ends still want is a new one
    if (error === NotifyType.CHILD_SA_NOT_FOUND && this.replaces !== undefined)
      return this.#lost(sa, this.replaces, now)
    const result = this.#accept(sa, message, now)
    if (isFailure(result)) {
      rejectAnswer(sa, this.#intent!, payloads, now)
      return this.#failed(sa, result.code, result.why)
    }
    const old = this.replaces
    addChild(sa, result, true, old)
    if (old === undefined) return
    old.state = 'replaced'
    sa.enqueue(new DeleteChild(old, 'replaced'), now)
  }

  #accept(sa: IkeSa, message: IncomingMessage, now: number): ChildSa | ChildFailure {
    const nonce = payloadOf(message.payloads, 'Nonce')
    const ke = payloadOf(message.payloads, 'KE')
    const ni = this.#nonce!
    const nr = nonce?.data.slice() ?? new Uint8Array(0)
    const failure = (code: string, why: string) => ({ code, why, notify: NotifyType.INVALID_SYNTAX })
    if (nonce === undefined && payloadOf(message.payloads, 'SA') !== undefined)
      return failure('PEER_SYNTAX', 'the answer lacks a nonce')
    let shared: Uint8Array | undefined
    try {
      if (ke !== undefined && ke.group === this.#group) shared = this.#keyExchange?.shared(ke.data)
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      return failure(error.code, error.message)
    }
    return acceptAnswer(sa, this.#intent!, message, { ni, nr }, shared && { group: this.#group!, shared }, now)
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
  // RFC 7296 §2.25.2: nothing new on an SA that is about to be replaced or deleted
  if (
    sa.state !== 'established' ||
    sa.successor !== undefined ||
    sa.current instanceof RekeyIke ||
    sa.pending(DeleteIke)
  )
    return [notify(NotifyType.TEMPORARY_FAILURE)]
  if (proposals[0]?.protocol === ProtocolId.IKE) return respondRekeyIke(sa, payloads, proposals, nonce.data, now)
  const rekey = findNotify(payloads, NotifyType.REKEY_SA)
  const old = rekey === undefined ? undefined : childByPeerSpi(sa, rekey.spi)
  if (rekey !== undefined && old === undefined)
    return [notify(NotifyType.CHILD_SA_NOT_FOUND, undefined, { protocol: rekey.protocol, spi: rekey.spi })]
  // §2.25.1: our own rekey or DELETE of the same SA is under way; the peer tries again when that is done
  if (old !== undefined && old.state !== 'installed') return [notify(NotifyType.TEMPORARY_FAILURE)]
  const nr = sa.rng.bytes(NONCE)
  const ni = nonce.data.slice()
  const keyExchange = (group: number) => sa.crypto.keyExchange(group, sa.rng)
  const result = answerChild(sa, payloads, { ni, nr }, keyExchange, now, old)
  if (isFailure(result)) {
    if (result.notify === NotifyType.INVALID_SYNTAX) throw new PeerError(result.code, result.why, result.notify)
    sa.effect({ type: 'child-failed', name: old?.settings.name ?? '', code: result.code, why: result.why })
    return [notify(result.notify, result.data)]
  }
  if (old !== undefined) old.state = 'replaced'
  // the peer sends on the new SA as soon as it has this answer; we do when it has shown that it does
  addChild(sa, result.child, old === undefined, old)
  const [chosen, ...rest] = result.payloads
  return [chosen!, { type: 'Nonce', data: nr }, ...rest]
}
