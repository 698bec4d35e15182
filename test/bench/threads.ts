import { octets } from '../../core/contracts/packet.ts'
import { PortablePlane } from '../../core/ipsec/index.ts'
import { Arena } from '../../plugins/linux-fast/arena.ts'
import { loadLibc, Sys } from '../../plugins/linux-fast/libc.ts'
import { LOSS_WORDS, Losses } from '../../plugins/linux-fast/losses.ts'
import { Control } from '../../plugins/linux-fast/messages.ts'
import { Outbox } from '../../plugins/linux-fast/outbox.ts'
import { selector, specPair, suiteNamed } from '../core/ipsec/sample.ts'
import { SeededRng } from '../kit/index.ts'
import { crypto, packetOf, Rig } from '../plugins/linux-fast/rig.ts'
import { largeTcp } from '../plugins/linux-fast/tcp.ts'
import type { Bench, Figure } from './measure.ts'

const SECONDS = 2
const ROUNDS = 3
/** Octets of data in one large packet, and in each of those that it is cut into. */
const [LARGE, SMALL] = [60_000, 1_340]
/** Datagrams under way, in large packets; without an answer for so long, ms, they are taken for lost. */
const WINDOW = 8
const PATIENCE_MS = 5
const BUFFER = 70_000

const WAYS = { out: [true, false], in: [false, true], both: [true, true] } as const
const HOW =
  `median of ${ROUNDS} rounds of ${SECONDS} s; inner octets of one SA, AES-128-GCM in UDP; the plane alone: a pair of sockets is its ` +
  'device, the other end sends recorded datagrams over loopback and reads nothing, on the same cores'

/** Gbit/s of both directions together. */
async function measure(threads: 1 | 2, [out, inward]: readonly [boolean, boolean]): Promise<number> {
  Rig.threads = threads
  const rig = await new Rig().open()
  const all = [selector('0.0.0.0', '255.255.255.255')]
  // the same datagrams come over and over
  const common = { local: all, remote: all, replayWindow: 0 }
  const [mine, theirs] = specPair(1, common, suiteNamed('aes128gcm16'))
  rig.plane.install(rig.placed(mine), { outbound: true }, 0)
  const { packet, pieces } = largeTcp(LARGE, SMALL)

  const recorded: Uint8Array[] = []
  const peer = new PortablePlane(crypto, new SeededRng('peer'), {
    transmit: sent => recorded.push(octets(sent).slice()),
    deliver: () => {},
    event: () => {},
  })
  peer.install(theirs, { outbound: true }, 0)
  for (const piece of pieces) peer.outbound(packetOf(piece), 1)
  const datagrams = recorded.map(packetOf)

  const libc = loadLibc()
  const { inner, wire } = rig.ends
  const outbox = new Outbox(libc, new Arena(1 << 20), new Losses(new Int32Array(Control.WORDS + LOSS_WORDS)), () => {})
  const flow = wire.flow(rig.flow.local)
  const [packetAt, buffer, fds] = [libc.address(packet), new Uint8Array(BUFFER), new Int32Array(32)]
  const [bufferAt, fdsAt] = [libc.address(buffer), libc.address(new Uint8Array(fds.buffer))]
  fds[0] = inner
  fds[1] = (inward ? Sys.POLLIN : 0) | (out ? Sys.POLLOUT : 0)
  const done = (): number => {
    const { octetsIn, octetsOut } = rig.plane.counters(mine.id)!
    return octetsIn + octetsOut
  }

  let sent = 0
  let heard = 0
  let heardAt = performance.now()
  const bring = (until: number): void => {
    for (let now = performance.now(); now < until; now = performance.now()) {
      if (out) while (libc.write(inner, packetAt, packet.length) > 0);
      if (inward) {
        while (libc.read(inner, bufferAt, BUFFER) > 0);
        const { packetsIn } = rig.plane.counters(mine.id)!
        if (packetsIn !== heard) heardAt = now
        else if (now - heardAt > PATIENCE_MS) sent = packetsIn
        heard = packetsIn
        while (sent - heard < WINDOW * datagrams.length) {
          for (const datagram of datagrams) outbox.add(datagram, flow)
          outbox.flush()
          sent += datagrams.length
        }
      }
      libc.poll(fdsAt, 1, 1)
    }
  }
  // what is compiled at first is not what is measured
  bring(performance.now() + 500)
  const [from, before] = [performance.now(), done()]
  bring(from + SECONDS * 1_000)
  const gbits = ((done() - before) * 8) / (performance.now() - from) / 1e6
  await rig.close()
  return gbits
}

/** One thread or two for the fast plane: what a second core is good for. */
export const threads: Bench = {
  name: 'threads',
  about: 'the fast data plane alone, with one thread and with two, one direction busy and both',
  obstacle: () => (process.platform === 'linux' ? undefined : 'plugin linux-fast is for Linux'),
  run: async () => {
    const figures: Figure[] = []
    for (const way of ['out', 'in', 'both'] as const) {
      const rounds: Record<1 | 2, number[]> = { 1: [], 2: [] }
      for (let round = 0; round < ROUNDS; round++)
        for (const count of [1, 2] as const) rounds[count].push(await measure(count, WAYS[way]))
      for (const count of [1, 2] as const)
        figures.push({
          what: count === 1 ? 'one thread' : 'two threads',
          value: rounds[count].sort((a, b) => a - b)[ROUNDS >> 1]!,
          unit: 'Gbit/s',
          compare: `fast plane, ${way === 'both' ? 'both directions' : `${way}bound`}`,
          how: HOW,
        })
    }
    return figures
  },
}
