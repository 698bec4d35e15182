import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { UsageError } from '../../core/errors.ts'

/** TLS around the stream, RFC 9329 appendix A: for firewalls that want to see it. IKE protects itself. */
export interface TlsOptions {
  /** Server: files in PEM. */
  readonly certificate?: string
  readonly key?: string
  /** Client: file in PEM with the CAs to trust; without it any certificate will do, since IKE authenticates the peer. */
  readonly ca?: string
  /** Client: the name the certificate must have, and that is asked for. */
  readonly serverName?: string
}

export interface TcpEncapOptions {
  /** Peers are called on this TCP port; default 4500. */
  readonly port?: number
  /** Answers calls on this port, 0 for any; absent: nobody can call. */
  readonly listen?: number
  /** Addresses to listen on; default all. */
  readonly addresses?: readonly string[]
  readonly tls?: TlsOptions
  /** Connections at once at most, default 1000, and from one address, default 16; more are closed at once. */
  readonly connections?: number
  readonly connectionsPerAddress?: number
}

const KNOWN = ['port', 'listen', 'addresses', 'tls', 'connections', 'connectionsPerAddress']
const TLS = ['certificate', 'key', 'ca', 'serverName']

/** @throws UsageError USAGE_OPTION naming the value */
export function checkOptions(options: TcpEncapOptions): void {
  const fail = (what: string): never => {
    throw new UsageError('USAGE_OPTION', what)
  }
  const only = (given: object, known: readonly string[], at: string): void => {
    for (const name of Object.keys(given))
      if (!known.includes(name)) fail(`${at}${name}: no such option; there are: ${known.join(', ')}`)
  }
  only(options, KNOWN, '')
  const number = (name: 'port' | 'listen' | 'connections' | 'connectionsPerAddress', least: number, most: number) => {
    const value: unknown = options[name]
    if (value === undefined) return
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > most)
      fail(`${name}: ${String(value)}; a number from ${least} to ${most} is wanted`)
  }
  number('port', 1, 65_535)
  number('listen', 0, 65_535)
  number('connections', 1, 1_000_000)
  number('connectionsPerAddress', 1, 1_000_000)
  for (const address of options.addresses ?? []) if (isIP(address) === 0) fail(`addresses: ${address} is no IP address`)
  const { tls } = options
  if (tls === undefined) return
  only(tls, TLS, 'tls.')
  if (options.listen !== undefined && (tls.certificate === undefined || tls.key === undefined))
    fail('tls: a server needs certificate and key')
}

/** @throws UsageError USAGE_OPTION when a file cannot be read */
export function pem(path: string, at: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new UsageError('USAGE_OPTION', `${at}: ${(error as Error).message}`, { cause: error })
  }
}
