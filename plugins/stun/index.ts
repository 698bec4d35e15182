import 'reflect-metadata'
import { CLOCK, NAT_DETECTOR, type Plugin } from '../../core/contracts/plugin.ts'
import { StunListener } from './listener.ts'
import { endpointsOf, type StunOptions, settingsOf } from './options.ts'
import { StunService } from './service.ts'

export { Binding, type BindingIn, type BindingOut } from './binding.ts'
export type { Verdict } from './classify.ts'
export { type DetectOptions, detectNat } from './detect.ts'
export { Detection, type DetectionIn, type DetectionOptions, type DetectionOut, type Report } from './detection.ts'
export type { Behaviour, NatKind, StunFacts } from './facts.ts'
export { parseServer, type ServerName, type StunOptions } from './options.ts'
export { type ProbeOutcome, type ProbeRecord, showProbe } from './probe.ts'
export { type ServerIn, type ServerOptions, type ServerOut, StunServer } from './server.ts'

/**
 * STUN (RFC 8489, 3489, 5780): mapped addresses of IKE's sockets as candidates, the NAT's behaviour as facts, and a server
 * for others where `serve` says so.
 *
 * @throws UsageError USAGE_STUN_OPTION, USAGE_STUN_SERVER
 */
export const stun = (options: StunOptions = {}): Plugin => {
  const settings = settingsOf(options)
  let listener: StunListener | undefined
  return {
    name: 'stun',
    api: 1,
    requires: [CLOCK],
    register: container => {
      container.register(NAT_DETECTOR, {
        useValue: {
          name: 'stun',
          finds: [
            'localNatKind',
            'localNatMapping',
            'localNatFiltering',
            'localHairpin',
            'localPortAllocation',
            'localPortStep',
            'localPortParity',
            'udpFragments',
          ],
          tasks: () => [],
          serve: ({ rng }) => new StunService(settings, rng),
        },
      })
    },
    start: async container => {
      if (settings.serve.length === 0) return
      const { ratePerSource, rate } = settings
      listener = await StunListener.open(
        { endpoints: endpointsOf(settings.serve), ratePerSource, rate },
        container.resolve(CLOCK),
      )
    },
    stop: async () => {
      await listener?.close()
      listener = undefined
    },
  }
}
