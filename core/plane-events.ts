import type { Children } from './children.ts'
import type { PlaneEvent } from './contracts/data-plane.ts'
import { ChildExchange } from './ike/create-child.ts'
import { DeleteChild } from './ike/informational.ts'
import type { IntegrityWatch } from './integrity-watch.ts'
import type { LiveSas } from './live-sas.ts'
import type { Peer } from './peer.ts'
import type { Rim } from './rim.ts'

export interface PlaneEventParts {
  readonly rim: Rim
  readonly children: Children
  readonly live: LiveSas
  readonly watch: IntegrityWatch
  readonly peers: ReadonlyMap<string, Peer>
}

/** What a data plane says of a Child SA that stands: limits met, peers that moved, packets that were forged. */
export function planeEvent(
  event: Exclude<PlaneEvent, { type: 'acquire' }>,
  { rim, children, live, watch, peers }: PlaneEventParts,
  now: number,
): void {
  const entry = children.find(event.id)
  if (entry === undefined || !entry.sa.children.has(event.id)) return
  const { sa, child } = entry
  switch (event.type) {
    case 'soft-expiry':
      if (child.state === 'installed') sa.enqueue(new ChildExchange(child.settings, child), now)
      break
    case 'hard-expiry':
      sa.enqueue(new DeleteChild(child, 'its lifetime is over'), now)
      // no rekey was in time (a refusal, a peer that is slow): what the configuration wants connected is made anew
      if (peers.get(sa.peer!)!.wanted && child.settings.start === 'connect' && child.state !== 'replaced')
        sa.enqueue(new ChildExchange(child.settings), now)
      break
    case 'peer-moved':
      if (!sa.mobility.enabled) sa.move({ protocol: sa.flow.protocol, local: sa.flow.local, remote: event.flow.remote })
      else {
        sa.mobility.espMoved(sa, event.flow)
        live.moved(sa, sa.carrying, now)
      }
      break
    case 'forged': {
      const alarm = watch.failed(sa.peer!, child, event.total, now)
      if (alarm !== undefined) rim.event(sa.peer!, alarm, now)
      if (alarm?.rekey) sa.enqueue(new ChildExchange(child.settings, child), now)
      break
    }
    case 'first-inbound':
      // the peer has shown that it has the new SA: now it is safe to send on it
      children.activate(child)
      break
  }
  live.carryOut(sa, now)
}
