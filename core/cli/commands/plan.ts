import { loadConfig } from '../../config/index.ts'
import { silentLog } from '../../contracts/log.ts'
import type { PlanReport } from '../../contracts/natweave.ts'
import { build } from '../build.ts'
import { ask, defaultSocket, isRunning } from '../control.ts'
import { guarded } from '../output.ts'
import { renderPlans } from '../render.ts'

export interface PlanFlags {
  readonly config?: string
  readonly socket?: string
  readonly json: boolean
}

/** From the running instance, which knows the network; else from the configuration alone. */
export default async function plan(this: unknown, flags: PlanFlags, peer: string): Promise<void> {
  await guarded(flags.json, async out => {
    const socket = flags.socket ?? defaultSocket()
    const live = flags.config === undefined && (await isRunning(socket))
    const reports = live
      ? ((await ask(socket, 'plan', [peer])) as readonly PlanReport[])
      : (await build(await loadConfig({ file: flags.config }), silentLog)).plan(peer)
    if (flags.json) out.json(reports)
    else for (const line of renderPlans(reports, out)) out.line(line)
  })
}
