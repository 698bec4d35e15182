import { SystemError, UsageError } from '../../core/errors.ts'
import { parseAddress, STUN_PORT } from '../../core/wire/index.ts'

/** A server as users name it. */
export interface ServerName {
  readonly host: string
  readonly port: number
}

const NAME = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/

/**
 * `host`, `host:port`, `192.0.2.1`, `[2001:db8::1]:3478`; IPv6 without a port also without brackets.
 *
 * @throws UsageError USAGE_STUN_SERVER
 */
export function parseServer(text: string): ServerName {
  if (parseAddress(text) !== undefined) return { host: text, port: STUN_PORT }
  const [, bracketed, plain, digits] = NAME.exec(text) ?? []
  const port = digits === undefined ? STUN_PORT : Number(digits)
  const host = bracketed ?? plain
  if (host === undefined || /\s/.test(host) || port === 0 || port > 65_535)
    throw new UsageError('USAGE_STUN_SERVER', `"${text}" is no STUN server: HOST, HOST:PORT or [IPV6]:PORT is wanted`)
  return { host, port }
}

export interface StunOptions {
  /** Servers to ask, best first. Without any the plugin asks nobody. */
  readonly servers?: readonly string[]
  /** Between two requests from IKE's socket, ms, which also keep its mapping alive; default 25 s. */
  readonly intervalMs?: number
  /** Find out the kind of NAT, with a few sockets of its own; default true. */
  readonly classify?: boolean
  /** Addresses with ports to serve at: one, or two that differ in both for behaviour discovery. */
  readonly serve?: readonly string[]
  /** Requests a second that the server answers one source (default 50), and all (default 1000). */
  readonly ratePerSource?: number
  readonly rate?: number
}

export interface StunSettings {
  readonly servers: readonly ServerName[]
  readonly intervalMs: number
  readonly classify: boolean
  readonly serve: readonly { readonly address: string; readonly port: number }[]
  readonly ratePerSource: number
  readonly rate: number
}

const KNOWN: readonly (keyof StunOptions)[] = ['servers', 'intervalMs', 'classify', 'serve', 'ratePerSource', 'rate']

/** What a user wrote, checked. @throws UsageError USAGE_STUN_OPTION, USAGE_STUN_SERVER */
export function settingsOf(options: StunOptions): StunSettings {
  const strange = Object.keys(options).find(name => !(KNOWN as readonly string[]).includes(name))
  if (strange !== undefined) throw wrong(`"${strange}" is none of ${KNOWN.join(', ')}`)
  const { classify = true } = options
  if (typeof classify !== 'boolean') throw wrong(`classify: ${JSON.stringify(classify)} is neither true nor false`)
  const serve = texts('serve', options.serve).map(text => {
    const { host, port } = parseServer(text)
    if (parseAddress(host) === undefined) throw wrong(`serve: "${text}" is no IP address with a port`)
    return { address: host, port }
  })
  const [first, second] = serve
  if (serve.length > 2) throw wrong('serve: at most two addresses, which differ in address and port')
  if (second !== undefined && (first?.address === second.address || first?.port === second.port))
    throw wrong('serve: the two addresses have to differ in both address and port')
  return {
    servers: texts('servers', options.servers).map(parseServer),
    intervalMs: number('intervalMs', options.intervalMs, 25_000, 5000, 3_600_000),
    classify,
    serve,
    ratePerSource: number('ratePerSource', options.ratePerSource, 50, 1, 1_000_000),
    rate: number('rate', options.rate, 1000, 1, 10_000_000),
  }
}

/** Four of each family make a server for behaviour discovery. */
export const endpointsOf = (
  serve: StunSettings['serve'],
): readonly { readonly address: string; readonly port: number }[] =>
  serve.flatMap(({ address }) => serve.map(({ port }) => ({ address, port })))

function texts(name: string, value: unknown): readonly string[] {
  if (value === undefined) return []
  if (Array.isArray(value) && value.every((item): item is string => typeof item === 'string')) return value
  throw wrong(`${name}: a list of texts is wanted, not ${JSON.stringify(value)}`)
}

function number(name: string, value: unknown, usual: number, least: number, most: number): number {
  if (value === undefined) return usual
  if (typeof value === 'number' && value >= least && value <= most) return value
  throw wrong(`${name}: a number from ${least} to ${most} is wanted, not ${JSON.stringify(value)}`)
}

const wrong = (problem: string): UsageError => new UsageError('USAGE_STUN_OPTION', problem)

/** The system's refusal to bind, in our words. */
export function bindError(error: unknown, shown: string): SystemError {
  const { code, message } = error as NodeJS.ErrnoException
  const [ours, why] =
    code === 'EADDRINUSE'
      ? ['SYSTEM_PORT_BUSY', 'another program has this port']
      : code === 'EACCES'
        ? ['SYSTEM_PERMISSION', 'ports below 1024 need a privilege']
        : code === 'EADDRNOTAVAIL'
          ? ['SYSTEM_ADDRESS', 'no interface of this host has the address']
          : ['SYSTEM_ADDRESS', message]
  return new SystemError(ours!, `cannot bind UDP ${shown}: ${why}`, { cause: error })
}
