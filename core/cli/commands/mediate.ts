import { loadConfig } from '../../config/index.ts'
import { ConfigError } from '../../errors.ts'
import { guarded } from '../output.ts'
import { detach, run, type UpFlags } from './up.ts'

const EXAMPLE = `a mediation server needs peers to serve:

peers:
  clients:
    remoteId: "*@example.org"
    psk: { file: mediation.key }
    options: { ike-me: { mediation: true } }`

/** A mediation server: as `up`, without a device, since it carries nobody's packets. */
export default async function mediate(this: unknown, flags: UpFlags): Promise<void> {
  await guarded(flags.json, async out => {
    const config = await loadConfig({ file: flags.config })
    const serves = Object.values(config.settings.peers).some(
      ({ options }) => Object(options?.['ike-me']).mediation === true,
    )
    if (!serves) throw new ConfigError('peers', EXAMPLE)
    return flags.detach ? detach(flags, out) : run({ ...config, device: false }, flags, out)
  })
}
