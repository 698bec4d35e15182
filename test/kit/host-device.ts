import type { DeviceSink, DeviceState, PacketDevice } from '../../core/contracts/device.ts'
import { HEADROOM, type Packet, TAILROOM } from '../../core/contracts/packet.ts'
import type { Ip } from './address.ts'
import type { Exit } from './lan.ts'
import type { World } from './world.ts'

/** What a device needs from its host. */
export interface DeviceHost {
  readonly name: string
  configureDevice(device: HostDevice, state: DeviceState | undefined): void
  fromDevice(packet: Uint8Array, device: HostDevice): void
}

/** The TUN device of a virtual host: its routes lead the host's own and forwarded packets into the sink. */
export class HostDevice implements PacketDevice, Exit {
  readonly name: string
  addresses: readonly Ip[] = []
  mtu = 1400
  /** The state last configured; undefined while closed. */
  state: DeviceState | undefined
  readonly #host: DeviceHost
  readonly #world: World
  #sink: DeviceSink | undefined

  constructor(name: string, host: DeviceHost, world: World) {
    this.name = name
    this.#host = host
    this.#world = world
  }

  async open(sink: DeviceSink): Promise<void> {
    this.#sink = sink
  }

  async close(): Promise<void> {
    this.#sink = undefined
    this.state = undefined
    this.#host.configureDevice(this, undefined)
  }

  async configure(state: DeviceState): Promise<void> {
    this.state = state
    this.mtu = state.mtu
    this.#host.configureDevice(this, state)
  }

  write(packet: Packet): void {
    const frame = packet.bytes.slice(packet.start, packet.end)
    this.#world.clock.after(0, inner => this.#host.fromDevice(inner, this), frame)
  }

  /** From the host's stack to the program behind the device. */
  emit(frame: Uint8Array): boolean {
    const sink = this.#sink
    const { captured: packet, clock } = this.#world
    if (sink === undefined || HEADROOM + frame.length + TAILROOM > packet.bytes.length) {
      this.#world.drop(this.#host.name, frame, 'device-closed')
      return true
    }
    packet.bytes.set(frame, HEADROOM)
    packet.start = HEADROOM
    packet.end = HEADROOM + frame.length
    packet.nextHeader = frame[0]! >> 4 === 6 ? 41 : 4
    packet.tos = 0
    packet.ttl = 0
    packet.df = false
    packet.id = 0
    packet.flowLabel = 0
    clock.outside = true
    sink.packet(packet)
    return true
  }
}
