import { timingSafeEqual } from 'node:crypto'
import type { EapConversation, EapSecrets, EapStep } from '../../core/contracts/eap.ts'
import type { Rng } from '../../core/contracts/machine.ts'
import { authenticatorResponse, type Exchange, masterSessionKey, ntPasswordHash, ntResponse } from './mschapv2.ts'

/** EAP-MSCHAPv2, draft-kamath-pppext-eap-mschapv2-02: the two ends of it. */

const Op = { CHALLENGE: 1, RESPONSE: 2, SUCCESS: 3, FAILURE: 4 } as const
const CHALLENGE = 16
const RESPONSE = 49

const text = new TextEncoder()
const words = new TextDecoder()

/** Op code, MS-CHAPv2-ID, MS-Length, and what follows. */
function packet(op: number, id: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = 4 + parts.reduce((sum, part) => sum + part.length, 0)
  return Uint8Array.from(Buffer.concat([Uint8Array.of(op, id, length >> 8, length & 0xff), ...parts]))
}

const failed = (why: string): EapStep => ({ type: 'failed', why })
/** `DOMAIN\user` is hashed as `user`. */
const bare = (name: string): string => name.slice(name.lastIndexOf('\\') + 1)

export class MschapPeer implements EapConversation {
  readonly #user: { readonly name: string; readonly password: Uint8Array }
  readonly #rng: Rng
  #sent: { readonly exchange: Exchange; readonly response: Uint8Array } | undefined

  constructor({ user }: EapSecrets, rng: Rng) {
    this.#user = user!
    this.#rng = rng
  }

  receive(data: Uint8Array): EapStep {
    switch (data[0]) {
      case Op.CHALLENGE:
        return this.#challenge(data)
      case Op.SUCCESS:
        return this.#success(words.decode(data.subarray(4)))
      case Op.FAILURE:
        return { type: 'failed', why: failureWords(words.decode(data.subarray(4))), data: Uint8Array.of(Op.FAILURE) }
      default:
        return failed('the server sent an EAP-MSCHAPv2 packet that makes no sense')
    }
  }

  #challenge(data: Uint8Array): EapStep {
    // one answer: a server that asks again and again would collect them
    if (this.#sent !== undefined) return failed('the server sent a second challenge')
    if (data.length < 5 + CHALLENGE || data[4] !== CHALLENGE)
      return failed('the server sent a challenge of wrong length')
    const { name, password } = this.#user
    const exchange = {
      passwordHash: ntPasswordHash(password),
      authenticatorChallenge: data.slice(5, 5 + CHALLENGE),
      peerChallenge: this.#rng.bytes(CHALLENGE),
      user: bare(name),
    }
    const response = ntResponse(exchange)
    this.#sent = { exchange, response }
    const value = Buffer.concat([
      Uint8Array.of(RESPONSE),
      exchange.peerChallenge,
      new Uint8Array(8),
      response,
      Uint8Array.of(0),
    ])
    return { type: 'send', data: packet(Op.RESPONSE, data[1]!, value, text.encode(name)) }
  }

  #success(message: string): EapStep {
    if (this.#sent === undefined) return failed('the server reports success before it has asked')
    const { exchange, response } = this.#sent
    const proof = authenticatorResponse(exchange, response)
    if (!same(text.encode(proof), text.encode(message.slice(0, proof.length))))
      return failed('the server does not know the password')
    const msk = masterSessionKey(exchange, response)
    exchange.passwordHash.fill(0)
    return { type: 'done', msk, data: Uint8Array.of(Op.SUCCESS) }
  }
}

/** `E=691 R=0 C=… M=…`, draft §2.4. */
function failureWords(message: string): string {
  const [, code = ''] = /E=(\d+)/.exec(message) ?? []
  const known: Readonly<Record<string, string>> = {
    646: 'this is not an hour at which the account may log in',
    647: 'the account is disabled',
    648: 'the password has expired',
    649: 'the account may not dial in',
    691: 'user name or password is wrong',
  }
  return `the server refuses: ${known[code] ?? `error ${code}`}`
}

export class MschapServer implements EapConversation {
  readonly #users: ReadonlyMap<string, Uint8Array>
  readonly #identity: string
  readonly #challenge: Uint8Array
  readonly #id: number
  #state: 'asked' | 'proved' | 'refused' = 'asked'
  #msk: Uint8Array = new Uint8Array(0)

  constructor({ users }: EapSecrets, identity: string, rng: Rng) {
    this.#users = users!
    this.#identity = identity
    this.#challenge = rng.bytes(CHALLENGE)
    this.#id = rng.bytes(1)[0]!
  }

  start(): EapStep {
    return {
      type: 'send',
      data: packet(Op.CHALLENGE, this.#id, Uint8Array.of(CHALLENGE), this.#challenge, text.encode('natweave')),
    }
  }

  receive(data: Uint8Array): EapStep {
    if (this.#state === 'asked' && data[0] === Op.RESPONSE) return this.#response(data)
    if (this.#state === 'proved' && data[0] === Op.SUCCESS) return { type: 'done', msk: this.#msk }
    if (this.#state === 'refused') return failed(this.#refusal)
    return failed('the peer sent an EAP-MSCHAPv2 packet that makes no sense')
  }

  get #refusal(): string {
    return `${this.#identity}: user name or password is wrong`
  }

  #response(data: Uint8Array): EapStep {
    if (data.length < 5 + RESPONSE || data[4] !== RESPONSE) return failed('the peer sent a response of wrong length')
    const name = words.decode(data.subarray(5 + RESPONSE))
    const password = name === this.#identity ? this.#users.get(name) : undefined
    const exchange = {
      // who is unknown costs as much as who is wrong
      passwordHash: ntPasswordHash(password ?? this.#challenge),
      authenticatorChallenge: this.#challenge,
      peerChallenge: data.slice(5, 5 + CHALLENGE),
      user: bare(name),
    }
    const wanted = ntResponse(exchange)
    const given = data.subarray(29, 53)
    if (!same(wanted, given) || password === undefined) {
      this.#state = 'refused'
      const challenge = Buffer.from(this.#challenge).toString('hex').toUpperCase()
      return {
        type: 'send',
        data: packet(Op.FAILURE, this.#id, text.encode(`E=691 R=0 C=${challenge} V=3 M=refused`)),
        refusal: this.#refusal,
      }
    }
    this.#state = 'proved'
    this.#msk = masterSessionKey(exchange, wanted)
    const proof = authenticatorResponse(exchange, wanted)
    exchange.passwordHash.fill(0)
    return { type: 'send', data: packet(Op.SUCCESS, this.#id, text.encode(`${proof} M=welcome`)) }
  }
}

const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && timingSafeEqual(a, b)
