import { NAT_DETECTOR, type Plugin } from '../../core/contracts/plugin.ts'
import { MappingLifetime } from './service.ts'

/** Measures how long the NAT in front of this host remembers a silent mapping, as the fact `mappingLifetime`. */
export const mappingLifetime = (): Plugin => ({
  name: 'mapping-lifetime',
  api: 1,
  register: container => {
    container.register(NAT_DETECTOR, {
      useValue: {
        name: 'mapping-lifetime',
        finds: ['mappingLifetime'],
        tasks: () => [],
        serve: ({ rng }) => new MappingLifetime(rng),
      },
    })
  },
})
