import { existsSync, readFileSync } from 'node:fs'
import type { ConfigInput } from '../../core/config/index.ts'
import type { ChildStatus, PeerStatus, Status } from '../../core/contracts/natweave.ts'
import { ADDRESS, type Host, type Lab, last } from './lab.ts'
import { IDENTITY, type KeyLine, type Party, PSK, type SaView, type TunnelConfig } from './party.ts'
import { type Background, run, until } from './process.ts'

const CLI = new URL('../../core/cli/main.ts', import.meta.url).pathname

/** How the command is run: the sources through tsx, or what NATWEAVE_CLI names, e.g. the built dist/core/cli/main.js. */
export const COMMAND =
  process.env.NATWEAVE_CLI === undefined
    ? [process.execPath, '--import', import.meta.resolve('tsx'), CLI]
    : [process.execPath, process.env.NATWEAVE_CLI]

/** Whether there is a command to test at all. */
export const natweaveExists = (): boolean => existsSync(process.env.NATWEAVE_CLI ?? CLI)

/** `natweave up` in a lab host, used as its users do: by a configuration file and the commands that talk to it. */
export class NatweaveProcess implements Party {
  readonly product = 'natweave'
  readonly host: Host
  readonly device = 'natweave0'
  readonly deleteChild = undefined
  readonly merges = fast()
  readonly #lab: Lab
  readonly #config: TunnelConfig
  readonly #whole: ConfigInput | undefined
  #process: Background | undefined

  /** @param whole - the configuration as it is, in place of the usual peer */
  constructor(lab: Lab, host: Host, config: TunnelConfig, whole?: ConfigInput) {
    this.#lab = lab
    this.host = host
    this.#config = config
    this.#whole = whole
  }

