import { loadConfig } from '../../config/index.ts'
import { silentLog } from '../../contracts/log.ts'
import { showIdentity } from '../../ike/identity.ts'
import { build } from '../build.ts'
import { guarded } from '../output.ts'

export interface CheckFlags {
  readonly config?: string
  readonly json: boolean
}

/** Reads the configuration and loads the plugins, opens nothing. */
export default async function check(this: unknown, flags: CheckFlags): Promise<void> {
  await guarded(flags.json, async out => {
    const config = await loadConfig({ file: flags.config })
    await build(config, silentLog)
    const peers = Object.values(config.settings.peers)
    if (flags.json) return out.json({ ok: true, file: config.file, peers: peers.map(p => p.name) })
    out.line(`${out.colours.green('OK')} ${config.file}`)
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
    }
  })
}
