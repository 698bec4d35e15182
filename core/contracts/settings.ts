import type { SignatureScheme } from './credentials.ts'
import type { EspSuite } from './data-plane.ts'
import type { EapSecrets } from './eap.ts'
import type { FactValue } from './facts.ts'
import type { Address, Prefix } from './net.ts'

/** The configuration after parsing: exact types, defaults filled in, secrets resolved. Times are milliseconds. */
export interface Settings {
  readonly peers: Readonly<Record<string, PeerSettings>>
  readonly pools: Readonly<Record<string, PoolSettings>>
  /** Pools whose addresses a service leases from elsewhere; absent: none. */
  readonly leased?: Readonly<Record<string, LeasedPoolSettings>>
  readonly policy: PolicySettings
  /** Static SAs; absent: none. */
  readonly manual?: Readonly<Record<string, ManualSettings>>
  readonly ike: IkeSettings
  /** Absent: `DEFAULT_GUARD`. */
  readonly guard?: GuardSettings
}

/**
 * Against packets with a guessed SPI, which cost an integrity check each: `failures` failed checks on one Child SA within
 * `windowMs` have it rekeyed to a new SPI, at most once in `pauseMs`. 0 failures: never.
 */
export interface GuardSettings {
  readonly failures: number
  readonly windowMs: number
  readonly pauseMs: number
}

export const DEFAULT_GUARD: GuardSettings = { failures: 100, windowMs: 10_000, pauseMs: 60_000 }

/** Limits and timers of IKE that hold for all peers. */
export interface IkeSettings {
  /** First retransmission after this, then × `retransmitBase` each; RFC 7296 §2.4 leaves timers to us. */
  readonly retransmitMs: number
  readonly retransmitBase: number
  readonly retransmitTries: number
  /** Half-open responder SAs above which IKE_SA_INIT needs a COOKIE, and above which requests are dropped. */
  readonly cookieThreshold: number
  readonly halfOpenLimit: number
  /** The same for one source address, or /64 of IPv6; absent: 250. */
  readonly halfOpenPerSource?: number
  readonly halfOpenTimeoutMs: number
  /**
   * Octets of the largest IP datagram with a protected IKE message in it; larger ones go in fragments where the peer does
   * that too (RFC 7383). 0: no fragments, in either direction. Absent: `DEFAULT_FRAGMENT_SIZE`.
   */
  readonly fragmentSize?: number
  /** Tickets that this host gives to initiators, RFC 5723; absent: `DEFAULT_RESUMPTION`. */
  readonly resumption?: ResumptionSettings
}

/** What every IPv6 path carries. */
export const DEFAULT_FRAGMENT_SIZE = 1_280

export interface ResumptionSettings {
  /** How long a ticket is good, unless authentication has to be done anew before that. 0: none are given. */
  readonly lifetimeMs: number
  /** From which the key of tickets is made, for hosts that share it and for the time after a restart; absent: a random one. */
  readonly key?: Uint8Array
}

export const DEFAULT_RESUMPTION: ResumptionSettings = { lifetimeMs: 8 * 3_600_000 }

/**
 * Post-quantum preshared keys, RFC 8784. The first is used when this host initiates; a responder takes whichever of them
 * the peer names.
 */
export interface PpkSettings {
  /** Without one of them there is no connection; else either end may go without. */
  readonly required: boolean
  /** `id` as text, PPK_ID_FIXED on the wire. */
  readonly keys: readonly { readonly id: string; readonly secret: Uint8Array }[]
}

/**
 * An identity, RFC 7296 §3.5, as type and text (`fqdn` moon.example, `ipv4` 192.0.2.1, `keyid` hex …). A distinguished
 * name, `dn`, is the hex of its DER.
 */
export interface Identity {
  readonly type: 'fqdn' | 'rfc822' | 'ipv4' | 'ipv6' | 'dn' | 'keyid'
  readonly value: string
}

/** What a peer's identity must look like; `any` accepts all that authenticate. `*` in a value matches any run. */
export type IdentityPattern = Identity | { readonly type: 'any' }

