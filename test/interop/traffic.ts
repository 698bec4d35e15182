import { MARKER } from './capture.ts'
import { type Host, type Lab, last } from './lab.ts'
import { type Background, until } from './process.ts'

export const TRANSFER_OCTETS = 50_000_000

const NODE = [process.execPath, '--import', import.meta.resolve('tsx'), new URL('stream.ts', import.meta.url).pathname]

/** A host and the address under which the other end reaches it through the tunnel. */
export interface End {
  readonly host: Host
  readonly address: string
}

export interface Transfer {
  readonly octets: number
  readonly ms: number
  /** Longest time without a new octet at the receiver. */
  readonly longestPauseMs: number
}

interface Received extends Transfer {
  readonly sha256: string
  readonly error?: string
}

/** The streams use this TCP and UDP port and the following ones. */
export const FIRST_PORT = 5000

let nextPort = FIRST_PORT

/** Pings with the marker in each packet. @throws unless every one is answered */
export async function ping(lab: Lab, from: Host, to: string, count = 5, source?: string): Promise<string> {
  const pattern = Buffer.from(MARKER).toString('hex')
  const argv = [
    'ping',
    '-n',
    '-c',
    String(count),
    '-i',
    '0.2',
    '-W',
    '2',
    '-s',
    '100',
    '-p',
    pattern,
    ...(source === undefined ? [] : ['-I', source]),
    to,
  ]
  // ping's own status tells only whether any was answered
  const done = await lab.exec(from, argv, 30_000)
  const received = Number(/(\d+) received/.exec(done.stdout)?.[1])
  if (received !== count) throw new Error(`ping ${from} → ${to}: ${received} of ${count} answered`)
  return `${received}/${count}`
}

/** A running TCP transfer. */
export class RunningTransfer {
  readonly #sender: Background
  readonly #receiver: Background
  readonly #what: string

  private constructor(sender: Background, receiver: Background, what: string) {
    this.#sender = sender
    this.#receiver = receiver
    this.#what = what
  }

  /** @param rate - octets per second, 0 for as fast as it goes */
  static async start(lab: Lab, from: End, to: End, octets = TRANSFER_OCTETS, rate = 0): Promise<RunningTransfer> {
    const port = nextPort++
    const receiver = lab.spawn(to.host, `receive-${port}`, [...NODE, 'receive', String(port)])
    await until('receiver', 10_000, async () => receiver.log().includes('listening'))
    const argv = ['send', to.address, String(port), String(octets), `seed ${port}`, String(rate)]
    const sender = lab.spawn(from.host, `send-${port}`, [...NODE, ...argv])
    return new RunningTransfer(sender, receiver, `transfer ${from.host} → ${to.host}`)
  }

  get running(): boolean {
    return this.#sender.alive
  }

  /** Waits for the end. @throws when it fails, takes longer than `ms` or the checksums differ */
  async done(ms = 120_000): Promise<Transfer> {
    const status = await this.#sender.ended(ms).catch(() => 'late' as const)
    if (status !== 0) throw new Error(`${this.#what}: sender ${status}: ${last(this.#sender.log())}`)
    await this.#receiver.ended(5000)
    const sent = result<Received>(this.#sender)
    const received = result<Received>(this.#receiver)
    if (received.error !== undefined || received.sha256 !== sent.sha256)
      throw new Error(
        `${this.#what}: ${received.error ?? 'checksums differ'}: ${received.octets} of ${sent.octets} octets`,
      )
    return received
  }
}

/** 50 MB by TCP, both SHA-256 compared. */
export async function transfer(lab: Lab, from: End, to: End, octets = TRANSFER_OCTETS): Promise<Transfer> {
  return (await RunningTransfer.start(lab, from, to, octets)).done()
}

export interface Probed {
  readonly sent: number
  readonly back: number
  readonly duplicates: number
  readonly longestGapMs: number
}

/** Numbered UDP datagrams there and back at a steady rate; loss of any one shows, which TCP would hide. */
export async function startProbe(
  lab: Lab,
  from: End,
  to: End,
  seconds: number,
  perSecond = 100,
): Promise<() => Promise<Probed>> {
  const port = nextPort++
  const answerer = lab.spawn(to.host, `answer-${port}`, [...NODE, 'answer', String(port)])
  await until('answerer', 10_000, async () => answerer.log().includes('listening'))
  const argv = ['probe', to.address, String(port), String(seconds * perSecond), String(perSecond)]
  const prober = lab.spawn(from.host, `probe-${port}`, [...NODE, ...argv])
  return async () => {
    const status = await prober.ended(seconds * 1000 + 15_000)
    await answerer.stop()
    if (status !== 0) throw new Error(`probe: ${last(prober.log())}`)
    return result<Probed>(prober)
  }
}

function result<T>(process: Background): T {
  return JSON.parse(process.log().trim().split('\n').at(-1) ?? '') as T
}

export const megabytesPerSecond = ({ octets, ms }: Transfer): string => (octets / 1000 / Math.max(1, ms)).toFixed(0)
