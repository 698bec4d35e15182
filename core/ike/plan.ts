import type { Facts } from '../contracts/facts.ts'
import type { PeerSettings } from '../contracts/settings.ts'
import type { Plan } from '../contracts/strategy.ts'
import { PeerError } from '../errors.ts'
import { NotifyType } from '../wire/index.ts'
import type { ChosenPlan, IkeHost, PlanHistory } from './host.ts'
import type { IkeSa } from './ike-sa.ts'

/**
 * The plan an IKE SA is made for: that of the first child that has one. A child that nothing can carry (AH behind a NAT)
 * does not keep the others down.
 */
export function planFor(
  host: Pick<IkeHost, 'plan'>,
  settings: PeerSettings,
  facts: Facts,
  fixed: Partial<Plan> = {},
  history?: PlanHistory,
): ChosenPlan {
  let refused: ChosenPlan | undefined
  for (const child of Object.values(settings.children)) {
    const chosen = host.plan(settings, child, facts, fixed, history)
    if (chosen.plan !== undefined) return chosen
    refused ??= chosen
  }
  return refused ?? host.plan(settings, undefined, facts, fixed, history)
}

/**
 * Chooses by what is known now.
 * @param fixed - slots that are decided already
 * @throws PeerError PLAN_NONE when nothing is left to choose
 */
export function choosePlan(sa: IkeSa, fixed: Partial<Plan> = {}): void {
  const { plan, why } = planFor(sa.host, sa.settings!, sa.facts, fixed)
  if (plan === undefined)
    throw new PeerError('PLAN_NONE', `no plan is left for ${sa.peer}: ${why}`, NotifyType.NO_PROPOSAL_CHOSEN)
  const before = sa.plan
  sa.plan = plan
  if (before?.path !== plan.path || before.encap !== plan.encap || before.mode !== plan.mode)
    sa.effect({ type: 'plan', plan, why })
}
