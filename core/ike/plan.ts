import type { Plan } from '../contracts/strategy.ts'
import { PeerError } from '../errors.ts'
import { NotifyType } from '../wire/index.ts'
import type { IkeSa } from './ike-sa.ts'

/**
 * Chooses by what is known now.
 * @param fixed - slots that are decided already
 * @throws PeerError PLAN_NONE when nothing is left to choose
 */
export function choosePlan(sa: IkeSa, fixed: Partial<Plan> = {}): void {
  const first = Object.values(sa.settings!.children)[0]
  const { plan, why } = sa.host.plan(sa.settings!, first, sa.facts, fixed)
  if (plan === undefined)
    throw new PeerError('PLAN_NONE', `no plan is left for ${sa.peer}: ${why}`, NotifyType.NO_PROPOSAL_CHOSEN)
  const before = sa.plan
  sa.plan = plan
  if (before?.path !== plan.path || before.encap !== plan.encap || before.mode !== plan.mode)
    sa.effect({ type: 'plan', plan, why })
}
