import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net'
import { HEADROOM, MAX_PACKET } from '../../core/contracts/packet.ts'
import { SystemError } from '../../core/errors.ts'
import type { TunHandle } from './native.ts'

/** Packets per wake-up at most: then whatever else the loop has to do gets its turn. */
const BATCH = 64

export interface Reader {
  /** Resolves when the device's descriptor is no longer looked at. */
  stop(): Promise<void>
}

/**
 * Reads packets in Node's own loop, all that wait whenever there is one.
 *
 * libuv waits for pipes but for no TUN device. It asks what a descriptor is when it is handed over and never again: so it
 * is handed the end of a pipe, which becomes the device's before the loop looks at it for the first time.
 *
 * @param bytes - where each packet is put, at HEADROOM, in place of the one before
 * @param received - called with the octets of each
 * @param failed - called when the device has gone without `stop`
 */
export function startReader(
  handle: TunHandle,
  bytes: Uint8Array,
  received: (octets: number) => void,
  failed: (error: Error) => void,
): Reader {
  const standIn = handle.pipe()
  let stopping = false
  const read = handle.readerInto(bytes, HEADROOM, MAX_PACKET)
  const options: SocketConstructorOpts & { onread: OnReadOpts } = {
    fd: standIn,
    writable: false,
    onread: {
      buffer: bytes.subarray(HEADROOM, HEADROOM + MAX_PACKET),
      callback: first => {
        received(first)
        for (let i = 1; i < BATCH && !stopping; i++) {
          const octets = read()
          if (octets <= 0) break // what is wrong is seen by the loop as well
          received(octets)
        }
        return true
      },
    },
  }
  const socket = new Socket(options)
  handle.become(standIn)
  const gone = (why: string, cause?: Error): void => {
    if (!stopping) failed(new SystemError('SYSTEM_DEVICE', `reading the TUN device: ${why}`, { cause }))
  }
  socket.once('error', error => gone(`${error.message}; was the device deleted?`, error))
  socket.once('end', () => gone('end of file'))
  return {
    stop: () => {
      stopping = true
      return new Promise(resolve => {
        if (socket.closed) return resolve()
        socket.once('close', () => resolve())
        socket.destroy()
      })
    },
  }
}