  async start(): Promise<void> {
    for (const [name, text] of Object.entries(this.#config.auth?.files ?? {}))
      this.#lab.write(this.host, `swanctl/${name}`, text)
    const config = this.#lab.write(
      this.host,
      'natweave.json',
      JSON.stringify(this.#whole ?? configuration(this.#config, this.device), undefined, 2),
    )
    const keylog = this.#lab.file(this.host, 'keys.jsonl')
    const argv = [...COMMAND, 'up', '--config', config, '--json', '--socket', this.#socket, '--keylog', keylog]
    const process = this.#lab.spawn(this.host, 'natweave', argv)
    this.#process = process
    await until(`natweave on ${this.host}`, 20_000, async () => {
      if (!process.alive) throw new Error(`natweave on ${this.host} ended: ${last(process.log())}`)
      // it answers on its socket before it has opened its ports
      return process.log().includes('natweave is up')
    })
  }

  async connect(): Promise<void> {
    await this.#command('connect', 'tunnel')
  }

  async sas(): Promise<readonly SaView[]> {
    const status = JSON.parse(await this.#command('status', '--json')) as Status
    return status.peers.flatMap(peer =>
      peer.children.filter(child => child.state !== 'connecting').map(child => view(peer, child)),
    )
  }

  async established(peer: string): Promise<boolean> {
    const status = JSON.parse(await this.#command('status', '--json')) as Status
    return status.peers.some(({ name, state }) => name === peer && state === 'established')
  }

  /** A fact about the tunnel, as `status` shows it. */
  async fact(name: string): Promise<unknown> {
    const status = JSON.parse(await this.#command('status', '--json')) as Status
    return status.peers[0]?.facts[name]?.value
  }

  /** Packets that it has not taken, by reason: what of them belongs to an SA, and what to none. */
  async drops(): Promise<Readonly<Record<string, number>>> {
    const { drops, peers } = JSON.parse(await this.#command('status', '--json')) as Status
    const all = [drops, ...peers.flatMap(({ children }) => children.map(({ counters }) => counters.drops))]
    return all.reduce<Record<string, number>>((sum, each) => {
      for (const [reason, count] of Object.entries(each)) sum[reason] = (sum[reason] ?? 0) + count
      return sum
    }, {})
  }

  /** Whether `status` says that the IKE SA was resumed. */
  async resumed(): Promise<boolean> {
    const status = JSON.parse(await this.#command('status', '--json')) as Status
    return status.peers[0]?.resumed === true
  }

  async rekeyIke(): Promise<void> {
    await this.#command('rekey', 'tunnel')
  }

  async rekeyChild(): Promise<void> {
    await this.#command('rekey', 'tunnel', '--child', 'lan')
  }

  async disconnect(): Promise<void> {
    await this.#command('disconnect', 'tunnel')
  }

  freeze(): void {
    this.#process?.signal('SIGSTOP')
  }

  /** Ends without a word to anybody. */
  async crash(): Promise<void> {
    this.#process?.signal('SIGKILL')
    await this.#process?.ended(5_000)
  }

  thaw(): void {
    this.#process?.signal('SIGCONT')
  }

  async keys(): Promise<readonly KeyLine[]> {
    const file = this.#lab.file(this.host, 'keys.jsonl')
    if (!existsSync(file)) return []
    const lines = readFileSync(file, 'utf8').split('\n')
    return lines.filter(line => line !== '').map(line => JSON.parse(line) as KeyLine)
  }

  log(): string {
    return this.#process?.log() ?? ''
  }

  async stop(): Promise<void> {
    await this.#process?.stop()
  }

  get #socket(): string {
    return this.#lab.file(this.host, 'natweave.sock')
  }

  async #command(...args: readonly string[]): Promise<string> {
    const done = await this.#ask(...args)
    if (done.code !== 0)
      throw new Error(`natweave ${args[0]} on ${this.host}: status ${done.code}: ${last(done.stderr, done.stdout)}`)
    return done.stdout
  }

  #ask(...args: readonly string[]) {
    return run([...COMMAND, ...args, '--socket', this.#socket])
  }
}

function view(peer: PeerStatus, child: ChildStatus): SaView {
  return {
    child: child.name,
    // strongSwan names no PRF where it follows from the integrity algorithm
    ikeSuite: (peer.suite ?? '').replace(/-(sha\d+)-prf\1-/, '-$1-'),
    spiInitiator: digits(peer.spiInitiator ?? '', 16),
    spiResponder: digits(peer.spiResponder ?? '', 16),
    mode: child.mode,
    cipher: child.suite,
    encapsulated: child.encap === 'udp-encap',
    spiIn: digits(child.spiIn, 8),
    spiOut: digits(child.spiOut, 8),
    packetsIn: child.counters.packetsIn,
    packetsOut: child.counters.packetsOut,
    virtualAddress: peer.virtualAddresses[0],
    plane: child.plane,
  }
}

const digits = (spi: string, length: number): string => spi.replace(/^0x/, '').toLowerCase().padStart(length, '0')

/** What moves packets, see --plane of run.ts. */
const fast = (): boolean => process.env.NATWEAVE_PLANE !== 'portable'
const threads = (): { threads?: 1 | 2 } => {
  const [, said] = /^fast-([12])$/.exec(process.env.NATWEAVE_PLANE ?? '') ?? []
  return said === undefined ? {} : { threads: said === '1' ? 1 : 2 }
}

/** The usual set, with plugin raw where it is wanted, and without linux-fast where the portable plane is to be tested. */
const plugins = ({ raw, noble = false }: TunnelConfig): string[] => [
  ...(noble ? ['noble'] : ['openssl', 'node-crypto', 'noble']),
  ...(fast() ? ['linux-fast'] : []),
  'udp',
  ...(raw ? ['raw'] : []),
  ...['tun', 'memory', 'udp-encap', 'beet', 'x509', 'eap-mschapv2', 'eap-tls'],
]

function loaded(config: TunnelConfig): Pick<ConfigInput, 'plugins' | 'policy'> {
  if (config.usual && config.tcp === undefined) return {}
  if (config.tcp === undefined) return { plugins: plugins(config) }
  if (config.usual) return { plugins: [...plugins(config), { use: 'tcp-encap', options: { ...config.tcp } }] }
  return {
    plugins: ['node-crypto', 'noble', 'udp', 'tun', 'memory', { use: 'tcp-encap', options: { ...config.tcp } }],
    policy: { rules: [{ use: ['tcp-encap'] }] },
  }
}

/** The peer `tunnel` with the child `lan`: the initiator asks for a virtual address, the responder has a LAN. */
function configuration(config: TunnelConfig, device: string): ConfigInput {
  const initiator = config.role === 'initiator'
  const ends = initiator ? [IDENTITY.initiator, IDENTITY.responder] : [IDENTITY.responder, IDENTITY.initiator]
  const { auth } = config
  const [mine, theirs] = auth === undefined ? ends : [auth.identity, auth.peer]
  const preferred = (proposal: string) => [
    ...(config.hybrid === undefined ? [] : [`${proposal}-ke1_${config.hybrid}`]),
    proposal,
  ]
  return {
    device: { name: device, ...threads() },
    ...loaded(config),
    // both ends are test hosts: give up on a dead peer as soon as charon does
    ike: {
      retransmit: { timeout: '500ms', tries: 3 },
      ...(config.ticketKey !== undefined && { tickets: { key: config.ticketKey } }),
      ...(config.fragmentSize !== undefined && { fragmentSize: config.fragmentSize }),
    },
    ...(initiator ? {} : { pools: { rw: { addresses: ADDRESS.pool } } }),
    peers: {
      tunnel: {
        ...(initiator ? { remote: config.gateway, addresses: ['ipv4'] } : { pool: 'rw' }),
        localId: mine,
        remoteId: theirs,
        ...(auth?.natweave ?? { psk: PSK }),
        ...(config.ppk !== undefined && {
          ppk: { keys: { [config.ppk.id]: config.ppk.secret }, required: config.ppk.required },
        }),
        proposals: preferred(config.ike),
        encapsulation: config.forceEncapsulation ? 'force' : 'auto',
        mobike: config.mobike,
        dpd: config.dpdSeconds,
        ...(config.reauthSeconds !== undefined && { reauth: `${config.reauthSeconds}s` }),
        ...(config.childless && { childless: 'force' as const }),
        rekey: 0,
        reconnect: false,
        children: {
          lan: {
            [initiator ? 'remote' : 'local']: [config.protects],
            mode: config.mode,
            protocol: config.protocol,
            proposals: preferred(config.esp),
            rekey: 0,
          },
        },
      },
    },
  }
}
