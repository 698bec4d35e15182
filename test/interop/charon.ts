import { existsSync, readFileSync } from 'node:fs'
import { keysOfLog } from './charon-keys.ts'
import { type Host, type Lab, last } from './lab.ts'
import { IDENTITY, type KeyLine, type Party, PSK, type SaView, type TunnelConfig } from './party.ts'
import { type Background, type Finished, run, until } from './process.ts'

export const CHARON = '/usr/lib/ipsec/charon'

// kernel-libipsec does ESP in user space over a TUN device: tunnel mode only, always in UDP. It needs no kernel ESP.
const PLUGINS =
  'random nonce openssl aes sha1 sha2 hmac kdf gmp curve25519 gcm chapoly pem pkcs1 pkcs8 x509 revocation pubkey constraints ' +
  'eap-identity eap-mschapv2 eap-tls kernel-libipsec kernel-netlink socket-default vici updown counters'

/** A strongSwan charon in a lab host, with a /run and a configuration of its own. */
export class Charon implements Party {
  readonly merges = false
  readonly product = 'strongSwan'
  readonly host: Host
  readonly device = 'ipsec0'
  readonly #lab: Lab
  readonly #config: TunnelConfig
  readonly #whole: string | undefined
  #process: Background | undefined

  /** @param whole - swanctl.conf as it is, in place of the usual connection */
  constructor(lab: Lab, host: Host, config: TunnelConfig, whole?: string) {
    this.#lab = lab
    this.host = host
    this.#config = config
    this.#whole = whole
  }

