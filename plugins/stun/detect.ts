import { lookup } from 'node:dns/promises'
import type { Clock, Rng } from '../../core/contracts/machine.ts'
import type { Endpoint } from '../../core/contracts/net.ts'
import { SystemError } from '../../core/errors.ts'
import { Detection, type DetectionOut, type Report } from './detection.ts'
import { parseServer, type ServerName } from './options.ts'
import type { ProbeRecord } from './probe.ts'
import { openUdp, sourceTowards, type UdpPort } from './udp.ts'

export interface DetectOptions {
  /** `HOST[:PORT]`, best first; the next is asked when one is silent, and for the mapping where one has a single address. */
  readonly servers: readonly string[]
  readonly family: 4 | 6
  /** Ms after which it ends with what it knows, waits for lifetimes not included. */
  readonly timeout: number
  /** Waits, ms, to find out how long an idle mapping lives; empty for not at all. */
  readonly lifetimes: readonly number[]
  readonly clock: Clock
  readonly rng: Rng
  /** Ends it before its time. */
  readonly signal?: AbortSignal
  readonly onProbe?: (probe: ProbeRecord) => void
}

/** Sockets besides those that wait. */
const SOCKETS = 8

/**
 * Finds out about the NAT in front of this host with sockets of its own; needs no privilege and no configuration.
 *
 * @throws UsageError USAGE_STUN_SERVER; SystemError SYSTEM_RESOLVE, SYSTEM_UNREACHABLE when there is no route
 */
export async function detectNat(options: DetectOptions): Promise<Report> {
  const servers = await Promise.all(options.servers.map(parseServer).map(name => resolve(name, options.family)))
  let report: Report | undefined
  for (const [i, server] of servers.entries()) {
    report = await detectWith(server, servers[i + 1] ?? servers.find(other => other !== server), options)
    if (report.mapped !== undefined || options.signal?.aborted === true) break
  }
  return report!
}

async function resolve({ host, port }: ServerName, family: 4 | 6): Promise<Endpoint> {
  try {
    return { address: (await lookup(host, { family })).address, port }
  } catch (error) {
    throw new SystemError('SYSTEM_RESOLVE', `STUN server ${host}: no IPv${family} address found`, { cause: error })
  }
}

async function detectWith(server: Endpoint, second: Endpoint | undefined, options: DetectOptions): Promise<Report> {
  const { clock, lifetimes, signal } = options
  let address: string
  try {
    address = await sourceTowards(server)
  } catch (error) {
    throw new SystemError('SYSTEM_UNREACHABLE', `STUN server ${server.address}: no route to it`, { cause: error })
  }
  const ports: UdpPort[] = []
  let feed: (socket: number, data: Uint8Array, from: Endpoint) => void = () => {}
  try {
    for (let socket = 0; socket < SOCKETS + lifetimes.length; socket++)
      ports.push(await openUdp({ address, port: 0 }, (data, from) => feed(socket, data, from)))
    const locals = ports.map(({ local }) => local)
    const waiting = lifetimes.map((wait, i) => ({ local: locals[SOCKETS + i]!, wait }))
    const sockets = locals.slice(0, SOCKETS)
    const detection = new Detection({ server, second, sockets, lifetimes: waiting }, options.rng)
    return await new Promise<Report>(done => {
      let cancel = (): void => {}
      const ends = clock.schedule(clock.now() + options.timeout + Math.max(0, ...lifetimes), () => stop())
      const run = (outs: readonly DetectionOut[]): void => {
        for (const out of outs) {
          if (out.type === 'transmit') ports[out.socket]!.send(out.data, out.to)
          else if (out.type === 'progress') options.onProbe?.(out.probe)
          else {
            ends()
            signal?.removeEventListener('abort', stop)
            done(out.report)
          }
        }
        cancel()
        const { deadline } = detection
        cancel =
          deadline === Infinity
            ? () => {}
            : clock.schedule(deadline, () => run(detection.step({ type: 'timeout' }, clock.now())))
      }
      const stop = (): void => run(detection.step({ type: 'stop' }, clock.now()))
      feed = (socket, data, from) => run(detection.step({ type: 'datagram', socket, from, data }, clock.now()))
      signal?.addEventListener('abort', stop, { once: true })
      run(detection.step({ type: 'start' }, clock.now()))
      if (signal?.aborted === true) stop()
    })
  } finally {
    await Promise.all(ports.map(port => port.close()))
  }
}
