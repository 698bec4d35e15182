import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Background, type Finished, run, until } from './process.ts'

const SCRIPT = new URL('lab/lab', import.meta.url).pathname

export const NAT_TYPES = ['full-cone', 'restricted', 'port-restricted', 'symmetric'] as const
export type NatType = (typeof NAT_TYPES)[number]
export type Topology = 'direct' | 'nat1' | 'roam' | 'nat2' | 'overlap' | 'samenat' | 'cgnat'
/** Hosts of the network; which of alice, bob, nata and natb exist depends on the topology. */
export type Host = 'inet' | 'med' | 'moon' | 'mars' | 'alice' | 'bob' | 'nata' | 'natb' | 'cgn'

/** Where things are, whatever the topology. */
export const ADDRESS = {
  med: '203.0.113.10',
  moon: '203.0.113.20',
  moonLan: '10.3.0.0/24',
  mars: '10.3.0.5',
  pool: '10.9.0.0/24',
  nata: '198.51.100.1',
  aliceDirect: '203.0.113.50',
} as const

/** The network of namespaces, driven through `lab/lab`; one at a time for each prefix. */
export class Lab {
  readonly prefix: string
  /** Everything that a case writes; removed by `down`. */
  readonly state: string
  readonly #running: Background[] = []
  #last: Promise<unknown> = Promise.resolve()
  #closed = false

  constructor(prefix: string) {
    this.prefix = prefix
    this.state = join(process.env.TMPDIR ?? '/var/tmp', prefix)
  }

  /** Builds a network; one that is left over from before is taken down first. */
  async up(topology: Topology, options: readonly string[] = []): Promise<void> {
    await this.down()
    await this.#lab('up', topology, ...options)
  }

  /** Stops everything that was started here, then removes the namespaces and the state directory. */
  async down(): Promise<void> {
    await Promise.all(this.#running.splice(0).map(each => each.stop(2000)))
    await this.#lab('down')
  }

  /** `down` for good: whatever a case still wants to start is refused. */
  async close(): Promise<void> {
    this.#closed = true
    await this.down()
  }

  /** All mappings of a NAT are lost, as if it had rebooted. */
  async natReset(nat: 'nata' | 'natb'): Promise<void> {
    await this.#lab('natreset', nat)
  }

  async nat(nat: 'nata' | 'natb', type: NatType, ...options: readonly string[]): Promise<void> {
    await this.#lab('nat', nat, type, ...options)
  }

  /** The command line that runs `argv` on a host. */
  on(host: Host, argv: readonly string[]): readonly string[] {
    return ['ip', 'netns', 'exec', `${this.prefix}-${host}`, ...argv]
  }

  /** Runs a command on a host to its end. @throws with its last words when it fails */
  async exec(host: Host, argv: readonly string[], timeoutMs = 60_000): Promise<Finished> {
    const done = await run(this.on(host, argv), { timeoutMs })
    if (done.code !== 0)
      throw new Error(`${host}: ${argv.join(' ')}: status ${done.code} ${last(done.stderr, done.stdout)}`)
    return done
  }

  /** Starts a command on a host; its output goes to `HOST/NAME.log` in the state directory. */
  spawn(host: Host, name: string, argv: readonly string[], env: NodeJS.ProcessEnv = {}): Background {
    if (this.#closed) throw new Error('the lab is closed')
    const process = new Background(this.on(host, argv), this.file(host, `${name}.log`), env)
    this.#running.push(process)
    return process
  }

  /** A path in the host's part of the state directory, which is made when needed. */
  file(host: Host, name: string): string {
    const path = join(this.state, host, name)
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    return path
  }

  write(host: Host, name: string, text: string): string {
    const path = this.file(host, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }

  /**
   * Starts tcpdump. `snap` octets of each packet are kept, 0 for all of them.
   *
   * @returns a function that ends the capture and says where it is; it throws when tcpdump has lost packets, because
   *   then the capture proves nothing
   */
  async capture(host: Host, device: string, name: string, snap = 0, filter = ''): Promise<() => Promise<string>> {
    const file = this.file(host, `${name}.pcap`)
    const argv = ['tcpdump', '-i', device, '-n', '-s', String(snap), '-B', '65536', '-Z', 'root', '-w', file, filter]
    const tcpdump = this.spawn(
      host,
      `tcpdump-${name}`,
      argv.filter(word => word !== ''),
    )
    await until(`tcpdump on ${host}`, 5000, async () => tcpdump.log().includes('listening on'))
    return async () => {
      // packets wait in the kernel until its block of the ring is full or a second old
      await sleep(1200)
      await tcpdump.stop()
      const lost = /(\d+) packets? dropped by kernel/.exec(tcpdump.log())
      if (lost?.[1] !== '0') throw new Error(`tcpdump on ${host} has lost packets: ${last(tcpdump.log())}`)
      return file
    }
  }

  /** One call after the other: a network must not be half built when it is taken down. */
  #lab(...args: readonly string[]): Promise<void> {
    const call = async () => {
      if (this.#closed && args[0] !== 'down') throw new Error('the lab is closed')
      const done = await run([SCRIPT, ...args], { env: { LAB_PREFIX: this.prefix, LAB_STATE: this.state } })
      if (done.code !== 0) throw new Error(`lab ${args.join(' ')}: ${last(done.stderr, done.stdout)}`)
    }
    const result = this.#last.then(call)
    this.#last = result.catch(() => {})
    return result
  }
}

/** The last words of a program, on one line. */
export function last(...texts: readonly string[]): string {
  const text = texts.map(each => each.trim()).find(each => each !== '') ?? ''
  return text.split('\n').slice(-4).join(' | ').slice(-600)
}

export const defaultPrefix = (): string => process.env.LAB_PREFIX ?? 'natweave-interop'
