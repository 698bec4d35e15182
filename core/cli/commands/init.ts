import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { SystemError, UsageError } from '../../errors.ts'
import { guarded } from '../output.ts'

export interface InitFlags {
  readonly force: boolean
  readonly json: boolean
}

const STARTER = `# natweave configuration; natweave check says whether it is right.
# Secrets may stand here because this file is readable for its owner only (mode 600).

# Who this host is, to every peer that does not say otherwise.
# local:
#   id: alice@example.org

peers:
  # A gateway to connect to. Give it any name; commands use it: natweave connect gateway
  gateway:
    remote: gw.example.org          # name or address; append :port where it is not 500
    remoteId: gw.example.org        # who it must prove to be
    psk: { env: GATEWAY_PSK }       # or { file: ./gateway.psk }, or the text itself
    addresses: [ipv4]               # ask for a virtual address
    # proposals: [aes256gcm16-prfsha256-x25519]
    # encapsulation: auto           # force: ESP in UDP even where no NAT is seen
    # start: connect                # connect as soon as natweave is up
    # dpd: 30s
    children:
      lan:
        remote: [10.3.0.0/24]       # what lies behind the gateway; 0.0.0.0/0 for everything
        # proposals: [aes128gcm16-x25519]
        # rekey: 1h

  # Clients that call in, for a gateway:
  # clients:
  #   remoteId: "*@example.org"
  #   psk: { env: CLIENT_PSK }
  #   pool: clients
  #   children:
  #     lan: { local: [10.3.0.0/24] }

# pools:
#   clients: { addresses: 10.9.0.0/24, dns: [10.3.0.53] }
`

/** Writes a configuration to start from. */
export default async function init(this: unknown, flags: InitFlags, file = 'natweave.config.yaml'): Promise<void> {
  await guarded(flags.json, async out => {
    const path = resolve(file)
    if (existsSync(path) && !flags.force) throw new UsageError('USAGE_EXISTS', `${path} exists; --force overwrites it`)
    try {
      // first closed to others, then filled: an older file keeps its mode
      writeFileSync(path, '', { mode: 0o600 })
      chmodSync(path, 0o600)
      writeFileSync(path, STARTER)
    } catch (error) {
      throw new SystemError('SYSTEM_PERMISSION', `${path} cannot be written: ${(error as Error).message}`)
    }
    if (flags.json) out.json({ file: path })
    else out.line(`wrote ${path}; edit it, then: natweave check && natweave up`)
  })
}
