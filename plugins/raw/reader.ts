import { Worker } from 'node:worker_threads'
import { HEADROOM } from '../../core/contracts/packet.ts'
import { SystemError } from '../../core/errors.ts'
import { CONTROL, IOVEC, MMSGHDR, Msg, SOCKADDR } from './message.ts'
import type { RawHandle } from './native.ts'

/** Packets per system call and batch at most; what is there is handed over at once. */
const BATCH_PACKETS = 32
/** Batches that wait in the main thread at most; then reading stops and the kernel's buffer does the dropping. */
const BATCHES = 8
/** Longest uninterrupted system call, so that a thread whose process forgot to close can be ended. */
const POLL_MS = 500
/** Octets of one packet's place, IP's largest and its padding. */
const SLOT = 0x1_0000
/** Words of the control block. */
const CLOSING = 0
const WAITING = 1

/**
 * A batch in words: index of the socket, count, then start, end and length of the control messages of each packet. The
 * sender's sockaddr is at `start - META`, the control messages are at `start - META + ANCILLARY`, the octets before
 * `start` are free once these were read.
 */
export const META = HEADROOM + 128
export const ANCILLARY = 32
export const INDEX_WORDS = 3

interface ReaderData {
  /** Absolute path: a thread made from a string resolves names from the working directory. */
  readonly koffi: string
  /** The last one is the eventfd. */
  readonly fds: readonly number[]
  readonly control: Int32Array
  readonly layout: typeof layout
}

const layout = {
  packets: BATCH_PACKETS,
  batches: BATCHES,
  pollMs: POLL_MS,
  slot: SLOT,
  closing: CLOSING,
  waiting: WAITING,
  meta: META,
  ancillary: ANCILLARY,
  words: INDEX_WORDS,
  name: SOCKADDR,
  controls: CONTROL,
  iovec: IOVEC,
  mmsghdr: MMSGHDR,
  msg: Msg,
} as const

/**
 * Reads from non-blocking raw sockets in a thread of its own.
 *
 * @param received - called in the main thread with each batch
 * @param failed - called when the thread ends without having been asked to
 * @returns ends the thread; resolves when it no longer touches the descriptors
 */
export function startReader(
  handle: RawHandle,
  received: (batch: ArrayBuffer) => void,
  failed: (error: Error) => void,
): () => Promise<void> {
  const control = new Int32Array(new SharedArrayBuffer(8))
  const fds = [...handle.sockets.map(({ fd }) => fd), handle.wakeFd]
  const data: ReaderData = { koffi: handle.koffi, fds, control, layout }
  // execArgv: the host's loaders (--import tsx) have no business in this thread
  const worker = new Worker(source(), { eval: true, workerData: data, execArgv: [] })
  const ended = new Promise<void>(resolve => worker.once('exit', () => resolve()))
  let stopping = false
  worker.on('message', (batch: ArrayBuffer) => {
    try {
      if (!stopping) received(batch)
    } finally {
      Atomics.sub(control, WAITING, 1)
      Atomics.notify(control, WAITING)
    }
  })
  worker.on('error', error => {
    if (!stopping) failed(new SystemError('SYSTEM_SOCKET', `reading raw sockets: ${error.message}`, { cause: error }))
  })
  return () => {
    stopping = true
    Atomics.store(control, CLOSING, 1)
    Atomics.store(control, WAITING, 0)
    Atomics.notify(control, WAITING)
    handle.wake()
    return ended
  }
}

/**
 * The thread's program as text: Node 20 starts no thread from a .ts file, and the text of a checked function works from
 * source, under a test runner and when built. So it uses nothing but its arguments and globals. `__name` is what
 * esbuild-based loaders wrap functions in.
 */
const source = (): string =>
  `const __name = f => f;\n(${readLoop.toString()})(require, require('node:worker_threads').workerData)`

