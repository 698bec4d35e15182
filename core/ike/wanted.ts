import type { ChildSettings } from '../contracts/settings.ts'
import { PeerError } from '../errors.ts'
import type { IkeSa } from './ike-sa.ts'

/** The Child SAs to negotiate as soon as the IKE SA stands, in this order: the first one in IKE_AUTH. */
export function wantedChildren(sa: IkeSa): readonly ChildSettings[] {
  if (sa.wanted !== undefined) return sa.wanted
  const all = Object.values(sa.settings!.children)
  const wanted = all.filter(child => child.start === 'connect')
  return wanted.length > 0 ? wanted : all.slice(0, 1)
}

/**
 * Whether IKE_AUTH is to make no Child SA, RFC 6023.
 * @throws PeerError where it must and the peer cannot
 */
export function goesChildless({ settings, childlessPossible }: IkeSa): boolean {
  const { childless = 'allow', name } = settings!
  if (childless === 'force' && !childlessPossible)
    throw new PeerError(
      'PEER_CHILDLESS',
      `the peer makes no IKE SA without a Child SA, and peers.${name}.childless is force; allow it there, or use prefer here`,
    )
  return childlessPossible && (childless === 'prefer' || childless === 'force')
}
