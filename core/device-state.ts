import type { DeviceState } from './contracts/device.ts'
import type { Address, Prefix } from './contracts/net.ts'
import type { Selector } from './contracts/strategy.ts'
import type { Engine } from './engine.ts'
import { fromSettings } from './ike/selectors.ts'
import { addressBytes, rangePrefixes } from './wire/index.ts'

/** What the device must look like for the Child SAs that stand and the policies that wait for traffic. */
export function deviceState(engine: Engine, mtu: number): DeviceState {
  const addresses: Prefix[] = []
  const dns: Address[] = []
  const routes = new Map<string, { to: Prefix; source?: Address }>()
  const route = (to: Prefix, source: Address | undefined): void => {
    routes.set(`${to.address}/${to.bits}`, { to, ...(source !== undefined && { source }) })
  }
  for (const { settings, sas } of engine.peersByName.values()) {
    for (const child of Object.values(settings.children))
      if (child.start === 'trap')
        for (const s of fromSettings(child.remoteTs, [])) for (const to of prefixes(s)) route(to, undefined)
    for (const sa of sas) {
      for (const address of sa.virtual) addresses.push({ address, bits: address.includes(':') ? 128 : 32 })
      dns.push(...sa.dns)
      for (const child of sa.children.values())
        for (const selector of child.remote)
          for (const to of prefixes(selector)) route(to, sourceFor(child.local, selector))
    }
  }
  const bypassPorts = [...new Set(engine.locals().flatMap(l => (l.protocol === 17 ? [l.port] : [])))]
  return { addresses, routes: [...routes.values()], mtu, dns, bypassPorts }
}

/** A gateway of a thousand peers states all their routes whenever one comes or goes: each is worked out once. */
const known = new WeakMap<Selector, readonly Prefix[]>()

function prefixes(selector: Selector): readonly Prefix[] {
  let found = known.get(selector)
  if (found === undefined) {
    found = rangePrefixes({ start: addressBytes(selector.start), end: addressBytes(selector.end) })
    known.set(selector, found)
  }
  return found
}

/** The one inner address of this side; where it is a network there is none to prefer. */
const sourceFor = (local: readonly Selector[], { family }: Selector): Address | undefined =>
  local.find(s => s.family === family && s.start === s.end)?.start
