import {
  createNatweave,
  type Log,
  type Plugin,
  SERVICE,
  type Service,
  type ServiceIn,
  type ServiceOut,
} from '../../../core/index.ts'
import { nodeCrypto } from '../../../plugins/node-crypto/index.ts'
import { type TurnOptions, turn } from '../../../plugins/turn/index.ts'
import { udp } from '../../../plugins/udp/index.ts'

/**
 * Run inside a network namespace by turn.test.ts. `client URL PEER [ca]`: sends datagrams from the relayed candidate to an
 * echo server and prints what came back as JSON. `relay`: is a relay until its input ends.
 */
const [mode = '', url = '', peer = '', ca] = process.argv.slice(2)

const SIZES = [1, 2, 3, 4, 100, 1_000, 1_200, 5, 6, 7, 8, 9, 10, 1_250]

/** One datagram after the other, each as soon as its predecessor is back. */
class Echo implements Service {
  deadline = Infinity
  readonly sizes: number[] = []
  readonly sources = new Set<string>()
  relayed = ''
  readonly done: Promise<string>
  #settle: (why: string) => void = () => {}
  #local: { address: string; port: number } | undefined

  constructor() {
    this.done = new Promise(settle => {
      this.#settle = settle
    })
  }

  claims(_: unknown, { local }: { local: { port: number } }): 'mine' | undefined {
    return this.#local?.port === local.port ? 'mine' : undefined
  }

  step(input: ServiceIn): readonly ServiceOut[] {
    if (input.type === 'candidates') {
      const local = input.candidates.find(c => c.kind === 'relayed')?.endpoint
      if (local === undefined || this.#local !== undefined) return []
      this.#local = local
      this.relayed = local.address
      return this.#next()
    }
    if (input.type !== 'datagram') return []
    const { bytes, flow } = input
    this.sizes.push(bytes.every((octet, i) => octet === (i & 0xff)) ? bytes.length : -1)
    this.sources.add(`${flow.remote.address}:${flow.remote.port}`)
    if (this.sizes.length === SIZES.length) this.#settle('all came back')
    return this.#next()
  }

  #next(): readonly ServiceOut[] {
    const size = SIZES[this.sizes.length]
    if (size === undefined || this.#local === undefined) return []
    const [address = '', port] = peer.split(':')
    const flow = { protocol: 17, local: this.#local, remote: { address, port: Number(port) } } as const
    return [{ type: 'transmit', bytes: Uint8Array.from({ length: size }, (_, i) => i & 0xff), flow }]
  }
}

const echo = new Echo()
const options: TurnOptions =
  mode === 'client'
    ? {
        servers: [
          {
            url,
            username: 'alice',
            password: 'wonderland',
            ...(ca !== undefined && { ca, serverName: 'turn.example.org' }),
          },
        ],
      }
    : { serve: { users: { alice: 'wonderland' }, realm: 'example.org' } }
const service: Plugin = {
  name: 'echo',
  api: 1,
  register: container => {
    container.register(SERVICE, { useValue: () => echo })
  },
}
const say = (message: string): void => void process.stdout.write(`${message}\n`)
const log: Log = { debug: () => {}, info: () => {}, warn: say, error: say, child: () => log }
const natweave = createNatweave({
  log,
  plugins: [nodeCrypto(), udp(), turn(options), service],
  settings: {
    peers: {},
    pools: {},
    policy: { rules: [] },
    ike: {
      retransmitMs: 500,
      retransmitBase: 1.8,
      retransmitTries: 5,
      cookieThreshold: 32,
      halfOpenLimit: 1024,
      halfOpenTimeoutMs: 30_000,
    },
  },
})
await natweave.start()
say('ready')
const input = new Promise<string>(ended => process.stdin.once('close', () => ended('stopped')).resume())
const why = await Promise.race([echo.done, input])
const { drops } = natweave.status()
await natweave.stop()
process.stdin.destroy()
const { sizes, sources, relayed } = echo
say(JSON.stringify({ why, sizes, sources: [...sources], relayed, drops }))
