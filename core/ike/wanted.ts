import type { ChildSettings } from '../contracts/settings.ts'
import type { IkeSa } from './ike-sa.ts'

/** The Child SAs to negotiate as soon as the IKE SA stands, in this order: the first one in IKE_AUTH. */
export function wantedChildren(sa: IkeSa): readonly ChildSettings[] {
  if (sa.wanted !== undefined) return sa.wanted
  const all = Object.values(sa.settings!.children)
  const wanted = all.filter(child => child.start === 'connect')
  return wanted.length > 0 ? wanted : all.slice(0, 1)
}
