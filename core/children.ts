import { childSpec } from './child-spec.ts'
import type { ChildCounters, DataPlane } from './contracts/data-plane.ts'
import { type Flow, showEndpoint } from './contracts/net.ts'
import type { Host } from './host.ts'
import type { ChildSa } from './ike/host.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import { wipeDirection } from './ike/keys.ts'
import { isAh } from './ipsec/transforms.ts'
import { rawFlow } from './path/none.ts'

interface Entry {
  readonly child: ChildSa
  readonly plane: DataPlane
  /** The IKE SA it belongs to now; changes when that is rekeyed. */
  sa: IkeSa
}

/** How long a replaced Child SA still receives: packets under way overtake nothing worse than that. */
const RETIRE_MS = 5_000

/** Which data plane carries which Child SA, and for which IKE SA. */
export class Children {
  readonly #planes: readonly DataPlane[]
  readonly #byId = new Map<string, Entry>()
  readonly #spis = new Set<number>()
  readonly #waiting: { readonly at: number; readonly id: string }[] = []
  readonly #retired: { readonly at: number; readonly child: ChildSa }[] = []

  /** @param planes - asked in order; the last one's refusal is the reason given */
  constructor(planes: readonly DataPlane[]) {
    this.#planes = planes
  }

  spiInUse(spi: number): boolean {
    return this.#spis.has(spi)
  }

  counters({ id }: ChildSa): ChildCounters | undefined {
    return this.#byId.get(id)?.plane.counters(id)
  }

  planeOf({ id }: ChildSa): DataPlane | undefined {
    return this.#byId.get(id)?.plane
  }

  find(id: string): Readonly<Entry> | undefined {
    return this.#byId.get(id)
  }

  /** @returns why it cannot be carried, and the code for that; undefined when it is installed */
  install(
    sa: IkeSa,
    child: ChildSa,
    outbound: boolean,
    host: Host,
    now: number,
  ): { code: string; why: string } | undefined {
    const mode = host.mode(child.plan.mode)!
    const encap = host.encap(child.plan.encap)
    const flow = flowOf(sa, child, host)
    if (flow === undefined)
      return {
        code: 'PLAN_ENDPOINT',
        why: `${encap.name} has no local endpoint for ${isAh(child.suite) ? 'AH' : 'ESP'} beside ${showEndpoint(sa.carrying.local)}`,
      }
    const spec = childSpec(sa, child, mode, encap, flow)
    let why = 'no data plane is loaded'
    for (const plane of this.#planes) {
      const refusal = plane.refuses(spec)
      if (refusal === undefined) {
        plane.install(spec, { outbound }, now)
        this.#byId.set(child.id, { child, plane, sa })
        this.#spis.add(child.inbound.spi)
        return undefined
      }
      why = refusal
    }
    return { code: 'PLANE_REFUSED', why }
  }

  activate({ id }: ChildSa): void {
    this.#byId.get(id)?.plane.activate(id)
  }

  /** Activates it by then, if nothing has before; it may be gone. */
  activateAt({ id }: ChildSa, at: number): void {
    this.#waiting.push({ at, id })
  }

  /** A rekey has replaced it: its successor sends, it receives a little longer. */
  retire(child: ChildSa, now: number): void {
    const { successor } = child
    // one that was replaced itself meanwhile would take over from its own successor
    if (successor !== undefined && successor.successor === undefined) this.activate(successor)
    this.#retired.push({ at: now + RETIRE_MS, child })
  }

  /** Its keys are wiped: planes keep copies of their own, which they wipe themselves. */
  remove({ id, inbound, outbound }: ChildSa): void {
    this.#byId.get(id)?.plane.remove(id)
    this.#byId.delete(id)
    this.#spis.delete(inbound.spi)
    wipeDirection(inbound)
    wipeDirection(outbound)
  }

  /** Lets all children of an IKE SA follow it to its flow. */
  follow(sa: IkeSa, host: Host): void {
    for (const child of sa.children.values()) {
      const entry = this.#byId.get(child.id)
      if (entry === undefined) continue
      entry.sa = sa
      const flow = flowOf(sa, child, host)
      const encap = host.encap(child.plan.encap)
      const follow = encap.follows?.(sa.facts) ?? false
      if (flow !== undefined) entry.plane.move(child.id, flow, { encap, follow })
    }
  }

  get deadline(): number {
    return Math.min(this.#retired[0]?.at ?? Infinity, this.#waiting[0]?.at ?? Infinity)
  }

  timeout(now: number): void {
    while ((this.#retired[0]?.at ?? Infinity) <= now) this.remove(this.#retired.shift()!.child)
    while ((this.#waiting[0]?.at ?? Infinity) <= now) {
      const { id } = this.#waiting.shift()!
      const child = this.#byId.get(id)?.child
      // one that was replaced meanwhile would take over from its own successor
      if (child !== undefined && child.successor === undefined) this.activate(child)
    }
  }
}

/** Where packets of a Child SA go beside IKE; AH has nothing around it, whatever the plan is for ESP. */
function flowOf(sa: IkeSa, child: ChildSa, host: Host): Flow | undefined {
  if (isAh(child.suite)) return rawFlow(51, sa.carrying, host.locals())
  return host.encap(child.plan.encap).espFlow(sa.carrying, host.locals())
}
