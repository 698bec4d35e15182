import { existsSync } from 'node:fs'
import { CHARON } from './charon.ts'
import type { Lab } from './lab.ts'
import { run } from './process.ts'

/** Command → Debian 12 package. */
const TOOLS: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  ethtool: 'ethtool',
  nft: 'nftables',
  conntrack: 'conntrack',
  sysctl: 'procps',
  unshare: 'util-linux',
  tcpdump: 'tcpdump',
  tshark: 'tshark',
  ping: 'iputils-ping',
  swanctl: 'strongswan-swanctl',
  turnserver: 'coturn',
  stun: 'stun-client',
  miniupnpd: 'miniupnpd-nftables',
  upnpc: 'miniupnpc',
  ss: 'iproute2',
}

const FILES: Readonly<Record<string, string>> = {
  [CHARON]: 'strongswan-charon',
  '/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so': 'libcharon-extra-plugins',
  '/usr/lib/ipsec/plugins/libstrongswan-openssl.so': 'libstrongswan-standard-plugins',
  '/usr/lib/ipsec/plugins/libstrongswan-curve25519.so': 'libstrongswan-extra-plugins',
  '/dev/net/tun': '(no package: the TUN device; "modprobe tun", or give it to the container)',
}

/** Why the suite cannot run here, in words with the remedy; undefined when it can. */
export async function obstacle(lab: Lab): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'needs Linux: network namespaces, nftables and TUN'
  if (process.getuid?.() !== 0) return 'must run as root, to make network namespaces, NATs and TUN devices'
  const path = (process.env.PATH ?? '').split(':')
  const missing = [
    ...Object.entries(TOOLS).filter(([tool]) => !path.some(directory => existsSync(`${directory}/${tool}`))),
    ...Object.entries(FILES).filter(([file]) => !existsSync(file)),
  ]
  if (missing.length > 0) {
    const packages = new Set(missing.map(([, name]) => name))
    return `missing ${missing.map(([what]) => what).join(', ')}; on Debian 12: apt-get install ${[...packages].join(' ')}`
  }
  const namespace = `${lab.prefix}-try`
  const made = await run(['ip', 'netns', 'add', namespace])
  if (made.code !== 0) return `no network namespaces here (CAP_SYS_ADMIN?): ${made.stderr.trim()}`
  const nat = 'table ip t { chain c { type nat hook postrouting priority srcnat; masquerade; }; }'
  const rules = await run(['ip', 'netns', 'exec', namespace, 'nft', nat])
  const conntrack = await run(['ip', 'netns', 'exec', namespace, 'conntrack', '-F'])
  await run(['ip', 'netns', 'delete', namespace])
  if (rules.code !== 0) return `the kernel has no NAT by nftables: ${rules.stderr.trim()}`
  if (conntrack.code !== 0) return `the kernel has no conntrack: ${conntrack.stderr.trim()}`
  return undefined
}
