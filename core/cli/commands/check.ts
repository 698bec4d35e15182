import { loadConfig } from '../../config/index.ts'
import { silentLog } from '../../contracts/log.ts'
import { showIdentity } from '../../ike/identity.ts'
import { build } from '../build.ts'
import { Exit } from '../exit.ts'
import { guarded } from '../output.ts'
import { renderFindings, renderReach } from '../render.ts'

export interface CheckFlags {
  readonly config?: string
  readonly json: boolean
}

/** Reads the configuration and loads the plugins, opens nothing; says what can be proved without a network. */
export default async function check(this: unknown, flags: CheckFlags): Promise<void> {
  await guarded(flags.json, async out => {
    const config = await loadConfig({ file: flags.config })
    const report = (await build(config, silentLog)).check()
    const failed = report.findings.some(({ severity }) => severity === 'error')
    const peers = Object.values(config.settings.peers)
    if (flags.json) {
      out.json({ ok: !failed, file: config.file, peers: peers.map(p => p.name), ...report })
      return failed ? Exit.CONFIG : Exit.OK
    }
    out.line(`${failed ? out.colours.red('NOT OK') : out.colours.green('OK')} ${config.file}`)
    for (const line of renderFindings(report.findings, out)) out.line(line)
    for (const peer of peers) {
      const how =
        peer.start === 'connect'
          ? 'connects at start'
          : peer.remote === undefined
            ? 'waits to be called'
            : 'waits for natweave connect'
      out.line(
        `  ${out.colours.bold(peer.name)}: ${showIdentity(peer.localId)} ↔ ${showIdentity(peer.remoteId)} at ${peer.remote ?? 'any address'}, ${how}`,
      )
      for (const child of Object.values(peer.children)) out.line(`    ${child.name}: mode ${child.mode}`)
      for (const line of renderReach(report.reach.find(r => r.peer === peer.name)!, out)) out.line(line)
    }
    return failed ? Exit.CONFIG : Exit.OK
  })
}
