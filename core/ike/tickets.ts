import type { CryptoProvider } from '../contracts/crypto.ts'
import type { Rng } from '../contracts/machine.ts'
import { DEFAULT_RESUMPTION, type Identity, type IkeSettings, type PeerSettings } from '../contracts/settings.ts'
import { WireError } from '../errors.ts'
import {
  type Codec,
  decode,
  Encr,
  encode,
  fixed,
  type Identification,
  identification,
  Prf,
  proposals,
  struct,
  TransformType,
  u64,
} from '../wire/index.ts'
import { equalBytes, wipe } from './equal.ts'
import { fromIdentification, toIdentification } from './identity.ts'
import { offerProposals } from './proposal.ts'
import { ikeSuite, suiteProposal } from './selection.ts'
import type { IkeSuite } from './suite.ts'

/**
 * Tickets by value of a responder, RFC 5723 §6: what is needed to resume an IKE SA is in the ticket, which nobody but the
 * host that made it can read. Each has a key of its own, so that no nonce ever repeats.
 */

const VERSION = 1
const NAME = 4
const ID = 16
const HEADER = 1 + NAME + ID
const TAG = 16
/** The request that brings it is never cut into fragments. */
const MAX_TICKET = 900
/** Tickets that are remembered as used; where there are more, nothing is resumed for a while. */
const MAX_USED = 65_536
const NONCE = new Uint8Array(12)
const TERMS = 32
const text = new TextEncoder()
const KEY_NAME = text.encode('natweave ticket key name')
const KEY_OF = text.encode('natweave ticket')

/** What an IKE SA is resumed from. */
export interface Session {
  /** IDi as it was on the wire. */
  readonly idi: Identification
  /** Whom the peer has proved to be, by EAP another one than IDi. */
  readonly identity: Identity
  readonly suite: IkeSuite
  /** SK_d. */
  readonly d: Uint8Array
  /** Wall clock, ms: when both ends last proved who they are, and until when the ticket is good. */
  readonly authenticatedAt: number
  readonly until: number
  /** Until when that by which the peer has proved itself is good, wall clock, ms; undefined: it does not run out. */
  readonly provedUntil: number | undefined
  /** Id of the post-quantum preshared key that is in `d`. */
  readonly ppk: string | undefined
}

/** A ticket that is good, opened; `d` is the receiver's to wipe. */
export interface OpenTicket extends Session {
  readonly id: string
  readonly settings: PeerSettings
}

interface TicketKey {
  readonly name: Uint8Array
  readonly secret: Uint8Array
  /** Monotonic ms until which it makes tickets; it reads them for a lifetime longer. */
  readonly until: number
}

interface TicketSources {
  readonly crypto: CryptoProvider
  readonly rng: Rng
  readonly timers: IkeSettings
  peers(): readonly PeerSettings[]
  /** Wall clock of a moment. */
  wall(now: number): number
}

const octets: Codec<Uint8Array> = {
  read: r => r.take(r.u16()),
  write: (w, value) => {
    w.u16(value.length)
    w.put(value)
  },
}

const content = struct({
  authenticatedAt: u64,
  until: u64,
  provedUntil: u64,
  terms: fixed(TERMS),
  peer: octets,
  idi: octets,
  identity: octets,
  suite: octets,
  d: octets,
  ppk: octets,
})

/** Makes the tickets of one host and knows them again. */
export class Tickets {
  readonly #host: TicketSources
  readonly #lifetimeMs: number
  readonly #fixed: TicketKey | undefined
  /** Newest first. */
  #keys: readonly TicketKey[] = []
  /** Ids of used tickets, and until when each would be good. */
  readonly #used = new Map<string, number>()

  constructor(host: TicketSources) {
    const { lifetimeMs, key } = host.timers.resumption ?? DEFAULT_RESUMPTION
    this.#host = host
    this.#lifetimeMs = lifetimeMs
    if (key !== undefined) this.#fixed = this.#named(this.#prf(key, KEY_OF), Infinity)
  }

