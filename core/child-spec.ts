import type { ChildSaSpec, Lifetime } from './contracts/data-plane.ts'
import type { Rng } from './contracts/machine.ts'
import type { Flow } from './contracts/net.ts'
import type { ChildSettings } from './contracts/settings.ts'
import type { EncapStrategy, Mode, ModeStrategy } from './contracts/strategy.ts'
import type { ChildSa } from './ike/host.ts'
import { showIdentity } from './ike/identity.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import { TranslatedMode } from './ipsec/translate.ts'
import { addressBytes } from './wire/index.ts'

/** Soft limits come earlier than configured by up to this share, each time another, so that two ends rarely rekey at once. */
const JITTER = 0.1
const HARD_FACTOR = 1.1

function lifetime({ rekeyMs, lifeMs, rekeyOctets, rekeyPackets }: ChildSettings, rng: Rng): Lifetime {
  const early = 1 - (rng.bytes(1)[0]! / 255) * JITTER
  const never = (ms: number): number => (ms === 0 ? Infinity : ms)
  return {
    softMs: never(rekeyMs) * early,
    hardMs: lifeMs === 0 ? never(rekeyMs) * HARD_FACTOR : lifeMs,
    softOctets: rekeyOctets * early,
    hardOctets: rekeyOctets * HARD_FACTOR,
    softPackets: rekeyPackets * early,
    hardPackets: rekeyPackets * HARD_FACTOR,
  }
}

/** The IKE SA that has the children now. */
function latest(sa: IkeSa): IkeSa {
  let last = sa
  while (last.successor !== undefined) last = last.successor
  return last
}

/** Where this side sees the peer's addresses as others, the mode does the exchange. */
function translated(mode: Mode, { remote, untranslated }: ChildSa): Mode {
  if (untranslated === undefined) return mode
  return new TranslatedMode(
    mode,
    untranslated.map(({ start, end }, i) => ({
      theirs: { start: addressBytes(start), end: addressBytes(end) },
      ours: addressBytes(remote[i]!.start),
    })),
  )
}

/** What a data plane needs to carry a Child SA on this ESP flow. */
export function childSpec(
  sa: IkeSa,
  child: ChildSa,
  mode: ModeStrategy,
  encap: EncapStrategy,
  flow: Flow,
): ChildSaSpec {
  const { wireLocal, wireRemote, initiator } = child
  const context = { local: wireLocal, remote: wireRemote, initiator, facts: sa.facts, flow: () => latest(sa).carrying }
  return {
    id: child.id,
    peer: sa.peer!,
    owner: showIdentity(sa.remoteId),
    child: child.settings.name,
    plan: child.plan,
    suite: child.suite,
    inbound: child.inbound,
    outbound: child.outbound,
    mode: translated(mode.create(context), child),
    encap,
    flow,
    local: child.local,
    remote: child.remote,
    ...(child.settings.conflicts === 'flows' && { shared: true }),
    lifetime: lifetime(child.settings, sa.rng),
    replayWindow: child.settings.replayWindow,
    ...(child.settings.ahAlign !== undefined && { ahAlign: child.settings.ahAlign }),
    follow: encap.follows?.(sa.facts) ?? false,
  }
}
