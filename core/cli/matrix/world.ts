import { memory } from '../../../plugins/memory/index.ts'
import { nodeCrypto } from '../../../plugins/node-crypto/index.ts'
import { type Host, hostPlugin, type VirtualInternet } from '../../../test/kit/index.ts'
import { type ConfigInput, parseConfig } from '../../config/index.ts'
import { createNatweave, type Natweave, NatweaveError, type NatweaveEvent, type Plugin } from '../../index.ts'

/** Real builds on virtual hosts, configured in the words of a configuration file. */

const WITHIN_MS = 200_000

/** One build and what it has told. */
export interface End {
  readonly host: Host
  readonly natweave: Natweave
  readonly events: readonly NatweaveEvent[]
}

export async function end(
  net: VirtualInternet,
  host: Host,
  config: ConfigInput,
  plugins: readonly Plugin[],
): Promise<End> {
  const { settings } = parseConfig(config, { env: {}, readFile: () => new Uint8Array(0) })
  const natweave = createNatweave({
    plugins: [nodeCrypto(), ...plugins, memory(), hostPlugin(host, { protocols: [50, 51] })],
    settings,
    clock: net.clock,
    rng: net.rng(`natweave ${host.name}`),
  })
  const events: NatweaveEvent[] = []
  natweave.on(event => events.push(event))
  await natweave.start()
  await net.settle()
  return { host, natweave, events }
}

/** Connects while virtual time passes. @returns why it failed, on one line; undefined when it stands */
export async function connect(
  net: VirtualInternet,
  { natweave, events }: End,
  peer: string,
): Promise<string | undefined> {
  let settled = false
  let failure: string | undefined
  const attempt = natweave.connect(peer).then(
    () => {
      settled = true
    },
    (error: unknown) => {
      settled = true
      if (!(error instanceof NatweaveError)) throw error
      failure = `${error.code}: ${brief(error.message.replace(`${peer}: `, ''))}`
    },
  )
  const before = events.length
  await net.until(() => settled, { within: WITHIN_MS })
  await attempt
  // the device learns addresses and routes in its own time, and an SA may be refused once it stands
  await net.advance(2_000)
  const gone = events.slice(before).find(e => e.type === 'child-down' || e.type === 'child-failed')
  return failure ?? (gone === undefined ? undefined : `${gone.child} did not stay: ${gone.why}`)
}

/** What two hosts could exchange: echos, a datagram with its answer, a stream. */
export interface Exchange {
  readonly works: boolean
  /** In words: "3 of 3 pings, the datagram, 20 kB by TCP". */
  readonly saw: string
}

/** Who talks to whom, and under which address. */
export interface Talk {
  readonly from: Host
  readonly to: Host
  readonly address: string
}

const PINGS = 3
const STREAM = 20_000

/** All talks at the same time: what only works in turns does not work. */
export async function exchange(net: VirtualInternet, talks: readonly Talk[]): Promise<readonly Exchange[]> {
  const hosts = new Set(talks.flatMap(({ from, to }) => [from, to]))
  const wrong = (): number => [...hosts].reduce((sum, host) => sum + host.badChecksums, 0)
  const before = wrong()
  const servers = [...new Set(talks.map(({ to }) => to))].map(host => {
    const server = host.udp(7)
    server.onMessage = ({ data, from: { address, port } }) => server.send(data, address, port)
    return server
  })
  const pings = talks.map(({ from, address }) => from.ping(address, { count: PINGS, interval: 100, timeout: 2_000 }))
  await net.until(() => pings.every(ping => ping.done), { within: WITHIN_MS })
  const sockets = talks.map(({ from, address }) => {
    const socket = from.udp()
    socket.send('hello', address, 7)
    return socket
  })
  await net.advance(2_000)
  const streams = talks.map(({ from, address }) => from.bulk(address, { bytes: STREAM }))
  await net.until(() => streams.every(stream => stream.done), { within: WITHIN_MS })
  for (const socket of [...sockets, ...servers]) socket.close()
  const checksums = wrong() - before
  return talks.map((_, i) => {
    const { received } = pings[i]!
    const datagram = sockets[i]!.received.length === 1
    const { intact } = streams[i]!
    return {
      works: received === PINGS && datagram && intact,
      saw: [
        `${received} of ${PINGS} pings`,
        datagram ? 'the datagram' : 'no datagram',
        `${intact ? `${STREAM / 1_000} kB` : 'nothing'} by TCP`,
        ...(checksums > 0 ? [`${checksums} wrong checksums`] : []),
      ].join(', '),
    }
  })
}

export const stop = async (net: VirtualInternet, ends: readonly End[]): Promise<void> => {
  let stopped = false
  const all = Promise.all(ends.map(({ natweave }) => natweave.stop())).then(() => {
    stopped = true
  })
  await net.until(() => stopped, { within: WITHIN_MS })
  await all
}

const BRIEF = 160

/** The first line of a message, as long as a table can show. */
export function brief(text: string): string {
  const [line = ''] = text.split('\n')
  return line.length <= BRIEF ? line : `${line.slice(0, line.lastIndexOf(' ', BRIEF))} …`
}
