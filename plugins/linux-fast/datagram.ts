import type { Endpoint } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import { CONTROL_LENGTH, IOVEC, type Libc, MSGHDR, Msg, SOCKADDR, Sys, setAddress, writeFields } from './libc.ts'
import { writeName } from './sockaddr.ts'

const NAME_AT = MSGHDR + IOVEC
const CONTROL_AT = NAME_AT + SOCKADDR + 4
const DATA_AT = CONTROL_AT + 2 * CONTROL_LENGTH

/** One datagram at a time, sent by another thread than the one that has many: struct msghdr, and room for the packet. */
export class Datagram {
  readonly #libc: Libc
  readonly #bytes = new Uint8Array(DATA_AT + 65_536)
  readonly #view = new DataView(this.#bytes.buffer)
  readonly #address: number

  constructor(libc: Libc) {
    this.#libc = libc
    this.#address = libc.address(this.#bytes)
    for (const [field, to] of [
      [Msg.NAME, NAME_AT],
      [Msg.IOV, MSGHDR],
      [Msg.CONTROL, CONTROL_AT],
      [MSGHDR, DATA_AT],
    ] as const)
      setAddress(this.#view, field, this.#address + to)
    this.#view.setUint32(Msg.IOV_COUNT, 1, true)
  }

  load({ bytes, start, end, tos, ttl }: Packet, remote: Endpoint): void {
    const view = this.#view
    const nameLength = writeName(view, NAME_AT, remote)
    view.setUint32(Msg.NAME_LENGTH, nameLength, true)
    view.setUint32(
      Msg.CONTROL_LENGTH,
      writeFields(view, CONTROL_AT, nameLength !== SOCKADDR, tos, ttl) - CONTROL_AT,
      true,
    )
    this.#bytes.set(bytes.subarray(start, end), DATA_AT)
    view.setUint32(MSGHDR + 8, end - start, true)
  }

  /** Sends what was loaded. @returns the name of the error when the kernel refused it */
  send(fd: number): string | undefined {
    return this.#libc.sendmsg(fd, this.#address, Sys.MSG_DONTWAIT) < 0 ? this.#libc.errorName() : undefined
  }
}
