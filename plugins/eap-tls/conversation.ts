import type { EapContext, EapConversation, EapStep } from '../../core/contracts/eap.ts'
import { ACKNOWLEDGE, Incoming, isStart, Outgoing, START } from './framing.ts'
import { Handshake, secureContext } from './handshake.ts'

/** EAP-TLS, RFC 5216, with TLS 1.2: either end of it. */
export class TlsConversation implements EapConversation {
  readonly #context: EapContext
  readonly #role: 'client' | 'server'
  readonly #incoming = new Incoming()
  #outgoing = new Outgoing(new Uint8Array(0))
  #handshake: Handshake | undefined
  #proved = false

  constructor(context: EapContext, role: 'client' | 'server') {
    this.#context = context
    this.#role = role
  }

  start(): EapStep {
    return this.#begin() ?? { type: 'send', data: START }
  }

  receive(data: Uint8Array): EapStep {
    if (this.#role === 'client' && isStart(data)) {
      if (this.#handshake !== undefined) return this.#failed('the server starts EAP-TLS twice')
      const problem = this.#begin()
      if (problem !== undefined) return problem
      this.#handshake!.feed(new Uint8Array(0))
      return { type: 'wait' }
    }
    const handshake = this.#handshake
    if (handshake === undefined) return this.#failed('the server does not start EAP-TLS')
    // what is still to be sent is asked for with nothing in it
    if (!this.#outgoing.empty) return { type: 'send', data: this.#outgoing.next() }
    const found = this.#incoming.add(data)
    if (found === 'more') return { type: 'send', data: ACKNOWLEDGE }
    if ('why' in found) return this.#failed(found.why)
    if (this.#proved && found.flight.length === 0) return this.#done()
    handshake.feed(found.flight)
    return { type: 'wait' }
  }

  resume(): EapStep {
    const handshake = this.#handshake!
    const flight = handshake.take()
    if (handshake.error !== undefined) return this.#failed(`TLS: ${handshake.error}`, flight)
    if (handshake.done && !this.#proved) {
      const why = this.#judge(handshake)
      if (why !== undefined) return this.#failed(why)
      this.#proved = true
    }
    this.#outgoing = new Outgoing(flight)
    // the client's last word is that it has nothing to add
    if (this.#proved && this.#role === 'client' && flight.length === 0) return this.#done(ACKNOWLEDGE)
    return { type: 'send', data: flight.length === 0 ? ACKNOWLEDGE : this.#outgoing.next() }
  }

  #begin(): EapStep | undefined {
    const { secrets, wake } = this.#context
    try {
      if (secrets.key === undefined) return this.#failed('eap-tls has no certificate and key of this host')
      this.#handshake = new Handshake(secureContext(secrets.key), this.#role, wake)
      return undefined
    } catch (error) {
      return this.#failed((error as Error).message)
    }
  }

  /** @returns why the certificate of the other end will not do */
  #judge(handshake: Handshake): string | undefined {
    const { trust, remote, wall } = this.#context
    if (trust === undefined) return 'eap-tls has no CA to measure the certificate of the peer by'
    const judgement = trust.judge({ certificates: handshake.chain(), rawKeys: [] }, remote, wall)
    return judgement.ok ? undefined : judgement.why
  }

  #done(data?: Uint8Array): EapStep {
    const msk = this.#handshake!.msk()
    this.#handshake!.close()
    return { type: 'done', msk, ...(data !== undefined && { data }) }
  }

  /** @param alert - what TLS says of it, which the other end may still be told */
  #failed(why: string, alert: Uint8Array = new Uint8Array(0)): EapStep {
    this.#handshake?.close()
    if (alert.length === 0 || this.#role === 'server') return { type: 'failed', why }
    return { type: 'failed', why, data: new Outgoing(alert).next() }
  }
}
