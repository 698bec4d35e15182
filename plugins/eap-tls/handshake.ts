import { constants } from 'node:crypto'
import { Duplex } from 'node:stream'
import { connect, createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import type { KeySource } from '../../core/contracts/settings.ts'

/** A TLS handshake by OpenSSL over memory. */

/** TLS 1.3 has rules of its own in EAP (RFC 9190), which are not followed here. */
const VERSION = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const
/** Turns of the event loop without a sign of OpenSSL after which it has nothing to say. */
const QUIET_TURNS = 20
const MSK_LABEL = 'client EAP encryption'

/** The other end's certificates, its own first, DER. */
export type Chain = readonly Uint8Array[]

/** @throws Error for a key in a token, which OpenSSL cannot use here, or octets that are none */
export function secureContext({ certificates, key }: KeySource): SecureContext {
  if (typeof key === 'string') throw new Error(`eap-tls needs the private key itself, not ${key}`)
  const pem = (octets: Uint8Array, label: string): string => {
    const text = Buffer.from(octets)
    if (text.includes('-----BEGIN')) return text.toString('latin1')
    return `-----BEGIN ${label}-----\n${text.toString('base64')}\n-----END ${label}-----\n`
  }
  return createSecureContext({
    cert: certificates.map(c => pem(c, 'CERTIFICATE')).join('\n'),
    key: pem(key, 'PRIVATE KEY'),
    ...VERSION,
    // servers without RFC 5746, strongSwan's among them: there is one handshake, nothing in front that it could be glued to
    secureOptions: constants.SSL_OP_LEGACY_SERVER_CONNECT,
  })
}

export class Handshake {
  readonly #socket: TLSSocket
  readonly #wire: Duplex
  readonly #wake: () => void
  #out: Uint8Array[] = []
  #turn = 0
  /** Set once the handshake is over, for good or ill. */
  done = false
  error: string | undefined

  /** @param wake - called when OpenSSL has said what it has to say to what it was fed */
  constructor(context: SecureContext, role: 'client' | 'server', wake: () => void) {
    this.#wake = wake
    this.#wire = new Duplex({
      read() {},
      write: (chunk: Uint8Array, _encoding, written) => {
        this.#out.push(new Uint8Array(chunk))
        written()
      },
    })
    // who the other end is, is judged by the rules for certificates in IKE
    this.#socket =
      role === 'client'
        ? connect({
            socket: this.#wire,
            secureContext: context,
            rejectUnauthorized: false,
            checkServerIdentity: () => undefined,
            ...VERSION,
          })
        : new TLSSocket(this.#wire, {
            isServer: true,
            secureContext: context,
            requestCert: true,
            rejectUnauthorized: false,
          })
    const over = () => {
      this.done = true
    }
    this.#socket.on(role === 'client' ? 'secureConnect' : 'secure', over)
    const failed = (error: Error) => {
      this.error ??= error.message
        .replace(/^[0-9A-F]+:error:[0-9A-F]+:/, '')
        .split(':')
        .slice(0, 3)
        .join(' ')
      this.done = true
    }
    this.#socket.on('error', failed)
    this.#wire.on('error', () => {})
    this.#socket.on('tlsClientError' as 'error', failed)
  }

  /** Octets of the other end; none for the client's first flight. */
  feed(octets: Uint8Array): void {
    if (octets.length > 0) this.#wire.push(Buffer.from(octets))
    this.#settle(++this.#turn, 0, -1)
  }

  /** Waits until OpenSSL has been quiet for a while: it works on this thread, but through streams. */
  #settle(turn: number, quiet: number, seen: number): void {
    if (turn !== this.#turn) return
    const said = this.#out.length + (this.done ? 1 : 0)
    if (quiet === QUIET_TURNS) return this.#wake()
    setImmediate(() => this.#settle(turn, said === seen ? quiet + 1 : 0, said))
  }

  /** What is to be sent, and no more later. */
  take(): Uint8Array {
    const flight = new Uint8Array(Buffer.concat(this.#out))
    this.#out = []
    return flight
  }

  /** 64 octets, RFC 5216 §2.3. */
  msk(): Uint8Array {
    return new Uint8Array(this.#socket.exportKeyingMaterial(128, MSK_LABEL, undefined as unknown as Buffer)).slice(
      0,
      64,
    )
  }

  chain(): Chain {
    const found: Uint8Array[] = []
    let each = this.#socket.getPeerX509Certificate()
    for (; each !== undefined && found.length < 10; each = each.issuerCertificate) {
      const raw = new Uint8Array(each.raw)
      if (found.some(known => Buffer.from(known).equals(raw))) break
      found.push(raw)
    }
    return found
  }

  close(): void {
    this.#turn++
    this.#socket.destroy()
  }
}
