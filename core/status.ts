import type { ChildStatus, PeerStatus, PlanReport, Status } from './contracts/natweave.ts'
import { showEndpoint } from './contracts/net.ts'
import type { Engine } from './engine.ts'
import type { ChildSa } from './ike/host.ts'
import { showIdentity } from './ike/identity.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import { showProposal } from './ike/proposal.ts'
import { espProposal, suiteProposal } from './ike/selection.ts'
import { showSelector } from './ike/selectors.ts'
import type { Peer } from './peer.ts'

/** Snapshots of the engine in words, for people and programs. */

const NOTHING = { packetsIn: 0, octetsIn: 0, packetsOut: 0, octetsOut: 0, drops: {}, lastIn: 0, lastOut: 0 } as const

export function status(
  engine: Engine,
  about: { readonly device: string | undefined; readonly plugins: readonly string[] },
  now: number,
): Status {
  const manual = engine.manual.status(now)
  return {
    peers: [...engine.peersByName.values()].map(peer => peerStatus(engine, peer, now)),
    ...(manual.length > 0 && { manual }),
    locals: engine.locals().map(showEndpoint),
    candidates: engine.services.candidates.all.map(({ kind, endpoint, base, source }) => ({
      kind,
      endpoint: showEndpoint(endpoint),
      base: showEndpoint(base),
      source,
    })),
    device: about.device,
    plugins: about.plugins,
    drops: sums([engine.drops, engine.portable.drops, ...engine.planes.map(({ drops = {} }) => drops)]),
  }
}

function sums(parts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total: Record<string, number> = {}
  for (const part of parts)
    for (const [reason, count] of Object.entries(part)) total[reason] = (total[reason] ?? 0) + count
  return total
}

function peerStatus(engine: Engine, peer: Peer, now: number): PeerStatus {
  const { settings, current: sa } = peer
  const channel = sa?.channel
  return {
    name: settings.name,
    state: peer.state,
    role: sa === undefined ? undefined : sa.initiator ? 'initiator' : 'responder',
    localId: showIdentity(settings.localId),
    remoteId: showIdentity(sa?.remoteId ?? settings.remoteId),
    local: sa && showEndpoint(sa.flow.local),
    remote: sa && showEndpoint(sa.flow.remote),
    suite: channel && showProposal(suiteProposal(channel.suite)),
    spiInitiator: sa?.initiatorSpi.toString(16).padStart(16, '0'),
    spiResponder: sa?.responderSpi.toString(16).padStart(16, '0'),
    plan: sa?.plan,
    facts: sa?.facts ?? peer.facts,
    ...(sa?.resumption !== undefined && sa.state === 'established' && { resumed: true as const }),
    ...proofOf(sa),
    virtualAddresses: [...(sa?.virtual ?? []), ...(sa?.assigned ?? [])],
    ...(sa?.mobility.enabled && {
      additionalAddresses: sa.mobility.peerAddresses.filter(address => address !== sa.flow.remote.address),
    }),
    children: peer.sas.flatMap(one => [...one.children.values()].map(child => childStatus(engine, one, child, now))),
    ageMs: sa?.state === 'established' ? now - sa.createdAt : undefined,
    lastError: peer.lastError,
  }
}

function proofOf(sa: IkeSa | undefined): Pick<PeerStatus, 'proof'> {
  const { own, peer } = sa?.proof ?? {}
  if (sa?.state !== 'established' || own === undefined || peer === undefined) return {}
  const ppk = sa.facts['ppk']?.value
  return { proof: { own, peer, ...(typeof ppk === 'string' && { ppk }) } }
}

const spi = (value: number): string => value.toString(16).padStart(8, '0')

function childStatus(engine: Engine, _sa: IkeSa, child: ChildSa, now: number): ChildStatus {
  return {
    id: child.id,
    name: child.settings.name,
    state: child.state === 'installed' ? 'installed' : 'rekeying',
    mode: child.plan.mode,
    encap: child.plan.encap,
    plane: engine.planeOf(child)?.name ?? 'none',
    suite: showProposal(espProposal(child.suite)),
    spiIn: spi(child.inbound.spi),
    spiOut: spi(child.outbound.spi),
    local: child.local.map(showSelector),
    remote: child.remote.map(showSelector),
    counters: engine.counters(child) ?? NOTHING,
    ageMs: now - child.createdAt,
  }
}

export function planReports(engine: Engine, name: string, now: number): readonly PlanReport[] {
  const settings = engine.settingsOf(name)
  const peer = engine.peersByName.get(name)!
  const facts = peer.current?.facts ?? peer.facts
  return Object.values(settings.children).map(child => engine.report(settings, child, facts, now))
}