export interface PeerSettings {
  readonly name: string
  /** Host name or address; undefined: only answers. */
  readonly remote: string | undefined
  /** Port of the first IKE message, usually 500; anything else uses the non-ESP marker from the start. */
  readonly remotePort: number
  readonly localId: Identity
  readonly remoteId: IdentityPattern
  /** Needed where `auth` says psk. */
  readonly psk?: Uint8Array
  /** How each side proves who it is; absent: both by `psk`. */
  readonly auth?: AuthSettings
  readonly ppk?: PpkSettings
  /** Proposals in keyword notation, already validated; empty for the defaults. */
  readonly proposals: readonly string[]
  readonly children: Readonly<Record<string, ChildSettings>>
  /** Families of virtual addresses to ask the peer for. */
  readonly requestAddresses: readonly (4 | 6)[]
  /** Pool to assign addresses to the peer from. */
  readonly pool: string | undefined
  readonly encapsulation: 'auto' | 'force' | 'never'
  /** Offer and accept MOBIKE, RFC 4555. */
  readonly mobike: boolean
  /** What to do at start: connect now, or wait for `connect` or the peer. */
  readonly start: 'connect' | 'wait'
  /** Connect again after the peer was lost, with back-off. */
  readonly reconnect: boolean
  /** Liveness check after this long without a packet from the peer; 0 for never. */
  readonly dpdMs: number
  readonly rekeyMs: number
  /** `auto`: a safe part of the fact `mappingLifetime`, 20 s where that is unknown. */
  readonly keepaliveMs: number | 'auto'
  /** Follow a gateway that redirects, RFC 5685; absent: yes. */
  readonly redirect?: boolean
  /** Ask for a ticket, give one, and resume sessions by them, RFC 5723; absent: yes. */
  readonly resumption?: boolean
  /**
   * IKE_AUTH without a Child SA, RFC 6023. `prefer`, `force`: what this host does where the peer can, or must be able to;
   * `allow`: only the peer may; `never`: nobody. Absent: `allow`.
   */
  readonly childless?: 'never' | 'allow' | 'prefer' | 'force'
  /** Authenticate anew after this long, by a new IKE SA before the old one goes; absent or 0: never. */
  readonly reauthMs?: number
  /**
   * What becomes of several IKE SAs with the same identity of the peer. `replace`: the new one replaces the old one; `keep`:
   * the new one is refused; `no`: both stay, unless the peer says that it has started anew; `never`: both stay, and nobody
   * says so, as the identity stands for many hosts.
   */
  readonly unique: 'replace' | 'keep' | 'no' | 'never'
  /** What the user knows of this peer and the way to it; absent: nothing. */
  readonly facts?: Readonly<Record<string, FactValue>>
  /** What is meant for plugins, by their names, as it was written; each checks its own. Absent: nothing. */
  readonly options?: Readonly<Record<string, unknown>>
}

/** The two sides may use different methods, RFC 7296 §2.15. */
export interface AuthSettings {
  readonly local: LocalAuth
  readonly remote: RemoteAuth
  /** What may sign, on either side, best first; absent: everything but SHA-1. */
  readonly signatures?: readonly SignatureScheme[]
  /** Needed where a side says eap. */
  readonly eap?: EapSettings
}

export interface EapSettings extends EapSecrets {
  /** Name of an EAP method that a plugin brings. */
  readonly method: string
  /** By what the method measures certificates of the other end. */
  readonly trust?: CertificateTrust
}

/** `eap`: the initiator by name and password. */
export type LocalAuth = { readonly type: 'psk' | 'eap' } | ({ readonly type: 'signature' } & KeySource)

/** A key, and the certificates that go with it. */
export interface KeySource {
  /** PEM (which may hold several) or DER, the key's own first. None: a raw public key. */
  readonly certificates: readonly Uint8Array[]
  /** PEM or DER (PKCS#8, PKCS#1, SEC 1), or a name by which a plugin knows it, such as `pkcs11:…`. */
  readonly key: Uint8Array | string
}

/** `eap` of a responder: by what EAP itself proves of it, RFC 5998. */
export type RemoteAuth = { readonly type: 'psk' | 'eap' } | CertificateTrust | RawKeyTrust

/** The peer shows a certificate. */
export interface CertificateTrust {
  readonly type: 'certificate'
  /** PEM or DER: CAs, or the peer's own certificate. */
  readonly ca: readonly Uint8Array[]
  /** PEM or DER. */
  readonly crls: readonly Uint8Array[]
  /** `strict`: without a CRL of its issuer that is up to date, no certificate is good. */
  readonly revocation: 'relaxed' | 'strict'
}

/** The peer has one of these public keys, RFC 7670. */
export interface RawKeyTrust {
  readonly type: 'raw'
  /** SubjectPublicKeyInfo, PEM or DER. */
  readonly keys: readonly Uint8Array[]
}

