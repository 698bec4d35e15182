import type { IncomingMessage } from '../contracts/ike-task.ts'
import { ExchangeType, NotifyType, type Payload, ProtocolId } from '../wire/index.ts'
import type { Exchange } from './exchange.ts'
import type { ChildSa } from './host.ts'
import type { IkeSa } from './ike-sa.ts'
import { respondMobike } from './mobike.ts'
import { findNotify } from './notify.ts'
import { readLifetime } from './reauth.ts'
import { followRedirect } from './redirect.ts'
import { grantTicket, receiveTicket } from './resumption.ts'
import { protocolOf } from './selection.ts'

/** INFORMATIONAL exchanges, RFC 7296 §1.4: liveness checks and deletion. */

/** Empty request: is the peer there? An answer of any content says yes; none ends the IKE SA. RFC 7296 §2.4. */
export class Liveness implements Exchange {
  readonly type = ExchangeType.INFORMATIONAL

  request(): Payload[] {
    return []
  }

  response(sa: IkeSa, _message: IncomingMessage, now: number): void {
    sa.mobility.compareMapping(sa, now)
  }
}

/** Tells the peer something it need not answer with more than an empty message. */
export class Inform implements Exchange {
  readonly type = ExchangeType.INFORMATIONAL
  readonly #payloads: readonly Payload[]

  constructor(payloads: readonly Payload[]) {
    this.#payloads = payloads
  }

  request(): Payload[] {
    return [...this.#payloads]
  }

  response(): void {}
}

export class DeleteIke implements Exchange {
  readonly type = ExchangeType.INFORMATIONAL
  readonly #why: string
  readonly #code: string

  /** @param code - OK for an orderly end */
  constructor(why: string, code = 'OK') {
    this.#why = why
    this.#code = code
  }

  request(sa: IkeSa): Payload[] {
    sa.state = 'closing'
    return [{ type: 'D', protocol: ProtocolId.IKE, spis: [] }]
  }

  response(sa: IkeSa, _message: IncomingMessage, now: number): void {
    sa.close(this.#code, this.#why, now)
  }
}

/** Deletes one Child SA; `replaced` when a rekey made it superfluous. */
export class DeleteChild implements Exchange {
  readonly type = ExchangeType.INFORMATIONAL
  readonly child: ChildSa
  readonly #why: string

  constructor(child: ChildSa, why: string) {
    this.child = child
    this.#why = why
  }

  request(sa: IkeSa): Payload[] | undefined {
    if (!sa.children.has(this.child.id)) return undefined
    this.child.deleteSent = true
    if (this.child.state !== 'replaced') this.child.state = 'deleting'
    return [deletion(this.child)]
  }

  response(sa: IkeSa): void {
    if (!sa.children.delete(this.child.id)) return
    if (this.child.state === 'replaced') sa.effect({ type: 'retire', child: this.child })
    else sa.effect({ type: 'child-down', child: this.child, why: this.#why })
  }
}

/** Answers the peer's INFORMATIONAL request. */
export function respondInformational(sa: IkeSa, request: IncomingMessage, now: number): Payload[] {
  const { payloads } = request
  const deletions = payloads.filter(p => p.type === 'D')
  // §2.21.2: the initiator tells so that our AUTH did not convince it
  if (findNotify(payloads, NotifyType.AUTHENTICATION_FAILED) !== undefined) {
    sa.endedByPeer = { code: 'PEER_AUTH_FAILED', why: 'the peer does not accept our identity or key' }
    return []
  }
  if (deletions.some(d => d.protocol === ProtocolId.IKE)) {
    sa.endedByPeer = { code: 'OK', why: 'deleted by the peer' }
    return []
  }
  readLifetime(sa, payloads, now)
  followRedirect(sa, payloads)
  receiveTicket(sa, payloads, now)
  const tickets = grantTicket(sa, payloads, now)
  const mobike = respondMobike(sa, request, now)
  const own: ChildSa[] = []
  for (const { protocol, spi } of deletions.flatMap(d => d.spis.map(spi => ({ protocol: d.protocol, spi })))) {
    const child = childByPeerSpi(sa, spi)
    if (child === undefined || protocolOf(child.suite) !== protocol) continue
    sa.children.delete(child.id)
    // what was to replace another one has come to nothing: that one goes on
    for (const old of sa.children.values())
      if (old.successor === child && old.state === 'replaced') {
        old.state = 'installed'
        old.successor = undefined
      }
    // the peer deletes what its rekey replaced, or both ends do: what comes late on it is still good for a moment
    const replaced = child.state === 'replaced' || child.successor !== undefined
    if (!child.deleteSent) own.push(child)
    sa.effect(replaced ? { type: 'retire', child } : { type: 'child-down', child, why: 'deleted by the peer' })
  }
  // one payload for each protocol, §3.11
  const deleted = [ProtocolId.ESP, ProtocolId.AH].flatMap((protocol): Payload[] => {
    const spis = own.filter(c => protocolOf(c.suite) === protocol).map(c => spiBytes(c.inbound.spi))
    return spis.length === 0 ? [] : [{ type: 'D', protocol, spis }]
  })
  return [...tickets, ...mobike, ...deleted]
}

/** The payload that deletes a Child SA: it names the SPI this host receives on. */
const deletion = ({ suite, inbound }: Pick<ChildSa, 'suite' | 'inbound'>): Payload => ({
  type: 'D',
  protocol: protocolOf(suite),
  spis: [spiBytes(inbound.spi)],
})

export function spiBytes(spi: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, spi)
  return bytes
}

export const spiNumber = (spi: Uint8Array): number =>
  spi.length === 4 ? new DataView(spi.buffer, spi.byteOffset).getUint32(0) : 0

/** The Child SA whose outbound SPI this is: peers name SAs by the SPI they receive on. */
export function childByPeerSpi(sa: IkeSa, spi: Uint8Array): ChildSa | undefined {
  const number = spiNumber(spi)
  for (const child of sa.children.values()) if (child.outbound.spi === number) return child
  return undefined
}
