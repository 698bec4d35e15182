import { createContainer, PluginHost, resolveAll, resolveLast } from './container.ts'
import { type Log, silentLog } from './contracts/log.ts'
import type { Clock, Rng } from './contracts/machine.ts'
import type { Natweave } from './contracts/natweave.ts'
import {
  CLOCK,
  CREDENTIALS,
  CRYPTO,
  DATA_PLANE,
  DEVICE,
  EAP_METHOD,
  LOG,
  NAT_DETECTOR,
  type Plugin,
  RNG,
  SA_STORE,
  SERVICE,
  STRATEGY,
  TRANSPORT,
} from './contracts/plugin.ts'
import type { Settings } from './contracts/settings.ts'
import { resolveCredentials } from './credentials.ts'
import { Engine } from './engine.ts'
import { UsageError } from './errors.ts'
import { combineProviders } from './ike/suite.ts'
import { Transport as TransportMode } from './ipsec/modes/transport.ts'
import { Tunnel } from './ipsec/modes/tunnel.ts'
import { direct } from './path/direct.ts'
import { none } from './path/none.ts'
import { checkRules } from './policy/rules.ts'
import { Runtime } from './runtime.ts'
import { systemClock, systemRng } from './system.ts'

export interface NatweaveOptions {
  /** Registered, started in this order; stopped in reverse. `defaults()` of natweave/plugins is the usual set. */
  readonly plugins: readonly Plugin[]
  /** From `parseConfig` or `loadConfig`, or made by hand. */
  readonly settings: Settings
  readonly log?: Log
  /** The virtual internet brings its own. */
  readonly clock?: Clock
  readonly rng?: Rng
  /** Octets of the largest inner packet; default 1400, which fits every plan over a path of 1500. */
  readonly mtu?: number
  /** Lower the MSS in TCP's SYN packets to what fits the tunnel; default true. */
  readonly clampMss?: boolean
}

const DEFAULT_MTU = 1_400

/**
 * Composes one build: an own container, the plugins, the engine.
 *
 * @throws NatweaveError PLUGIN_… naming the plugin, ConfigError for rules over strategies that are not loaded,
 *   UsageError USAGE_NO_CRYPTO, USAGE_NO_TRANSPORT
 */
export function createNatweave(options: NatweaveOptions): Natweave {
  const { plugins, settings, log = silentLog, clock = systemClock, rng = systemRng } = options
  const sizes = { mtu: options.mtu ?? DEFAULT_MTU, clampMss: options.clampMss ?? true }
  const container = createContainer()
  container.register(LOG, { useValue: log })
  container.register(CLOCK, { useValue: clock })
  container.register(RNG, { useValue: rng })
  const host = new PluginHost(plugins)
  host.register(container)
  const transports = resolveAll(container, TRANSPORT)
  if (transports.length === 0) throw new UsageError('USAGE_NO_TRANSPORT', 'no transport is loaded; add the plugin udp')
  const [plugged, detectors, services] = [host.parts(STRATEGY), host.parts(NAT_DETECTOR), host.parts(SERVICE)]
  const strategies = [direct, none, new Tunnel(), new TransportMode(), ...plugged.map(([part]) => part)]
  checkRules(settings.policy.rules, strategies)
  const store = resolveLast(container, SA_STORE)
  const time = resolveLast(container, CLOCK)!
  const engine: Engine = new Engine({
    settings,
    strategies,
    detectors: detectors.map(([part]) => part),
    services: services.map(([part]) => part),
    owners: new Map<unknown, string>([...plugged, ...detectors, ...services]),
    planes: resolveAll(container, DATA_PLANE),
    crypto: combineProviders(resolveAll(container, CRYPTO)),
    rng: resolveLast(container, RNG)!,
    credentials: resolveCredentials(settings, resolveAll(container, CREDENTIALS), resolveAll(container, EAP_METHOD)),
    wall: now => time.wall() + now - time.now(),
    sizes,
    outlet: {
      transmit: (packet, flow) => runtime.transmit(packet, flow),
      deliver: packet => runtime.deliver(packet),
      event: event => runtime.event(event),
      listens: type => runtime.listens(type),
      deviceChanged: () => runtime.deviceChanged(),
      run: action => runtime.run(action),
      fetch: (wish, answered) => runtime.fetch(wish, answered),
    },
  })
  const device = resolveLast(container, DEVICE)
  const runtime: Runtime = new Runtime({
    engine,
    transports,
    device,
    store,
    clock: time,
    log,
    host,
    sizes,
  })
  return runtime
}