export interface ChildSettings {
  readonly name: string
  /** Prefixes; `dynamic` stands for the virtual or the outer address of that side. */
  readonly localTs: readonly SelectorSettings[]
  readonly remoteTs: readonly SelectorSettings[]
  readonly proposals: readonly string[]
  /** Absent: esp. AH goes through no NAT. */
  readonly protocol?: 'esp' | 'ah'
  /** To which multiple of octets AH headers are padded over IPv4; absent: 4. */
  readonly ahAlign?: 4 | 8
  /** A mode strategy's name, or auto. */
  readonly mode: string
  readonly rekeyMs: number
  /** Hard limit; 0 for 1.1 × rekeyMs. */
  readonly lifeMs: number
  /** Soft limits; Infinity for none. */
  readonly rekeyOctets: number
  readonly rekeyPackets: number
  readonly replayWindow: number
  /**
   * What to do with a Child SA whose selectors another peer's have already: `refuse` it; `flows`: take it, and tell by the
   * flow whose a packet is; `map`: show this side the remote addresses as others, of this pool. Absent: refuse.
   */
  readonly conflicts?: 'refuse' | 'flows' | { readonly map: string }
  /** What to do at start, once the IKE SA stands: negotiate with it, or on first traffic. */
  readonly start: 'connect' | 'trap'
}

/** Keys of one direction, in full. */
export interface ManualKeys {
  readonly spi: number
  /** Empty for AH and NULL. */
  readonly encr: Uint8Array
  readonly integ: Uint8Array
}

/** One SA of each direction with keys from the configuration, between two outer addresses. */
export interface ManualSettings {
  readonly name: string
  readonly local: Address
  readonly remote: Address
  /** A mode strategy's name. */
  readonly mode: string
  /** Without AEADs and counter modes: nonces would repeat under the same key, RFC 8221 §3. */
  readonly suite: EspSuite
  readonly inbound: ManualKeys
  readonly outbound: ManualKeys
  /** `dynamic` stands for the outer address of that side. */
  readonly localTs: readonly SelectorSettings[]
  readonly remoteTs: readonly SelectorSettings[]
  /** 0: no protection against replay, since numbers start anew where keys do not. */
  readonly replayWindow: number
  readonly ahAlign: 4 | 8
}

export interface SelectorSettings {
  readonly range: Prefix | 'dynamic'
  /** IP protocol, 0 for any. */
  readonly protocol: number
  readonly startPort: number
  readonly endPort: number
}

export interface PoolSettings {
  readonly name: string
  readonly prefix: Prefix
  readonly dns: readonly string[]
}

/** Addresses that somebody else has to give, who is asked on behalf of each peer. */
export interface LeasedPoolSettings {
  readonly name: string
  /** Name of the service that asks (`Service.leases`), which is also the word in the configuration: `dhcp`. */
  readonly by: string
  /** Whom it asks. */
  readonly servers: readonly Address[]
  /** The address of this host that they answer to. */
  readonly relay: Address
  /** In place of what the servers say; empty: theirs. */
  readonly dns: readonly Address[]
}

export interface PolicySettings {
  readonly rules: readonly RuleSettings[]
  /** What the user knows of this host and its networks; absent: nothing. */
  readonly facts?: Readonly<Record<string, FactValue>>
  /** Names of networks by the prefixes this host has its address from there; absent: none. */
  readonly networks?: Readonly<Record<string, readonly Prefix[]>>
}

/** What a rule wants of one fact. All parts that are given must hold; `*` in a text matches any run of characters. */
export interface ConditionSettings {
  /** One of these. */
  readonly in?: readonly FactValue[] | undefined
  /** None of these. */
  readonly not?: readonly FactValue[] | undefined
  readonly above?: number | undefined
  readonly atLeast?: number | undefined
  readonly below?: number | undefined
  readonly atMost?: number | undefined
}

/**
 * `when` facts hold, `use` (only these), `prefer` (first) or `avoid` strategies. Earlier rules win. A strategy is named alone
 * or with its slot, `encap:none`; `auto` under `use` leaves its slot (`mode:auto`), or all, to policy.
 */
export interface RuleSettings {
  /** Config path for messages: `policy.rules[2]`. */
  readonly at: string
  /** Peers it speaks of; empty for all. */
  readonly peers: readonly string[]
  /** A bare value: the fact must be that. */
  readonly when: Readonly<Record<string, FactValue | ConditionSettings>>
  readonly use: readonly string[]
  readonly prefer: readonly string[]
  readonly avoid: readonly string[]
}
