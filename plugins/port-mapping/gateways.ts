import { readFileSync } from 'node:fs'
import type { Address } from '../../core/contracts/net.ts'

const ROUTES = '/proc/net/route'

/** Default routers of this Linux host for IPv4; none where that cannot be told. */
export function systemGateways(): readonly Address[] {
  let text: string
  try {
    text = readFileSync(ROUTES, 'latin1')
  } catch {
    return []
  }
  return defaultRouters(text)
}

/** @param text - as in /proc/net/route: addresses as numbers of the machine's own byte order, which is little-endian */
export function defaultRouters(text: string): readonly Address[] {
  const routers = text
    .split('\n')
    .slice(1)
    .flatMap(line => {
      const [, destination, gateway = ''] = line.split('\t')
      return destination === '00000000' && /^[0-9A-F]{8}$/.test(gateway) && gateway !== '00000000' ? [gateway] : []
    })
  const dotted = (hex: string): Address => [6, 4, 2, 0].map(at => Number.parseInt(hex.slice(at, at + 2), 16)).join('.')
  return [...new Set(routers.map(dotted))]
}