  /**
   * @param session - its `until` is the latest that will do; Infinity: as long as tickets live here
   * @returns the ticket and its lifetime in seconds; undefined where none is given
   */
  grant(
    settings: PeerSettings,
    session: Session,
    now: number,
  ): { readonly opaque: Uint8Array; readonly seconds: number } | undefined {
    const wall = this.#host.wall(now)
    const seconds = Math.floor(
      (Math.min(session.until, session.provedUntil ?? Infinity, wall + this.#lifetimeMs) - wall) / 1_000,
    )
    if (seconds < 1 || !this.#able) return undefined
    const key = this.#current(now)
    const id = this.#host.rng.bytes(ID)
    const plain = encode(content, {
      authenticatedAt: BigInt(Math.round(session.authenticatedAt)),
      until: BigInt(Math.round(wall + seconds * 1_000)),
      provedUntil: BigInt(Math.round(session.provedUntil ?? 0)),
      terms: this.#terms(key, settings),
      peer: text.encode(settings.name),
      idi: encode(identification, session.idi),
      identity: encode(identification, toIdentification(session.identity)),
      suite: encode(proposals, offerProposals([suiteProposal(session.suite)], new Uint8Array(0))),
      d: session.d,
      ppk: text.encode(session.ppk ?? ''),
    })
    const opaque = new Uint8Array(HEADER + plain.length + TAG)
    opaque[0] = VERSION
    opaque.set(key.name, 1)
    opaque.set(id, 1 + NAME)
    const aead = this.#aead(key, id)
    aead.seal(NONCE, opaque.subarray(0, HEADER), plain, opaque.subarray(HEADER))
    aead.destroy()
    wipe(plain)
    return opaque.length > MAX_TICKET ? undefined : { opaque, seconds }
  }

  /** @returns what a ticket stands for, or in one word why it is not good */
  open(opaque: Uint8Array, now: number): OpenTicket | string {
    if (opaque.length <= HEADER + TAG || opaque.length > MAX_TICKET || opaque[0] !== VERSION) return 'unknown'
    if (!this.#able) return 'unknown'
    this.#forget(now)
    const key = this.#all.find(({ name }) => equalBytes(name, opaque.subarray(1, 1 + NAME)))
    if (key === undefined) return 'unknown'
    const id = opaque.subarray(1 + NAME, HEADER)
    const plain = new Uint8Array(opaque.length - HEADER - TAG)
    const aead = this.#aead(key, id)
    const intact = aead.open(NONCE, opaque.subarray(0, HEADER), opaque.subarray(HEADER), plain)
    aead.destroy()
    if (!intact) return 'forged'
    const opened = this.#read(plain, key, now)
    wipe(plain)
    if (typeof opened === 'string') return opened
    const name = hex(id)
    if (!this.#used.has(name) && this.#room(now)) return { ...opened, id: name }
    wipe(opened.d)
    return 'used'
  }

  /** The peer has shown that the session was its own. @returns false where another one was faster */
  use({ id, until }: Pick<OpenTicket, 'id' | 'until'>, now: number): boolean {
    if (this.#used.has(id) || !this.#room(now)) return false
    this.#used.set(id, until)
    return true
  }

  /** Whether one more can be remembered as used. */
  #room(now: number): boolean {
    if (this.#used.size < MAX_USED) return true
    const wall = this.#host.wall(now)
    for (const [id, until] of this.#used) if (until <= wall) this.#used.delete(id)
    return this.#used.size < MAX_USED
  }

  #read(plain: Uint8Array, key: TicketKey, now: number): Omit<OpenTicket, 'id'> | string {
    let said: ReturnType<typeof content.read>
    let idi: Identification
    let identity: Identity | undefined
    let suite: IkeSuite | undefined
    try {
      said = decode(content, plain)
      idi = decode(identification, said.idi.slice())
      identity = fromIdentification(decode(identification, said.identity))
      const [proposal] = decode(proposals, said.suite.slice())
      suite = proposal && ikeSuite(proposal)
    } catch (error) {
      if (error instanceof WireError) return 'unknown'
      throw error
    }
    if (identity === undefined || suite === undefined) return 'unknown'
    const until = Number(said.until)
    if (until <= this.#host.wall(now)) return 'expired'
    const decoder = new TextDecoder()
    const name = decoder.decode(said.peer)
    const settings = this.#host.peers().find(peer => peer.name === name)
    // what the peer has to prove is another thing now: let it prove that
    if (settings === undefined || settings.resumption === false) return 'unwanted'
    if (!equalBytes(said.terms, this.#terms(key, settings))) return 'unwanted'
    const ppk = decoder.decode(said.ppk)
    return {
      settings,
      idi,
      identity,
      suite,
      d: said.d.slice(),
      authenticatedAt: Number(said.authenticatedAt),
      until,
      provedUntil: said.provedUntil === 0n ? undefined : Number(said.provedUntil),
      ppk: ppk === '' ? undefined : ppk,
    }
  }

  /** By what the two ends prove themselves under the configuration of now. */
  #terms({ secret }: TicketKey, { localId, remoteId, psk, auth, ppk }: PeerSettings): Uint8Array {
    const plain = (_: string, value: unknown) => (value instanceof Uint8Array ? hex(value) : value)
    return this.#prf(secret, text.encode(JSON.stringify([localId, remoteId, psk, auth, ppk], plain)))
  }

  get #able(): boolean {
    return this.#host.crypto.supports(TransformType.ENCR, Encr.ENCR_AES_GCM_16, 256)
  }

  #aead({ secret }: TicketKey, id: Uint8Array) {
    const key = this.#prf(secret, KEY_OF, id)
    const aead = this.#host.crypto.aead(Encr.ENCR_AES_GCM_16, key)
    wipe(key)
    return aead
  }

  #prf(key: Uint8Array, ...data: readonly Uint8Array[]): Uint8Array {
    return this.#host.crypto.prf(Prf.PRF_HMAC_SHA2_256, key, ...data)
  }

  get #all(): readonly TicketKey[] {
    return this.#fixed === undefined ? this.#keys : [this.#fixed]
  }

  #current(now: number): TicketKey {
    if (this.#fixed !== undefined) return this.#fixed
    this.#forget(now)
    const [newest] = this.#keys
    if (newest !== undefined && now < newest.until) return newest
    const key = this.#named(this.#host.rng.bytes(32), now + this.#lifetimeMs)
    this.#keys = [key, ...this.#keys]
    return key
  }

  /** Keys of which no ticket can be good any more. */
  #forget(now: number): void {
    for (const { secret, until } of this.#keys) if (now >= until + this.#lifetimeMs) wipe(secret)
    this.#keys = this.#keys.filter(({ until }) => now < until + this.#lifetimeMs)
  }

  #named(secret: Uint8Array, until: number): TicketKey {
    return { secret, name: this.#prf(secret, KEY_NAME).subarray(0, NAME), until }
  }
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, b => b.toString(16).padStart(2, '0')).join('')