function readLoop(load: NodeJS.Require, data: ReaderData): void {
  const { parentPort } = load('node:worker_threads') as typeof import('node:worker_threads')
  const koffi = load(data.koffi) as typeof import('koffi')
  const libc = koffi.load(null)
  const recvmmsg = libc.func('int recvmmsg(int fd, void *messages, unsigned int count, int flags, void *timeout)')
  const poll = libc.func('int poll(void *fds, unsigned long count, int timeout)')
  // anything else is about one packet or one interface, and told once
  const { EBADF, EFAULT, EINVAL, ENOSYS } = koffi.os.errno as Record<string, number>
  const fatal = [EBADF, EFAULT, EINVAL, ENOSYS]
  const { fds, control, layout: at } = data
  if (parentPort === null) throw new Error('not a worker thread')

  // struct pollfd { int fd; short events; short revents }
  const polled = new Int32Array(new ArrayBuffer(8 * fds.length))
  polled.set(fds.flatMap(fd => [fd, 1])) // POLLIN

  // headers, then vectors, names and control messages, then the packets: all of one size for each message
  const iovs = at.packets * at.mmsghdr
  const names = iovs + at.packets * at.iovec
  const controls = names + at.packets * at.ancillary
  const slots = controls + at.packets * at.controls
  const arena = new Uint8Array(new ArrayBuffer(slots + at.packets * at.slot))
  const view = new DataView(arena.buffer)
  const base = koffi.address(arena)
  const prepare = (i: number): void => {
    const header = i * at.mmsghdr
    view.setUint32(header + at.msg.NAME_LENGTH, at.name, true)
    view.setUint32(header + at.msg.CONTROL_LENGTH, at.controls, true)
  }
  for (let i = 0; i < at.packets; i++) {
    const header = i * at.mmsghdr
    const pointer = (field: number, to: number): void => view.setBigUint64(field, base + BigInt(to), true)
    pointer(header + at.msg.NAME, names + i * at.ancillary)
    pointer(header + at.msg.IOV, iovs + i * at.iovec)
    view.setUint32(header + at.msg.IOV_COUNT, 1, true)
    pointer(header + at.msg.CONTROL, controls + i * at.controls)
    pointer(iovs + i * at.iovec, slots + i * at.slot)
    view.setUint32(iovs + i * at.iovec + 8, at.slot, true)
    prepare(i)
  }

  const batch = (socket: number, count: number): ArrayBuffer => {
    const lengthOf = (i: number): number => view.getUint32((i + 1) * at.mmsghdr - 8, true)
    const place = (length: number): number => at.meta + ((length + 7) & ~7)
    const front = (4 * (2 + at.words * at.packets) + 7) & ~7
    let size = front
    for (let i = 0; i < count; i++) size += place(lengthOf(i))
    const bytes = new Uint8Array(size)
    const index = new Uint32Array(bytes.buffer, 0, front / 4)
    index[0] = socket
    index[1] = count
    let start = front + at.meta
    for (let i = 0; i < count; i++) {
      const length = lengthOf(i)
      const controlLength = view.getUint32(i * at.mmsghdr + at.msg.CONTROL_LENGTH, true)
      const [name, ancillary, slot] = [names + i * at.ancillary, controls + i * at.controls, slots + i * at.slot]
      index.set([start, start + length, controlLength], 2 + at.words * i)
      bytes.set(arena.subarray(name, name + at.name), start - at.meta)
      bytes.set(arena.subarray(ancillary, ancillary + controlLength), start - at.meta + at.ancillary)
      bytes.set(arena.subarray(slot, slot + length), start)
      prepare(i)
      start += place(length)
    }
    return bytes.buffer
  }

  while (Atomics.load(control, at.closing) === 0) {
    const waiting = Atomics.load(control, at.waiting)
    if (waiting >= at.batches) {
      Atomics.wait(control, at.waiting, waiting, at.pollMs)
      continue
    }
    poll(polled, fds.length, at.pollMs)
    for (let i = 0; i < fds.length - 1; i++) {
      if (polled[2 * i + 1]! >>> 16 === 0) continue
      const count: number = recvmmsg(fds[i], arena, at.packets, 0x40, null) // MSG_DONTWAIT
      if (count > 0) {
        const full = batch(i, count)
        Atomics.add(control, at.waiting, 1)
        parentPort.postMessage(full, [full])
      } else if (fatal.includes(koffi.errno())) throw new Error(`recvmmsg: errno ${koffi.errno()}`)
    }
  }
}
