import type { DeviceState } from './contracts/device.ts'
import type { Address, Prefix } from './contracts/net.ts'
import type { Selector } from './contracts/strategy.ts'
import type { Engine } from './engine.ts'
import type { ChildSa } from './ike/host.ts'
import { fromSettings } from './ike/selectors.ts'
import { addressBytes, rangePrefixes } from './wire/index.ts'

interface Route {
  readonly to: Prefix
  readonly source?: Address
}

/** What the device must look like for the Child SAs that stand and the policies that wait for traffic. */
export function deviceState(engine: Engine, mtu: number): DeviceState {
  const addresses: Prefix[] = []
  const dns: Address[] = []
  const routes = new Map<string, Route>()
  for (const { settings, sas } of engine.peersByName.values()) {
    for (const child of Object.values(settings.children))
      if (child.start === 'trap')
        for (const selector of fromSettings(child.remoteTs, []))
          for (const [key, route] of routesTo(selector, undefined)) routes.set(key, route)
    for (const sa of sas) {
      for (const address of sa.virtual) addresses.push({ address, bits: address.includes(':') ? 128 : 32 })
      dns.push(...sa.dns)
      for (const child of sa.children.values()) for (const [key, route] of routesOf(child)) routes.set(key, route)
    }
  }
  for (const { local, remote } of engine.manual.installed)
    for (const selector of remote)
      for (const [key, route] of routesTo(selector, sourceFor(local, selector))) routes.set(key, route)
  const bypassPorts = [...new Set(engine.locals().flatMap(l => (l.protocol === 17 ? [l.port] : [])))]
  return { addresses, routes: [...routes.values()], mtu, dns, bypassPorts }
}

type KeyedRoute = readonly [key: string, route: Route]

/** A gateway of a thousand peers states all their routes whenever one comes or goes: each is worked out once. */
const known = new WeakMap<ChildSa, readonly KeyedRoute[]>()

function routesOf(child: ChildSa): readonly KeyedRoute[] {
  let found = known.get(child)
  if (found === undefined) {
    found = child.remote.flatMap(selector => routesTo(selector, sourceFor(child.local, selector)))
    known.set(child, found)
  }
  return found
}

function routesTo({ start, end }: Selector, source: Address | undefined): KeyedRoute[] {
  const prefixes = rangePrefixes({ start: addressBytes(start), end: addressBytes(end) })
  return prefixes.map(to => [`${to.address}/${to.bits}`, { to, ...(source !== undefined && { source }) }])
}

/** The one inner address of this side; where it is a network there is none to prefer. */
const sourceFor = (local: readonly Selector[], { family }: Selector): Address | undefined =>
  local.find(s => s.family === family && s.start === s.end)?.start
