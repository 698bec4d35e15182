import { type Plugin, STRATEGY } from '../../core/contracts/plugin.ts'
import { Beet, type BeetOptions } from './beet.ts'

/** Bound End-to-End Tunnel mode: one fixed pair of inner addresses per SA, and no inner header on the wire. */
export const beet = (options: BeetOptions = {}): Plugin => {
  const strategy = new Beet(options)
  return {
    name: 'beet',
    api: 1,
    register: container => {
      container.register(STRATEGY, { useValue: strategy })
    },
  }
}

export { Beet, type BeetOptions } from './beet.ts'
export { STRONGSWAN, type UseBeetMode } from './numbers.ts'
