import type { Fact } from './contracts/facts.ts'
import type { Flow } from './contracts/net.ts'
import type { Service } from './contracts/service.ts'
import type { Host } from './host.ts'
import { ExtensionExchange } from './ike/extension.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import type { LiveSas } from './live-sas.ts'
import type { Peer } from './peer.ts'
import type { Pursuit } from './pursuit.ts'
import type { Rim } from './rim.ts'
import type { EngineRequest, Services } from './services.ts'
import type { Payload } from './wire/index.ts'

export interface WishParts {
  readonly rim: Rim
  readonly host: Host
  readonly live: LiveSas
  readonly services: Services
  readonly peers: ReadonlyMap<string, Peer>
  readonly pursuit: Pursuit
  readonly failed: (peer: Peer, code: string, why: string, now: number) => void
  /** Something came from outside the engine: time has passed. */
  readonly answered: (now: number) => void
}

/** Does what a service wants. Names and SAs that are gone meanwhile are no error. */
export function perform(out: EngineRequest, by: Service, parts: WishParts, now: number): void {
  const { rim, host, live, services, peers } = parts
  switch (out.type) {
    case 'transmit':
      return rim.send(out.bytes, out.flow)
    case 'ready':
      return ready(out.peer, out.flow, parts, now)
    case 'failed': {
      const peer = peers.get(out.peer)
      if (peer?.path !== undefined) parts.failed(peer, out.code, out.why, now)
      return
    }
    case 'progress':
      return rim.event(out.peer, { type: 'progress', step: out.step, text: out.text }, now)
    case 'move': {
      const sa = services.sa(out.sa)
      if (sa !== undefined) move(sa, out.flow, parts, now)
      return
    }
    case 'request': {
      const sa = services.sa(out.sa)
      if (sa === undefined) return
      const answered = (payloads: readonly Payload[], at: number): void => {
        const current = services.sa(out.sa)
        if (current !== undefined) services.response(by, current, out.tag, payloads, at)
      }
      sa.enqueue(new ExtensionExchange(out.exchange, out.payloads, answered), now)
      return live.carryOut(sa, now)
    }
    case 'close': {
      const sa = services.sa(out.sa)
      if (sa !== undefined) live.end(sa, out.why, now)
      return
    }
    case 'leased':
      return host.leases.leased(out.tag, out.address, out.dns, now)
    case 'unleased': {
      const lost = host.leases.unleased(out.tag, out.why)
      if (lost === undefined) return
      for (const { settings, sas } of peers.values())
        for (const sa of settings.pool === lost.pool ? [...sas] : [])
          if (sa.assigned.includes(lost.address)) live.end(sa, out.why, now)
      return
    }
    case 'fact':
      return learn(out.peer, out.name, out.fact, parts, now)
    case 'drop':
      return rim.drop(out.reason)
    case 'connect':
    case 'bind':
    case 'unbind':
    case 'resolve':
      return rim.outlet.fetch(out, (input, at) => {
        parts.answered(at)
        services.answer(by, input, at)
      })
  }
}

function ready(name: string, flow: Flow, parts: WishParts, now: number): void {
  const peer = parts.peers.get(name)
  if (peer?.path === undefined) return
  peer.path = undefined
  const sa = peer.current
  if (sa?.state === 'established' && peer.round?.renews === undefined) move(sa, flow, parts, now)
  else parts.pursuit.ready(peer, flow, now)
}

function move(sa: IkeSa, flow: Flow, { live }: WishParts, now: number): void {
  if (sa.mobility.enabled) sa.mobility.migrate(sa, flow, now)
  else sa.move(flow)
  live.carryOut(sa, now)
}

function learn(
  name: string | undefined,
  fact: string,
  value: Fact,
  { host, live, peers }: WishParts,
  now: number,
): void {
  if (name === undefined) host.learn(fact, value)
  for (const peer of peers.values()) {
    if (name !== undefined && peer.settings.name !== name) continue
    if (peer.facts[fact]?.value !== value.value) peer.review.want(now)
    peer.facts = { ...peer.facts, [fact]: value }
    for (const sa of [...peer.sas]) {
      sa.learn(fact, value.value, value.source, now)
      live.carryOut(sa, now)
    }
  }
}