  async start(): Promise<void> {
    const lab = this.#lab
    const settings = lab.write(this.host, 'strongswan.conf', this.#strongswanConf())
    lab.write(this.host, 'swanctl/swanctl.conf', this.#whole ?? swanctlConf(this.#config))
    for (const [name, text] of Object.entries(this.#config.auth?.files ?? {}))
      lab.write(this.host, `swanctl/${name}`, text)
    const runDirectory = lab.file(this.host, 'run')
    // a private /run keeps the PID files and sockets of several charons apart
    const script = 'mkdir -p "$1" && mount --bind "$1" /run && exec "$2"'
    const argv = ['unshare', '-m', '--propagation', 'private', 'sh', '-c', script, 'sh', runDirectory, CHARON]
    const charon = lab.spawn(this.host, 'charon', argv, { STRONGSWAN_CONF: settings })
    this.#process = charon
    await until(`charon on ${this.host}`, 10_000, async () => {
      if (!charon.alive) throw new Error(`charon on ${this.host} ended: ${last(charon.log())}`)
      return existsSync(`${runDirectory}/charon.vici`) && (await this.#swanctl('--stats')).code === 0
    })
    await this.#command('--load-all', '--noprompt')
  }

  async connect(): Promise<void> {
    await this.initiate('lan')
  }

  /** Brings up a child, on the IKE SA that stands where there is one. */
  async initiate(child: string): Promise<void> {
    await this.#command('--initiate', '--child', child, '--timeout', '40')
  }

  /** Brings up an IKE SA without children. */
  async connectIke(name: string): Promise<void> {
    await this.#command('--initiate', '--ike', name, '--timeout', '15')
  }

  async sas(): Promise<readonly SaView[]> {
    const listed = await this.#command('--list-sas', '--raw')
    return listed.stdout.split('\n').flatMap(line => (line.startsWith('list-sa event') ? views(parseRaw(line)) : []))
  }

  async rekeyIke(): Promise<void> {
    await this.#command('--rekey', '--ike', 'tunnel')
  }

  async rekeyChild(): Promise<void> {
    await this.#command('--rekey', '--child', 'lan')
  }

  async disconnect(): Promise<void> {
    await this.#command('--terminate', '--ike', 'tunnel', '--timeout', '10')
  }

  /** Sends the client to another gateway. */
  async redirect(to: string): Promise<void> {
    await this.#command('--redirect', '--ike', 'tunnel', '--gateway', to)
  }

  readonly deleteChild = async (): Promise<void> => {
    await this.#command('--terminate', '--child', 'lan', '--timeout', '10')
  }

  freeze(): void {
    this.#process?.signal('SIGSTOP')
  }

  thaw(): void {
    this.#process?.signal('SIGCONT')
  }

  async keys(): Promise<readonly KeyLine[]> {
    const log = readFileSync(this.#lab.file(this.host, 'charon-keys.log'), 'latin1')
    return keysOfLog(log, await this.sas(), this.#config.role)
  }

  /** What it has said so far, at its usual level. */
  log(): string {
    return readFileSync(this.#lab.file(this.host, 'charon-log.log'), 'latin1')
  }

  async stop(): Promise<void> {
    await this.#process?.stop()
  }

  async #command(...args: readonly string[]): Promise<Finished> {
    const done = await this.#swanctl(...args)
    if (done.code !== 0) throw new Error(`swanctl on ${this.host}: ${args[0]}: ${last(done.stderr, done.stdout)}`)
    return done
  }

  #swanctl(...[verb = '', ...args]: readonly string[]): Promise<Finished> {
    const file = verb === '--load-all' ? ['--file', this.#lab.file(this.host, 'swanctl/swanctl.conf')] : []
    const argv = ['swanctl', verb, ...file, ...args, '--uri', `unix://${this.#lab.file(this.host, 'run')}/charon.vici`]
    return run(argv, { env: { STRONGSWAN_CONF: this.#lab.file(this.host, 'strongswan.conf') } })
  }

  #strongswanConf(): string {
    const log = (name: string, levels: string) =>
      `${name} { path = ${this.#lab.file(this.host, `charon-${name}.log`)}\n append = no\n flush_line = yes\n` +
      ` time_format = %H:%M:%S\n time_add_ms = yes\n ${levels} }`
    return `charon {
  load = ${PLUGINS}
  # both ends are test hosts: give up on a dead peer after 0.5 + 0.9 + 1.6 + 2.9 s
  retransmit_timeout = 0.5
  retransmit_tries = 3
  send_vendor_id = ${this.#config.vendorId ? 'yes' : 'no'}
  ${this.#config.fragmentSize === undefined ? '' : `fragment_size = ${this.#config.fragmentSize}`}
  ${this.#config.auth?.charon ?? ''}
  make_before_break = yes
  user = root
  filelog {
    ${log('log', 'default = 1')}
    # SK_* of IKE SAs (ike 4) and keys of Child SAs (chd 4)
    ${log('keys', 'default = -1\n ike = 4\n chd = 4\n mgr = 1')}
  }
  plugins {
    vici { socket = unix:///run/charon.vici }
  }
}
`
  }
}

/** The connection `tunnel` with the child `lan`: the initiator asks for a virtual address, the responder has a LAN. */
function swanctlConf(config: TunnelConfig): string {
  const initiator = config.role === 'initiator'
  const ends = initiator ? [IDENTITY.initiator, IDENTITY.responder] : [IDENTITY.responder, IDENTITY.initiator]
  const { auth } = config
  const [mine, theirs] = (auth === undefined ? ends : [auth.identity, auth.peer]).map(id => id.replace(/^keyid:/, '@#'))
  return `connections {
  tunnel {
    version = 2
    ${initiator ? `remote_addrs = ${config.gateway}\n    vips = 0.0.0.0` : `local_addrs = ${config.gateway}\n    pools = rw`}
    proposals = ${config.ike}
    ${config.ppk === undefined ? '' : `ppk_id = ${config.ppk.id}\n    ppk_required = ${config.ppk.required ? 'yes' : 'no'}`}
    encap = ${config.forceEncapsulation ? 'yes' : 'no'}
    # With MOBIKE, charon would follow a new NAT mapping only if a liveness check had gone through the old one.
    mobike = ${config.mobike ? 'yes' : 'no'}
    dpd_delay = ${config.dpdSeconds}s
    rekey_time = 0
    ${config.reauthSeconds === undefined ? '' : `reauth_time = ${config.reauthSeconds}s\n    over_time = 1s\n    rand_time = 0`}
    ${config.childless ? 'childless = force' : ''}
    local { ${auth?.swanctl.local ?? 'auth = psk'}
      id = ${JSON.stringify(mine)} }
    remote { ${auth?.swanctl.remote ?? 'auth = psk'}
      id = ${JSON.stringify(theirs)} }
    children {
      lan {
        ${initiator ? 'remote_ts' : 'local_ts'} = ${config.protects}
        mode = ${config.mode === 'beet' ? 'beet' : 'tunnel'}
        esp_proposals = ${config.esp}
        rekey_time = 0
      }
    }
  }
}
pools {
  rw { addrs = 10.9.0.0/24 }
}
secrets {
  ${auth === undefined ? `ike { secret = "${PSK}" }` : (auth.swanctl.secrets ?? '')}
  ${config.ppk === undefined ? '' : `ppk { id = ${config.ppk.id}\n    secret = "${config.ppk.secret}" }`}
}
`
}

interface Section {
  readonly [name: string]: string | Section
}

/** Parses the nested `name {key=value …}` of `swanctl --raw`. */
function parseRaw(line: string): Section {
  const stack: { [name: string]: string | Section }[] = [{}]
  for (const [, open, key, value] of line.matchAll(/([^\s{}=]+) \{|([^\s{}=]+)=(\[[^\]]*\]|[^\s}]*)|\}/g)) {
    const top = stack.at(-1)
    if (top === undefined) break
    if (open !== undefined) {
      const section = {}
      top[open] = section
      stack.push(section)
    } else if (key !== undefined) top[key] = value ?? ''
    else stack.pop()
  }
  return stack[0] ?? {}
}

const section = (value: string | Section | undefined): Section => (typeof value === 'object' ? value : {})
const text = (value: string | Section | undefined): string => (typeof value === 'string' ? value : '')

function views(listed: Section): SaView[] {
  return Object.values(section(listed.event)).flatMap(connection => {
    const ike = section(connection)
    if (ike.state !== 'ESTABLISHED') return []
    const vip = `${text(ike['local-vips'])}${text(ike['remote-vips'])}`.replace(/[[\]]/g, '')
    return Object.values(section(ike['child-sas'])).flatMap(each => {
      const child = section(each)
      if (child.state !== 'INSTALLED') return []
      return {
        child: text(child.name),
        ikeSuite: ikeKeyword(ike),
        spiInitiator: text(ike['initiator-spi']),
        spiResponder: text(ike['responder-spi']),
        mode: text(child.mode).toLowerCase(),
        cipher: keyword(child),
        encapsulated: child.encap === 'yes',
        spiIn: text(child['spi-in']),
        spiOut: text(child['spi-out']),
        packetsIn: Number(child['packets-in']),
        packetsOut: Number(child['packets-out']),
        virtualAddress: vip === '' ? undefined : vip,
      }
    })
  })
}

const GROUPS: Readonly<Record<string, string>> = { CURVE_25519: 'x25519', ECP_256: 'ecp256', MODP_2048: 'modp2048' }

function ikeKeyword(sa: Section): string {
  const aead = text(sa['integ-alg']) === ''
  const prf = text(sa['prf-alg']).replace(/^PRF_HMAC_SHA2_(\d+)$/, 'prfsha$1')
  const group = GROUPS[text(sa['dh-group'])] ?? text(sa['dh-group'])
  return [keyword(sa), ...(aead ? [prf] : []), group].join('-')
}

/** `AES_GCM_16` with key size 128 → `aes128gcm16`; `AES_CBC` 256 with `HMAC_SHA2_256_128` → `aes256-sha256`. */
function keyword(sa: Section): string {
  const bits = text(sa['encr-keysize'])
  const cipher = text(sa['encr-alg'])
    .replace(/^AES_CBC$/, `aes${bits}`)
    .replace(/^AES_GCM_(\d+)$/, `aes${bits}gcm$1`)
    .replace(/^CHACHA20_POLY1305$/, 'chacha20poly1305')
  const integrity = text(sa['integ-alg'])
    .replace(/^HMAC_SHA2_(\d+)_\d+$/, 'sha$1')
    .replace(/^HMAC_SHA1_96$/, 'sha1')
  return integrity === '' ? cipher : `${cipher}-${integrity}`
}
