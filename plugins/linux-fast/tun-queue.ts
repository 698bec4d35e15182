import type { Packet } from '../../core/contracts/packet.ts'
import type { Arena } from './arena.ts'
import { IOVEC, type Libc, Sys, setAddress } from './libc.ts'
import type { Losses } from './losses.ts'
import { Merge } from './merge.ts'
import { cut, type SegmentSink } from './segment.ts'
import { Vnet } from './vnet.ts'

/** Octets of the largest read: IP's limit and the virtio header. */
const READ = 65_536 + 64
const PARTS = 65

/** The TUN device's descriptor as the thread sees it: large packets in, cut; packets out, put together. */
export class TunQueue {
  #fd = -1
  readonly #libc: Libc
  readonly #arena: Arena
  readonly #address: number
  readonly #buffer: number
  readonly #parts: number
  readonly #merge: Merge
  readonly #loose: number
  readonly #losses: Losses

  constructor(libc: Libc, arena: Arena, losses: Losses) {
    this.#losses = losses
    this.#libc = libc
    this.#arena = arena
    this.#address = libc.address(arena.bytes)
    this.#buffer = arena.take(READ)
    this.#parts = arena.take(PARTS * IOVEC)
    this.#loose = arena.take(READ)
    this.#merge = new Merge(arena, { write: (header, parts, count) => this.#write(header, parts, count) })
  }

  /** -1 while there is none. */
  get fd(): number {
    return this.#fd
  }

  /** @param udp - whether the kernel cuts large packets of UDP too */
  open(fd: number, udp: boolean): void {
    this.#fd = fd
    this.#merge.udp = udp
  }

  close(): void {
    this.#fd = -1
  }

  /** Reads one packet or one large one. @returns its octets, 0 when there is none; undefined when the device is gone */
  read(sink: SegmentSink): number | undefined {
    const length = this.#libc.read(this.#fd, this.#address + this.#buffer, READ)
    if (length <= 0) {
      const error = this.#libc.errno()
      return length < 0 && (error === Sys.EAGAIN || error === Sys.EINTR) ? 0 : undefined
    }
    if (length > Vnet.OCTETS && !cut(this.#arena, this.#buffer, this.#buffer + length, sink))
      this.#losses.count('device-refused')
    return length
  }

  /** @param packet - in the arena, where it stays until `flush`; or in other memory, which is free afterwards */
  write({ bytes, start, end }: Packet): void {
    const arena = this.#arena
    if (bytes === arena.bytes) return this.#merge.add(start, end)
    this.#merge.flush()
    arena.bytes.set(bytes.subarray(start, end), this.#loose)
    this.#merge.add(this.#loose, this.#loose + end - start)
    this.#merge.flush()
  }

  flush(): void {
    this.#merge.flush()
  }

  #write(header: number, parts: Uint32Array, count: number): void {
    const { view } = this.#arena
    let at = this.#parts
    const part = (offset: number, length: number): void => {
      setAddress(view, at, this.#address + offset)
      view.setUint32(at + 8, length, true)
      at += IOVEC
    }
    part(header, Vnet.OCTETS)
    for (let i = 0; i < count; i++) part(parts[2 * i]!, parts[2 * i + 1]!)
    if (this.#libc.writev(this.#fd, this.#address + this.#parts, count + 1) < 0)
      this.#losses.count('device-refused', count)
  }
}
