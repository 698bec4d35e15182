import { type AddressKey, type Ip, isV6 } from './address.ts'
import type { Fire } from './event-queue.ts'
import type { Link } from './link.ts'
import type { World } from './world.ts'

/** Where a route can lead: an interface on a LAN, or a host's tunnel device. */
export interface Exit {
  readonly name: string
  readonly mtu: number
  /** Addresses of the host on this exit, most preferred first. */
  readonly addresses: readonly Ip[]
  /** Sends; the frame is the exit's from now on. @returns false when nobody has the address `to` */
  emit(frame: Uint8Array, to: AddressKey): boolean
}

/** A node's place on a LAN. */
export class Interface implements Exit {
  readonly name: string
  readonly nodeName: string
  readonly link: Link
  /** Prebound: an event in flight carries it as is. */
  readonly receive: Fire
  addresses: Ip[] = []
  lan: Lan | undefined

  constructor(name: string, nodeName: string, link: Link, input: (frame: Uint8Array, from: Interface) => void) {
    this.name = name
    this.nodeName = nodeName
    this.link = link
    this.receive = frame => input(frame, this)
  }

  get mtu(): number {
    return this.link.mtu
  }

  /** First address of the family. */
  address(v6: boolean): Ip | undefined {
    return this.addresses.find(ip => isV6(ip.key) === v6)
  }

  emit(frame: Uint8Array, to: AddressKey): boolean {
    return this.lan?.carry(frame, this, to) ?? false
  }
}

/** A broadcast domain: a switch whose neighbour table is always right. Several prefixes may share one. */
export class Lan {
  readonly name: string
  readonly #world: World
  readonly #members = new Map<AddressKey, Interface>()

  constructor(name: string, world: World) {
    this.name = name
    this.#world = world
  }

  join(iface: Interface, ip: Ip): void {
    this.#members.set(ip.key, iface)
  }

  leave(iface: Interface, ip: Ip): void {
    if (this.#members.get(ip.key) === iface) this.#members.delete(ip.key)
  }

  carry(frame: Uint8Array, from: Interface, to: AddressKey): boolean {
    const target = this.#members.get(to)
    if (target === undefined) return false
    const { clock } = this.#world
    const now = clock.now()
    const lost = from.link.refuses(frame, 'up', now)
    if (lost !== undefined) {
      this.#world.drop(from.nodeName, frame, lost)
      return true
    }
    const there = from.link.arrival(frame.length, 'up', now)
    this.#world.seen(this.name, 'pass', frame)
    const copies = from.link.duplicates() ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      const sent = copy === 0 ? frame : frame.slice()
      // A busy cable depends on who comes first, so that is found out when it happens; else one event does for both cables.
      if (target.link.bandwidth === Number.POSITIVE_INFINITY) this.#descend(sent, target, there)
      else clock.queue.push(there, waiting => this.#descend(waiting, target, there), sent)
    }
    return true
  }

  /** From the segment to the node. */
  #descend(frame: Uint8Array, { link, nodeName, receive }: Interface, start: number): void {
    const { queue } = this.#world.clock
    const lost = link.refuses(frame, 'down', start)
    if (lost !== undefined) {
      this.#world.drop(nodeName, frame, lost)
      return
    }
    const second = link.duplicates() ? frame.slice() : undefined
    queue.push(link.arrival(frame.length, 'down', start), receive, frame)
    if (second !== undefined) queue.push(link.arrival(second.length, 'down', start), receive, second)
  }
}
