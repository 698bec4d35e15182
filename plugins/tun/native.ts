import { closeSync, constants, openSync } from 'node:fs'
import { getSystemErrorName } from 'node:util'
import { SystemError } from '../../core/errors.ts'

/** linux/if_tun.h; these values hold on x86, Arm and RISC-V. */
const TUNSETIFF = 0x400454ca
const IFF_TUN = 0x0001
const IFF_NO_PI = 0x1000
/** struct ifreq: 16 octets of name, then a union. */
const IFREQ_LENGTH = 40
const IFNAMSIZ = 16
const O_CLOEXEC = 0o2000000

/** An open TUN device. */
export interface TunHandle {
  readonly fd: number
  /** As the kernel chose it. */
  readonly name: string
  /** @returns the descriptor of a pipe that nobody writes to */
  pipe(): number
  /** Closes what is behind a descriptor and puts the device there. */
  become(fd: number): void
  /** A function that reads one packet to `at` of `bytes`. It returns the packet's octets; 0 or less when there is none. */
  readerInto(bytes: Uint8Array, at: number, length: number): () => number
  close(): void
}

/**
 * Creates a TUN device without packet information headers; it lives as long as the descriptor.
 *
 * @param pattern - name, `%d` stands for the first free number
 * @throws SystemError SYSTEM_MISSING, SYSTEM_PERMISSION, SYSTEM_DEVICE
 */
export async function openTun(pattern: string): Promise<TunHandle> {
  if (process.platform !== 'linux') {
    throw new SystemError('SYSTEM_MISSING', `TUN devices are supported on Linux only, this is ${process.platform}`)
  }
  const { default: koffi } = await import('koffi').catch((error: unknown) => {
    throw new SystemError('SYSTEM_MISSING', 'TUN devices need the package koffi: npm install koffi', { cause: error })
  })
  const libc = koffi.load(null)
  const ioctl = libc.func('int ioctl(int fd, unsigned long request, void *argument)')
  const pipe2 = libc.func('int pipe2(void *fds, int flags)')
  const dup3 = libc.func('int dup3(int from, int to, int flags)')
  const read = libc.func('long read(int fd, int64 data, size_t length)')
  let fd: number
  try {
    fd = openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK)
  } catch (error) {
    throw tunError('opening /dev/net/tun', (error as NodeJS.ErrnoException).code, error)
  }
  const request = Buffer.alloc(IFREQ_LENGTH)
  request.write(pattern, 0, IFNAMSIZ - 1, 'latin1')
  request.writeUInt16LE(IFF_TUN | IFF_NO_PI, IFNAMSIZ)
  if (ioctl(fd, TUNSETIFF, request) < 0) {
    const code = getSystemErrorName(-koffi.errno())
    closeSync(fd)
    throw tunError(`creating the TUN device ${pattern}`, code)
  }
  const done = (result: number, what: string): void => {
    if (result < 0) throw tunError(what, getSystemErrorName(-koffi.errno()))
  }
  return {
    fd,
    name: request.toString('latin1', 0, request.indexOf(0)),
    pipe: () => {
      const ends = new Int32Array(2)
      done(pipe2(ends, O_CLOEXEC | constants.O_NONBLOCK), 'pipe2')
      const [end = -1, other = -1] = ends
      closeSync(other)
      return end
    },
    become: other => done(dup3(fd, other, O_CLOEXEC), 'dup3'),
    readerInto: (bytes, at, length) => {
      const address = Number(koffi.address(bytes)) + at
      return () => read(fd, address, length)
    },
    close: () => closeSync(fd),
  }
}

/** Says what a failed system call on /dev/net/tun means and what to do about it. */
export function tunError(what: string, code: string | undefined, cause?: unknown): SystemError {
  switch (code) {
    case 'EPERM':
    case 'EACCES':
      return new SystemError(
        'SYSTEM_PERMISSION',
        `${what} needs CAP_NET_ADMIN: run as root, or give node the capability, or use plugins memory or another device`,
        { cause },
      )
    case 'ENOENT':
    case 'ENODEV':
    case 'ENXIO':
      return new SystemError(
        'SYSTEM_MISSING',
        `${what}: ${code}: load the kernel module (modprobe tun); in a container pass --device /dev/net/tun`,
        { cause },
      )
    case 'EBUSY':
      return new SystemError('SYSTEM_DEVICE', `${what}: the name is in use: stop the other program or choose another`, {
        cause,
      })
    default:
      return new SystemError('SYSTEM_DEVICE', `${what}: ${code ?? String(cause)}`, { cause })
  }
}
