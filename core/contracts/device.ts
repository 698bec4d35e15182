import type { Address, Prefix } from './net.ts'
import type { Packet } from './packet.ts'

export interface DeviceSink {
  /** An inner IP packet to protect; `packet` belongs to the device, valid during the call. */
  packet(packet: Packet): void
  failed(error: Error): void
}

/** What the device must look like now; the whole wanted state, not a change. */
export interface DeviceState {
  /** Own inner addresses (virtual IPs). */
  readonly addresses: readonly Prefix[]
  /** What to send into the device. `source` is the inner address to send from, where there is one to prefer. */
  readonly routes: readonly { readonly to: Prefix; readonly source?: Address }[]
  /** Largest inner packet that fits the outer path. */
  readonly mtu: number
  readonly dns: readonly Address[]
  /** Local UDP ports whose traffic must never enter the device (IKE and ESP in UDP themselves). */
  readonly bypassPorts: readonly number[]
}

/** Source and sink of inner IP packets: a TUN device, a memory queue, a host of the virtual internet. */
export interface PacketDevice {
  readonly name: string
  /** @throws SystemError SYSTEM_PERMISSION when the privilege for the device is missing */
  open(sink: DeviceSink): Promise<void>
  close(): Promise<void>
  /** Brings addresses, routes and MTU to the wanted state. Calls may overlap; the last one wins. */
  configure(state: DeviceState): Promise<void>
  /** Delivers one inner IP packet; never throws, never blocks; the packet is the caller's again afterwards. */
  write(packet: Packet): void
}
