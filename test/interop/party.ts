import type { ConfigInput } from '../../core/config/index.ts'
import type { TcpEncapOptions } from '../../plugins/tcp-encap/index.ts'
import type { Host } from './lab.ts'

export type Product = 'natweave' | 'strongSwan'

/** What both ends of a case are told, in words that fit every implementation. */
export interface TunnelConfig {
  readonly role: 'initiator' | 'responder'
  /** Keyword notation with the key exchange: `aes128-sha256-x25519`. */
  readonly ike: string
  /** Keyword notation: `aes128gcm16`; a key exchange at the end (`-x25519`) makes rekeys use it. */
  readonly esp: string
  /** Address of the responder. */
  readonly gateway: string
  /** Seconds of silence before the peer is asked whether it lives; 0 for never. */
  readonly dpdSeconds: number
  /** UDP encapsulation even where no NAT is found. strongSwan's user-space ESP knows nothing else. */
  readonly forceEncapsulation: boolean
  /** Octets of the largest IP datagram with IKE in it; undefined: each end's default. */
  readonly fragmentSize?: number
  /** Post-quantum preshared key (RFC 8784) of this end; undefined: none. */
  readonly ppk?: Ppk
  /** natweave: cryptography by noble alone, not by OpenSSL where that has it. */
  readonly noble?: boolean
  /** natweave: proposals with this additional key exchange (RFC 9370) come before the others. */
  readonly hybrid?: string
  /** Only over TCP (RFC 9329), with these options of the plugin. natweave only. */
  readonly tcp?: TcpEncapOptions
  /** natweave as it comes: the usual set of plugins, and no rule. */
  readonly usual?: boolean
  /** Key of the tickets by which sessions are resumed, of a responder. natweave only. */
  readonly ticketKey?: string
  /** The initiator authenticates anew after this, make-before-break. */
  readonly reauthSeconds?: number
  /** The initiator makes no Child SA in IKE_AUTH. */
  readonly childless?: boolean
  /** MOBIKE, RFC 4555. */
  readonly mobike: boolean
  /** Raw sockets, so that ESP can go without UDP. natweave only. */
  readonly raw: boolean
  /** What is asked of the Child SA; both ends are configured alike. */
  readonly mode: ChildMode
  /** AH: natweave only. */
  readonly protocol: 'esp' | 'ah'
  /** What the responder protects, a prefix. */
  readonly protects: string
  /** strongSwan's vendor ID, by which it takes the private number of BEET mode seriously. natweave always sends it. */
  readonly vendorId: boolean
  /** Absent: the pre-shared key, with the identities below. */
  readonly auth?: PartyAuth
}

/** How one end proves who it is and what it believes of the other, in the words of both implementations. */
export interface PartyAuth {
  readonly identity: string
  readonly peer: string
  /** Of the peer `tunnel` in a natweave configuration. */
  readonly natweave: Partial<NonNullable<ConfigInput['peers']>[string]>
  /** Lines of the sections `local` and `remote` in swanctl.conf, and of `secrets`. */
  readonly swanctl: { readonly local: string; readonly remote: string; readonly secrets?: string }
  /** Lines of the section `charon` in strongswan.conf. */
  readonly charon?: string
  /** Files by their path in swanctl's folder, such as `x509/alice.pem`; natweave finds them there too. */
  readonly files: Readonly<Record<string, string>>
}

/** `auto`: what natweave thinks best. */
export type ChildMode = 'tunnel' | 'beet' | 'auto'

export const PSK = "natweave interop's shared secret"
export const IDENTITY = { initiator: 'alice@lab.test', responder: 'moon@lab.test' } as const

/** A pair of SAs as one end sees it. */
export interface SaView {
  /** Its name in the configuration. */
  readonly child: string
  readonly ikeSuite: string
  readonly spiInitiator: string
  readonly spiResponder: string
  readonly mode: string
  /** Keyword notation without key exchange: `aes128gcm16`, `aes256-sha256`. */
  readonly cipher: string
  /** ESP goes in UDP. */
  readonly encapsulated: boolean
  readonly spiIn: string
  readonly spiOut: string
  readonly packetsIn: number
  readonly packetsOut: number
  readonly virtualAddress: string | undefined
  /** What moves its packets; undefined: it does not say. */
  readonly plane?: string
}

export interface Ppk {
  readonly id: string
  readonly secret: string
  readonly required: boolean
}

/** One line of a key log, see KEYLOG.md: algorithms by the names of Wireshark's tables, everything else hex. */
export type KeyLine =
  | {
      readonly type: 'ike'
      readonly spii: string
      readonly spir: string
      readonly sk_ei: string
      readonly sk_er: string
      readonly encr: string
      readonly sk_ai: string
      readonly sk_ar: string
      readonly integ: string
    }
  | {
      readonly type: 'esp'
      readonly src: string
      readonly dst: string
      readonly spi: string
      readonly encr: string
      readonly encrKey: string
      readonly integ: string
      readonly integKey: string
    }

/** One end of a tunnel. */
export interface Party {
  readonly product: Product
  readonly host: Host
  /** Name of its TUN device. */
  readonly device: string
  /** Several segments of a stream go through that device as one packet. */
  readonly merges: boolean
  start(): Promise<void>
  /** Brings the tunnel up. @throws with the implementation's reason */
  connect(): Promise<void>
  /** Installed pairs of SAs; during a rekey there may be two. */
  sas(): Promise<readonly SaView[]>
  rekeyIke(): Promise<void>
  rekeyChild(): Promise<void>
  /** Ends the tunnel with a DELETE of the IKE SA. */
  disconnect(): Promise<void>
  /** Ends the Child SA alone with a DELETE; undefined: the implementation has no command for it. */
  readonly deleteChild: (() => Promise<void>) | undefined
  /** Falls silent without a word, as if its machine had lost its network; `thaw` ends that. */
  freeze(): void
  thaw(): void
  /** What it has said so far. */
  log(): string
  /** All keys so far. */
  keys(): Promise<readonly KeyLine[]>
  stop(): Promise<void>
}
