/** Base of all errors natweave throws on purpose. Callers compare `code`, never messages. */
export class NatweaveError extends Error {
  /** Stable, greppable, documented in the README of the folder that throws it. */
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** The user's configuration is wrong; `path` is where, e.g. `peers.moon.psk`. */
export class ConfigError extends NatweaveError {
  readonly path: string

  constructor(path: string, problem: string, options?: ErrorOptions) {
    super('CONFIG_INVALID', path === '' ? problem : `${path}: ${problem}`, options)
    this.path = path
  }
}

/** The calling program used an API against its contract. */
export class UsageError extends NatweaveError {}

/** The environment refuses something: a busy port, a missing privilege, a missing module. */
export class SystemError extends NatweaveError {}

/** Bytes that do not parse; the only error that may leave a codec. */
export class WireError extends NatweaveError {
  constructor(message: string) {
    super('WIRE_MALFORMED', message)
  }
}

/** The peer misbehaved or refused; `notify` is the IKE error notify to answer with, or the one it sent. */
export class PeerError extends NatweaveError {
  readonly notify: number | undefined
  readonly data: Uint8Array | undefined

  constructor(code: string, message: string, notify?: number, data?: Uint8Array) {
    super(code, message)
    this.notify = notify
    this.data = data
  }
}
