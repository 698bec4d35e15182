import { childSpec } from './child-spec.ts'
import type { ChildCounters, ChildSaSpec, DataPlane } from './contracts/data-plane.ts'
import { type Flow, showEndpoint } from './contracts/net.ts'
import type { Host } from './host.ts'
import type { ChildSa } from './ike/host.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import { wipeDirection } from './ike/keys.ts'
import { type Claims, claimant } from './ipsec/claims.ts'
import type { PortablePlane } from './ipsec/portable-plane.ts'
import { type SelectorPair, selectorPair } from './ipsec/selector.ts'
import { isAh } from './ipsec/transforms.ts'
import { rawFlow } from './path/none.ts'

interface Entry {
  readonly child: ChildSa
  readonly plane: DataPlane
  readonly selectors: SelectorPair
  readonly spec: Pick<ChildSaSpec, 'local' | 'remote'>
  /** The IKE SA it belongs to now; changes when that is rekeyed. */
  sa: IkeSa
}

/** How long a replaced Child SA still receives: packets under way overtake nothing worse than that. */
const RETIRE_MS = 5_000

/** Which data plane carries which Child SA, and for which IKE SA. */
export class Children {
  readonly #planes: readonly DataPlane[]
  readonly #portable: PortablePlane
  readonly #claims: Claims
  readonly #byId = new Map<string, Entry>()
  readonly #spis = new Set<number>()
  readonly #waiting: { readonly at: number; readonly id: string }[] = []
  readonly #retired: { readonly at: number; readonly child: ChildSa }[] = []

  /**
   * @param planes - asked in order, then the portable one, whose refusal is the reason given
   * @param claims - of all planes; the portable one, which has SAs without IKE too, keeps its own in it
   */
  constructor(planes: readonly DataPlane[], portable: PortablePlane, claims: Claims) {
    this.#planes = planes
    this.#portable = portable
    this.#claims = claims
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
    const selectors = selectorPair(spec.local, spec.remote)
    const conflict = this.#claims.conflict(selectors, claimant(spec))
    if (conflict !== undefined) return { code: 'PLANE_REFUSED', why: conflict }
    const plane = this.#planes.find(plane => plane.refuses(spec) === undefined) ?? this.#portable
    const why = plane === this.#portable ? plane.refuses(spec) : undefined
    if (why !== undefined) return { code: 'PLANE_REFUSED', why }
    plane.install(spec, { outbound }, now)
    if (plane !== this.#portable) this.#claims.claim(selectors, claimant(spec))
    const { local, remote } = spec
    this.#byId.set(child.id, { child, plane, sa, selectors, spec: { local, remote } })
    this.#spis.add(child.inbound.spi)
    if (outbound) this.#yield(child.id)
    return undefined
  }

  activate({ id }: ChildSa): void {
    this.#byId.get(id)?.plane.activate(id)
    this.#yield(id)
  }

  /** Planes that take packets from the device themselves must leave those of this SA to its own. */
  #yield(id: string): void {
    const entry = this.#byId.get(id)
    if (entry === undefined) return
    for (const plane of this.#planes) if (plane !== entry.plane) plane.yield?.(id, entry.spec.local, entry.spec.remote)
  }

  /** The plane that sends for a Child SA of this name. */
  planeFor(peer: string, child: string): DataPlane | undefined {
    const entries = [...this.#byId.values()].filter(e => e.sa.peer === peer && e.child.settings.name === child)
    return entries.at(-1)?.plane
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
    const entry = this.#byId.get(id)
    if (entry !== undefined) {
      entry.plane.remove(id)
      if (entry.plane !== this.#portable) this.#claims.release(entry.selectors)
      for (const plane of this.#planes) if (plane !== entry.plane) plane.regain?.(id)
    }
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
