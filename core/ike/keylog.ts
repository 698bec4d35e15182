import { IpProtocol } from '../wire/index.ts'
import type { ChildSa } from './host.ts'
import type { IkeSa } from './ike-sa.ts'
import type { DirectionKeys } from './keys.ts'

/** Key material as `keys` events, for decoding captures; made for those only who have asked for them. */

const hex = (bytes: Uint8Array): string => Array.from(bytes, b => b.toString(16).padStart(2, '0')).join('')
const whole = ({ encr, salt }: DirectionKeys): string => hex(encr) + hex(salt)
const spi64 = (spi: bigint): string => spi.toString(16).padStart(16, '0')

export function reportIkeKeys(sa: IkeSa): void {
  if (!sa.host.listens('keys')) return
  const { suite, keys } = sa.channel!
  sa.effect({
    type: 'keys',
    line: {
      type: 'ike',
      spii: spi64(sa.initiatorSpi),
      spir: spi64(sa.responderSpi),
      encr: `${suite.encr}/${suite.keyBits ?? 0}`,
      integ: String(suite.integ ?? 0),
      sk_ei: whole(keys.initiator),
      sk_er: whole(keys.responder),
      sk_ai: hex(keys.initiator.integ),
      sk_ar: hex(keys.responder.integ),
    },
  })
}

export function reportChildKeys(sa: IkeSa, { suite, inbound, outbound }: ChildSa): void {
  // AH hides nothing
  if (suite.protocol === IpProtocol.AH || !sa.host.listens('keys')) return
  const { local, remote } = sa.flow
  const directions = [
    { keys: inbound, src: remote.address, dst: local.address },
    { keys: outbound, src: local.address, dst: remote.address },
  ]
  for (const { keys, src, dst } of directions)
    sa.effect({
      type: 'keys',
      line: {
        type: 'esp',
        src,
        dst,
        spi: keys.spi.toString(16).padStart(8, '0'),
        encr: `${suite.encr}/${suite.keyBits ?? 0}`,
        integ: String(suite.integ ?? 0),
        esn: String(suite.esn),
        encrKey: whole(keys),
        integKey: hex(keys.integ),
      },
    })
}
