import 'reflect-metadata'
import { NAT_DETECTOR, type Plugin, type PluginFactory, SERVICE, TRANSPORT } from '../../core/contracts/plugin.ts'
import { TurnClient } from './client.ts'
import { RELAY_AVAILABLE } from './facts.ts'
import { parseOptions, type TurnOptions } from './options.ts'
import { TurnRelay } from './relay.ts'
import { Streams } from './streams.ts'

export type { ServeOptions, TurnOptions, TurnServerOptions } from './options.ts'

const make = (options: TurnOptions = {}): Plugin => {
  const settings = parseOptions(options)
  const { servers, serve } = settings
  return {
    name: 'turn',
    api: 1,
    register: container => {
      if (servers.length > 0)
        container.register(NAT_DETECTOR, {
          useValue: {
            name: 'turn',
            finds: [RELAY_AVAILABLE],
            tasks: () => [],
            serve: context => new TurnClient(context, settings),
          },
        })
      if (servers.some(({ transport }) => transport !== 'udp'))
        container.register(TRANSPORT, { useValue: new Streams(servers) })
      if (serve !== undefined) container.register(SERVICE, { useValue: context => new TurnRelay(context, serve) })
    },
  }
}

/**
 * TURN, RFC 8656: a relayed candidate from each of `servers`, and with `serve` this host as a relay for others.
 *
 * @throws ConfigError naming the option
 */
export const turn: PluginFactory<TurnOptions> = Object.assign(make, {
  secrets: ['servers.*.password', 'serve.users.*'],
})
