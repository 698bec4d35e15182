import type { Plugin } from '../core/contracts/plugin.ts'
import { beet } from './beet/index.ts'
import { dhcp } from './dhcp/index.ts'
import { eapMschapv2 } from './eap-mschapv2/index.ts'
import { eapTls } from './eap-tls/index.ts'
import { holePunch } from './hole-punch/index.ts'
import { ikeMe } from './ike-me/index.ts'
import { type LinuxFastOptions, linuxFast } from './linux-fast/index.ts'
import { mappingLifetime } from './mapping-lifetime/index.ts'
import { memory } from './memory/index.ts'
import { noble } from './noble/index.ts'
import { nodeCrypto } from './node-crypto/index.ts'
import { openssl } from './openssl/index.ts'
import { portMapping } from './port-mapping/index.ts'
import { type StunOptions, stun } from './stun/index.ts'
import { type TcpEncapOptions, tcpEncap } from './tcp-encap/index.ts'
import { type TunOptions, tun } from './tun/index.ts'
import { turn } from './turn/index.ts'
import { type UdpOptions, udp } from './udp/index.ts'
import { udpEncap } from './udp-encap/index.ts'
import { x509 } from './x509/index.ts'

export interface DefaultsOptions {
  readonly udp?: UdpOptions
  /** Servers to ask; without any nobody is asked. */
  readonly stun?: StunOptions
  /** False: no device; inner packets then need another one, or nobody sends any. */
  readonly tun?: TunOptions | false
  readonly linuxFast?: LinuxFastOptions
  /** Without it peers are called over TCP where UDP does not get through, and nobody can call. */
  readonly tcpEncap?: TcpEncapOptions
}

/**
 * The usual set, in the order that counts: OpenSSL's cryptography before the portable one, the fast data plane, system
 * sockets, a TUN device, state in memory, UDP and TCP encapsulation, BEET mode, certificates, mediation, STUN.
 *
 * @example createNatweave({ plugins: [...defaults(), myPlugin()], settings })
 */
export const defaults = (options: DefaultsOptions = {}): Plugin[] => [
  openssl(),
  nodeCrypto(),
  noble(),
  // it moves packets between both
  ...(options.tun === false ? [] : [linuxFast(options.linuxFast)]),
  udp(options.udp),
  ...(options.tun === false ? [] : [tun(options.tun)]),
  memory(),
  udpEncap(),
  mappingLifetime(),
  tcpEncap(options.tcpEncap),
  beet(),
  x509(),
  eapMschapv2(),
  eapTls(),
  dhcp(),
  ikeMe(),
  stun(options.stun),
]

export {
  beet,
  dhcp,
  eapMschapv2,
  holePunch,
  ikeMe,
  linuxFast,
  mappingLifetime,
  memory,
  noble,
  nodeCrypto,
  openssl,
  portMapping,
  stun,
  tcpEncap,
  tun,
  turn,
  udp,
  udpEncap,
  x509,
}
