import { Detection, type DetectionIn, type DetectionOptions, type Report } from '../../plugins/stun/detection.ts'
import { type ServerOut, StunServer } from '../../plugins/stun/server.ts'
import { type Host, HostMachine, type UdpTransmit, type VirtualInternet } from '../kit/index.ts'

const STUN_PORTS = [3478, 3479] as const
/** Two of each family: the kit's host `stun`. */
const STUN_ADDRESSES = ['203.0.113.30', '203.0.113.31', '2001:db8::30', '2001:db8::31'] as const

/** A STUN server for RFC 5780 on the kit's host `stun`, or a simpler one. */
export function serveStun(
  net: VirtualInternet,
  host: Host,
  addresses: readonly string[] = STUN_ADDRESSES,
  ports: readonly number[] = STUN_PORTS,
): HostMachine<Exclude<ServerOut, UdpTransmit>> {
  const endpoints = addresses.flatMap(address => ports.map(port => ({ address, port })))
  return new HostMachine(net, host, ports, new StunServer({ endpoints, ratePerSource: 1000, rate: 1000 }))
}

export interface Detecting {
  /** Once it has ended. */
  report: Report | undefined
  /** Names of the probes that have ended, in order. */
  readonly progress: string[]
  sent: number
  step(input: DetectionIn): void
}

/** Ports apart from one another, so that a NAT which preserves them does not meet its own. */
const PORTS = [40_000, 41_111, 42_222, 43_334, 44_447, 45_556, 46_669, 47_778, 48_886]

/** Detection on a virtual host, its sockets opened and connected to the machine. */
export function detect(
  net: VirtualInternet,
  host: Host,
  address: string,
  options: Omit<DetectionOptions, 'sockets' | 'lifetimes'> & {
    readonly sockets?: number
    readonly lifetimes?: readonly number[]
  },
): Detecting {
  const { lifetimes = [], sockets = 8 } = options
  const local = (i: number) => ({ address, port: PORTS[i] ?? 50_000 + 3 * i })
  const opened = Array.from({ length: sockets + lifetimes.length }, (_, i) => host.udp(local(i).port))
  const detection = new Detection(
    {
      ...options,
      sockets: Array.from({ length: sockets }, (_, i) => local(i)),
      lifetimes: lifetimes.map((wait, i) => ({ local: local(sockets + i), wait })),
    },
    net.rng('detection'),
  )
  let cancel = (): void => {}
  const detecting: Detecting = {
    report: undefined,
    progress: [],
    sent: 0,
    step: input => {
      for (const out of detection.step(input, net.clock.now())) {
        if (out.type === 'transmit') {
          detecting.sent++
          opened[out.socket]!.send(out.data, out.to.address, out.to.port, { source: address })
        } else if (out.type === 'progress') detecting.progress.push(out.probe.name)
        else detecting.report = out.report
      }
      cancel()
      const { deadline } = detection
      cancel =
        deadline === Infinity ? () => {} : net.clock.schedule(deadline, () => detecting.step({ type: 'timeout' }))
    },
  }
  for (const [socket] of opened.entries())
    opened[socket]!.onMessage = ({ data, from }) => detecting.step({ type: 'datagram', socket, from, data })
  detecting.step({ type: 'start' })
  return detecting
}

/** Runs a detection to its end. */
export function detected(net: VirtualInternet, detecting: Detecting, within = 60_000): Report {
  net.runUntil(() => detecting.report !== undefined, { within })
  return detecting.report!
}

/** Values by the names of their facts; what the evidence does not decide is undefined. */
export const values = (report: Report): Readonly<Record<string, unknown>> =>
  Object.fromEntries(report.verdicts.map(({ fact, value }) => [fact, value]))
