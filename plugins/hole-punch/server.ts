import type { Rng } from '../../core/contracts/machine.ts'
import { type Flow, sameFlow, showEndpoint } from '../../core/contracts/net.ts'
import type { ServiceOut } from '../../core/contracts/service.ts'
import { Pacer } from '../../core/path/index.ts'
import { type ParsedStun, StunError, type StunHmac } from '../../core/wire/index.ts'
import { type Content, Method, NO_SUCH_PEER, read, write } from './messages.ts'

const REGISTRATION_MS = 70_000
/** How long the peer has to answer an invitation. */
const PENDING_MS = 10_000
const MAX_REGISTRATIONS = 10_000
const MAX_PENDING = 1_024
const NONCE_LIFE_MS = 600_000
/** Messages of members looked at per second. */
const PER_SECOND = 2_000

interface Registration {
  readonly flow: Flow
  readonly token: Uint8Array
  readonly until: number
}

interface Pending {
  readonly requester: Flow
  readonly peer: Flow
  readonly until: number
}

/** Where members meet: knows who is where, and carries candidates from one to the other. */
export class RendezvousServer {
  readonly #hmac: StunHmac
  readonly #nonceHmac: StunHmac
  readonly #pacer = new Pacer(PER_SECOND, PER_SECOND / 4)
  readonly #members = new Map<string, Registration>()
  readonly #pending = new Map<string, Pending>()

  /** @param keyed - HMAC-SHA-256 with another key */
  constructor(hmac: StunHmac, keyed: (key: Uint8Array) => StunHmac, rng: Rng) {
    this.#hmac = hmac
    this.#nonceHmac = keyed(rng.bytes(32))
  }

  /** A message of this protocol that came to the server's port. */
  step(octets: Uint8Array, message: ParsedStun, flow: Flow, now: number): readonly ServiceOut[] {
    if (!this.#pacer.take(now)) return drop('flood')
    const content = read(octets, message, this.#hmac)
    if (content === undefined) return drop('integrity')
    if (message.class === 'success' && message.method === Method.Invite)
      return this.#accepted(message, content, flow, now)
    if (message.class !== 'request' || content.name === undefined) return drop('malformed')
    if (!this.#fresh(content.nonce, flow, now)) {
      const error = { code: StunError.STALE_NONCE, reason: 'Stale Nonce' }
      return [this.#answer('error', message, { error, nonce: this.#nonce(Math.floor(now / 1000), flow) }, flow)]
    }
    if (message.method === Method.Register) return this.#register(message, content, content.name, flow, now)
    return message.method === Method.Connect ? this.#connect(message, content, flow, now) : drop('malformed')
  }

  #register(message: ParsedStun, { token }: Content, name: string, flow: Flow, now: number): readonly ServiceOut[] {
    if (token === undefined) return drop('malformed')
    for (const [known, { until }] of this.#members) if (until <= now) this.#members.delete(known)
    if (this.#members.size >= MAX_REGISTRATIONS && !this.#members.has(name)) return drop('full')
    this.#members.set(name, { flow, token, until: now + REGISTRATION_MS })
    return [this.#answer('success', message, { mapped: flow.remote }, flow)]
  }

  #connect(message: ParsedStun, content: Content, flow: Flow, now: number): readonly ServiceOut[] {
    const { name, peer, candidates, key } = content
    if (peer === undefined || candidates === undefined || key?.length !== KEY_LENGTH) return drop('malformed')
    const member = this.#members.get(peer)
    if (member === undefined || member.until <= now) {
      const error = { code: NO_SUCH_PEER, reason: 'not registered' }
      return [this.#answer('error', message, { error }, flow)]
    }
    for (const [id, { until }] of this.#pending) if (until <= now) this.#pending.delete(id)
    const id = idOf(message)
    if (this.#pending.size >= MAX_PENDING && !this.#pending.has(id)) return drop('full')
    this.#pending.set(id, { requester: flow, peer: member.flow, until: now + PENDING_MS })
    const invitation: Content = { name, candidates, key, token: member.token }
    const bytes = write('request', Method.Invite, message.transaction.slice(), invitation, this.#hmac)
    return [{ type: 'transmit', bytes, flow: member.flow }]
  }

  #accepted(message: ParsedStun, { candidates, key }: Content, flow: Flow, now: number): readonly ServiceOut[] {
    const pending = this.#pending.get(idOf(message))
    if (pending === undefined || pending.until <= now || !sameFlow(pending.peer, flow)) return drop('unexpected')
    if (candidates === undefined || key?.length !== KEY_LENGTH) return drop('malformed')
    const bytes = write('success', Method.Connect, message.transaction.slice(), { candidates, key }, this.#hmac)
    return [{ type: 'transmit', bytes, flow: pending.requester }]
  }

  #answer(kind: 'success' | 'error', { method, transaction }: ParsedStun, content: Content, flow: Flow): ServiceOut {
    return { type: 'transmit', bytes: write(kind, method, transaction, content, this.#hmac), flow }
  }

  /** Says that its owner receives at this address: nobody registers from where somebody else is. */
  #nonce(seconds: number, { remote }: Flow): Uint8Array {
    const text = `${seconds.toString(16)} ${showEndpoint(remote)}`
    const mac = this.#nonceHmac(encoder.encode(text)).subarray(0, 16)
    const nonce = new Uint8Array(20)
    new DataView(nonce.buffer).setUint32(0, seconds)
    nonce.set(mac, 4)
    return nonce
  }

  #fresh(nonce: Uint8Array | undefined, flow: Flow, now: number): boolean {
    if (nonce?.length !== 20) return false
    const seconds = new DataView(nonce.buffer, nonce.byteOffset).getUint32(0)
    const age = now - seconds * 1000
    const right = this.#nonce(seconds, flow)
    let difference = 0
    for (const [i, octet] of right.entries()) difference |= octet ^ nonce[i]!
    return difference === 0 && age >= 0 && age < NONCE_LIFE_MS
  }
}

export const KEY_LENGTH = 16
const encoder = new TextEncoder()
const idOf = ({ transaction }: ParsedStun): string => transaction.join('.')
const drop = (reason: string): readonly ServiceOut[] => [{ type: 'drop', reason: `rendezvous-${reason}` }]
