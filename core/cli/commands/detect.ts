import { detectNat, type ProbeRecord, type Report, showProbe } from '../../../plugins/stun/index.ts'
import { loadConfig } from '../../config/index.ts'
import { ConfigError, UsageError } from '../../errors.ts'
import { systemClock, systemRng } from '../../system.ts'
import { Exit } from '../exit.ts'
import { guarded, type Output } from '../output.ts'
import { renderDetection } from '../render-detection.ts'

export interface DetectFlags {
  readonly server?: readonly string[]
  readonly ipv6: boolean
  readonly timeout: number
  readonly lifetime?: number
  readonly config?: string
  readonly json: boolean
}

/** Waits, ms, that tell how long an idle mapping lives: those of NATs in the field, RFC 4787's two minutes among them. */
const LIFETIMES = [0, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600].map(seconds => seconds * 1000)

/** Needs no configuration, where --server is given, no privilege and no running instance. */
export default async function detect(this: unknown, flags: DetectFlags): Promise<void> {
  await guarded(flags.json, async out => {
    if (!(flags.timeout > 0)) throw new UsageError('USAGE_TIMEOUT', `--timeout ${flags.timeout}: seconds are wanted`)
    const longest = 1000 * (flags.lifetime ?? 0)
    const interrupted = new AbortController()
    const interrupt = (): void => interrupted.abort()
    process.once('SIGINT', interrupt)
    try {
      const report = await detectNat({
        servers: flags.server ?? (await configured(flags.config)),
        family: flags.ipv6 ? 6 : 4,
        timeout: 1000 * flags.timeout,
        lifetimes: flags.lifetime === undefined ? [] : [...LIFETIMES.filter(wait => wait < longest), longest],
        clock: systemClock,
        rng: systemRng,
        signal: interrupted.signal,
        onProbe: probe => tell(probe, flags, out),
      })
      if (flags.json) out.json(report)
      else for (const line of renderDetection(report, out)) out.line(line)
      return interrupted.signal.aborted ? Exit.INTERRUPTED : exitOf(report)
    } finally {
      process.off('SIGINT', interrupt)
    }
  })
}

/** On a terminal each probe as it ends; the evidence that is printed anyway otherwise. */
function tell(probe: ProbeRecord, { json }: DetectFlags, out: Output): void {
  if (out.terminal && !json) out.line(out.colours.dim(showProbe(probe)))
}

const exitOf = ({ mapped }: Report): number => (mapped === undefined ? Exit.UNREACHABLE : Exit.OK)

/** @throws UsageError USAGE_STUN_SERVER when no server is known */
async function configured(file: string | undefined): Promise<readonly string[]> {
  const wanted = '--server HOST[:PORT] names one'
  try {
    const { servers } = (await loadConfig({ file })).stun
    if (servers.length > 0) return servers
  } catch (error) {
    if (file !== undefined || !(error instanceof ConfigError)) throw error
    throw new UsageError('USAGE_STUN_SERVER', `no STUN server is known: ${wanted}; ${error.message.split('\n')[0]}`)
  }
  throw new UsageError('USAGE_STUN_SERVER', `no STUN server is known: ${wanted}, or stun.servers in the configuration`)
}
