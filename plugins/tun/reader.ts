import { Worker } from 'node:worker_threads'
import { HEADROOM, MAX_PACKET, TAILROOM } from '../../core/contracts/packet.ts'
import { SystemError } from '../../core/errors.ts'

/** Packets per batch at most; what is there is handed over at once, so a lone packet does not wait for others. */
const BATCH_PACKETS = 128
/** Octets of a batch: room for at least one packet of the largest size, about a hundred of 1500. */
const BATCH_OCTETS = 256 * 1_024
/** Batches in existence. When all wait in the main thread, reading stops and the kernel's queue does the dropping. */
const BATCHES = 8
/** Longest uninterrupted system call, so that a thread whose process forgot to close the device can be ended. */
const POLL_MS = 500
/** Words of the control block. */
const CLOSING = 0
const RETURNED = 1

/** The numbers and handles that the reading thread works with. */
interface ReaderData {
  /** Absolute path: a thread made from a string resolves names from the working directory. */
  readonly koffi: string
  readonly fd: number
  readonly wakeFd: number
  readonly control: Int32Array
  readonly buffers: ArrayBuffer[]
  readonly batchPackets: number
  readonly pollMs: number
  readonly headroom: number
  readonly tailroom: number
  readonly maxPacket: number
  readonly closing: number
  readonly returned: number
}

/** A batch: u32 count, then u32 start and end of each packet, then the packets with free octets around each. */
export const batchIndex = (batch: ArrayBuffer): Uint32Array => new Uint32Array(batch, 0, 1 + 2 * BATCH_PACKETS)

export interface Reader {
  /** Gives a batch back to be filled again. */
  release(batch: ArrayBuffer): void
  /** Ends the thread; resolves when it no longer touches the descriptors. */
  stop(): Promise<void>
}

/**
 * Reads packets from a non-blocking TUN descriptor in a thread of its own.
 *
 * @param wakeFd - an eventfd, written to end a poll early
 * @param koffi - absolute path of koffi's CommonJS entry
 * @param received - called in the main thread with each batch, which it must `release`
 * @param failed - called when the thread ends without having been asked to
 */
export function startReader(
  fds: { readonly fd: number; readonly wakeFd: number; readonly wake: () => void },
  koffi: string,
  received: (batch: ArrayBuffer) => void,
  failed: (error: Error) => void,
): Reader {
  const control = new Int32Array(new SharedArrayBuffer(8))
  const buffers = Array.from({ length: BATCHES }, () => new ArrayBuffer(BATCH_OCTETS))
  const data: ReaderData = {
    koffi,
    fd: fds.fd,
    wakeFd: fds.wakeFd,
    control,
    buffers,
    batchPackets: BATCH_PACKETS,
    pollMs: POLL_MS,
    headroom: HEADROOM,
    tailroom: TAILROOM,
    maxPacket: MAX_PACKET,
    closing: CLOSING,
    returned: RETURNED,
  }
  // execArgv: the host's loaders (--import tsx) have no business in this thread
  const worker = new Worker(source(), { eval: true, workerData: data, transferList: buffers, execArgv: [] })
  const ended = new Promise<void>(resolve => worker.once('exit', () => resolve()))
  let stopping = false
  worker.on('message', received)
  worker.on('error', error => {
    if (!stopping)
      failed(new SystemError('SYSTEM_DEVICE', `reading the TUN device: ${error.message}`, { cause: error }))
  })
  return {
    release: batch => {
      if (stopping) return
      worker.postMessage(batch, [batch])
      Atomics.add(control, RETURNED, 1)
      Atomics.notify(control, RETURNED)
    },
    stop: () => {
      stopping = true
      Atomics.store(control, CLOSING, 1)
      Atomics.add(control, RETURNED, 1)
      Atomics.notify(control, RETURNED)
      fds.wake()
      return ended
    },
  }
}

/**
 * The thread's program as text. Node 20 starts no thread from a .ts file, and a built package holds only what tsc made
 * of .ts files; the text of a checked function works from source, under a test runner and when built. The function
 * must therefore use nothing but its arguments and globals. `__name` is what esbuild-based loaders wrap functions in.
 */
const source = (): string =>
  `const __name = f => f;\n(${readLoop.toString()})(require, require('node:worker_threads').workerData)`

function readLoop(load: NodeJS.Require, data: ReaderData): void {
  const { parentPort, receiveMessageOnPort } = load('node:worker_threads') as typeof import('node:worker_threads')
  const koffi = load(data.koffi) as typeof import('koffi')
  const libc = koffi.load(null)
  const read = libc.func('long read(int fd, void *buffer, size_t length)')
  const poll = libc.func('int poll(void *fds, unsigned long count, int timeout)')
  const { EAGAIN, EINTR } = koffi.os.errno as { EAGAIN: number; EINTR: number }
  const { control, headroom, tailroom, maxPacket, batchPackets } = data
  if (parentPort === null) throw new Error('not a worker thread')
  const free = data.buffers

  // struct pollfd { int fd; short events; short revents } twice
  const pollFds = new Int32Array(4)
  const pollEvents = new Int16Array(pollFds.buffer)
  pollFds[0] = data.fd
  pollFds[2] = data.wakeFd
  pollEvents[2] = pollEvents[6] = 1 // POLLIN

  const fill = (buffer: ArrayBuffer): number => {
    const index = new Uint32Array(buffer, 0, 1 + 2 * batchPackets)
    const bytes = new Uint8Array(buffer)
    let at = index.byteLength
    let count = 0
    while (count < batchPackets) {
      const start = ((at + 7) & ~7) + headroom
      if (start + maxPacket + tailroom > bytes.length) break // a shorter read would cut a large packet
      const length: number = read(data.fd, bytes.subarray(start), maxPacket)
      if (length <= 0) {
        const errno = koffi.errno()
        if (length < 0 && errno === EINTR) continue
        if (length < 0 && errno === EAGAIN) break
        throw new Error(`read: ${length < 0 ? `errno ${errno}` : 'end of file'}; was the device deleted?`)
      }
      index[1 + 2 * count] = start
      index[2 + 2 * count] = start + length
      count++
      at = start + length + tailroom
    }
    index[0] = count
    return count
  }

  const takeReturned = (): void => {
    for (;;) {
      const returned = receiveMessageOnPort(parentPort)
      if (returned === undefined) return
      free.push(returned.message as ArrayBuffer)
    }
  }

  while (Atomics.load(control, data.closing) === 0) {
    const seen = Atomics.load(control, data.returned)
    takeReturned()
    const buffer = free.pop()
    if (buffer === undefined) {
      Atomics.wait(control, data.returned, seen, data.pollMs)
      continue
    }
    poll(pollFds, 2, data.pollMs)
    if (pollEvents[3] !== 0 && fill(buffer) > 0) parentPort.postMessage(buffer, [buffer])
    else free.push(buffer)
  }
}
