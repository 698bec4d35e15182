import type { EapContext, EapConversation, EapMethod, EapStep } from '../contracts/eap.ts'
import type { Identity } from '../contracts/settings.ts'
import { WireError } from '../errors.ts'
import { EapCode, type EapPacket, EapType, readEap, writeEap } from '../wire/index.ts'

/** EAP as IKE carries it, RFC 3748, RFC 7296 §2.16: identities, the choice of the method, and its packets. */

/** More than any method takes: what goes on for ever is ended. */
const MAX_ROUNDS = 64
const EMPTY = new Uint8Array(0)
const text = new TextEncoder()
const words = new TextDecoder()

/** What became of a packet: an answer, the keys, or why it is over. `packet` with `failed` is still to be sent. */
export type EapOutcome =
  | { readonly type: 'send'; readonly packet: Uint8Array }
  | { readonly type: 'done'; readonly msk: Uint8Array; readonly packet?: Uint8Array }
  | { readonly type: 'failed'; readonly why: string; readonly packet?: Uint8Array }
  /** Nothing yet: `resume` has it once `wake` of the context was called. */
  | { readonly type: 'wait' }

/** What a server is told of a conversation before it knows who the peer is. */
export type ServerContext = Omit<EapContext, 'remote'>

const failed = (why: string): EapOutcome => ({ type: 'failed', why })

function read(bytes: Uint8Array): EapPacket | undefined {
  try {
    return readEap(bytes)
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

/** The end that is asked. */
export class EapPeer {
  readonly #method: EapMethod
  readonly #identity: string
  readonly #conversation: EapConversation
  #rounds = 0
  #msk: Uint8Array | undefined
  #refusal: string | undefined
  /** The request that the method takes its time for. */
  #request: EapPacket | undefined

  constructor(method: EapMethod, context: EapContext) {
    this.#method = method
    this.#identity = context.secrets.user!.name
    this.#conversation = method.peer(context)
  }

  resume(): EapOutcome {
    return this.#step(this.#request!, this.#conversation.resume!())
  }

  receive(bytes: Uint8Array): EapOutcome {
    const packet = read(bytes)
    if (packet === undefined || packet.code === EapCode.RESPONSE) return failed('the peer sent a malformed EAP packet')
    if (++this.#rounds > MAX_ROUNDS) return failed('the peer asks without end in EAP')
    if (packet.code === EapCode.FAILURE)
      return failed(this.#refusal ?? `the peer refuses ${this.#identity} in EAP (eap-${this.#method.name})`)
    if (packet.code === EapCode.SUCCESS)
      return this.#msk === undefined
        ? failed('the peer reports success in EAP before the method has come to an end')
        : { type: 'done', msk: this.#msk }
    switch (packet.type) {
      case EapType.IDENTITY:
        return this.#respond(packet, EapType.IDENTITY, text.encode(this.#identity))
      case EapType.NOTIFICATION:
        return this.#respond(packet, EapType.NOTIFICATION, EMPTY)
      case this.#method.type:
        return this.#step(packet, this.#conversation.receive(packet.data))
      default:
        this.#refusal = `the peer wants EAP method ${packet.type}, and no other than eap-${this.#method.name} is configured here`
        return this.#respond(packet, EapType.NAK, Uint8Array.of(this.#method.type))
    }
  }

  #step(request: EapPacket, step: EapStep): EapOutcome {
    if (step.type === 'wait') {
      this.#request = request
      return step
    }
    if (step.type === 'failed') {
      this.#refusal = step.why
      return step.data === undefined ? failed(step.why) : this.#respond(request, request.type, step.data)
    }
    if (step.type === 'done') this.#msk = step.msk
    return this.#respond(request, request.type, step.data ?? EMPTY)
  }

  #respond({ identifier }: EapPacket, type: number, data: Uint8Array): EapOutcome {
    return { type: 'send', packet: writeEap({ code: EapCode.RESPONSE, identifier, type, data }) }
  }
}

/** The end that asks. */
export class EapServer {
  readonly #method: EapMethod
  readonly #context: ServerContext
  #conversation: EapConversation | undefined
  #identifier: number
  #rounds = 0
  /** What the peer calls itself; proved once the outcome is `done`. */
  identity: Identity = { type: 'fqdn', value: '' }
  /** Why the peer has been refused by its method, where it has. */
  refusal: string | undefined

  constructor(method: EapMethod, context: ServerContext) {
    this.#method = method
    this.#context = context
    this.#identifier = context.rng.bytes(1)[0]!
  }

  resume(): EapOutcome {
    return this.#step(this.#conversation!.resume!())
  }

  /** The first request: who is it? IDi is no answer to that, since some clients send an address in it. */
  start(): Uint8Array {
    return this.#packet(EapCode.REQUEST, EapType.IDENTITY, EMPTY)
  }

  receive(bytes: Uint8Array): EapOutcome {
    const packet = read(bytes)
    if (packet?.code !== EapCode.RESPONSE || packet.identifier !== this.#identifier)
      return this.#fail('the peer sent an EAP packet that answers nothing')
    if (++this.#rounds > MAX_ROUNDS) return this.#fail('EAP goes on without end')
    if (this.#conversation === undefined) {
      if (packet.type !== EapType.IDENTITY) return this.#fail('the peer does not say who it is in EAP')
      const value = words.decode(packet.data)
      this.identity = { type: value.includes('@') ? 'rfc822' : 'fqdn', value }
      this.#conversation = this.#method.server({ ...this.#context, remote: this.identity })
      return this.#step(this.#conversation.start!())
    }
    if (packet.type === EapType.NAK)
      return this.#fail(
        `the peer does not want eap-${this.#method.name}, but EAP method ${[...packet.data].join(', ') || 'none'}`,
      )
    if (packet.type !== this.#method.type) return this.#fail(`the peer answers with EAP method ${packet.type}`)
    return this.#step(this.#conversation.receive(packet.data))
  }

  #step(step: EapStep): EapOutcome {
    if (step.type === 'wait') return step
    if (step.type === 'failed') return this.#fail(step.why)
    if (step.type === 'done') return { ...step, packet: this.#packet(EapCode.SUCCESS, 0, EMPTY) }
    this.refusal = step.refusal
    this.#identifier = (this.#identifier + 1) & 0xff
    return { type: 'send', packet: this.#packet(EapCode.REQUEST, this.#method.type, step.data) }
  }

  #fail(why: string): EapOutcome {
    return { type: 'failed', why, packet: this.#packet(EapCode.FAILURE, 0, EMPTY) }
  }

  /** Success and Failure carry the identifier of the response they answer, RFC 3748 §4.2. */
  #packet(code: number, type: number, data: Uint8Array): Uint8Array {
    return writeEap({ code, identifier: this.#identifier, type, data })
  }
}
