import 'reflect-metadata' // tsyringe refuses to load without it
import { type InjectionToken, container as root } from 'tsyringe'
import { silentLog } from '../../../core/contracts/log.ts'
import {
  API,
  CLOCK,
  CRYPTO,
  DATA_PLANE,
  DEVICE,
  LOG,
  NAT_DETECTOR,
  type Plugin,
  RNG,
  SA_STORE,
  STRATEGY,
  TRANSPORT,
} from '../../../core/contracts/plugin.ts'
import { VirtualClock } from '../clock.ts'
import { SeededRng } from '../rng.ts'
import { check, isKebabCase, type SuiteRunner, same } from './check.ts'

export interface PluginSuiteOptions extends SuiteRunner {
  /** What `requires` names beyond log, clock and rng: registered before the plugin. */
  readonly needs?: readonly Plugin[]
}

const TOKENS: readonly InjectionToken<unknown>[] = [
  TRANSPORT,
  STRATEGY,
  NAT_DETECTOR,
  CRYPTO,
  DATA_PLANE,
  DEVICE,
  SA_STORE,
]

/** What every plugin must do, whatever it brings. */
export function pluginSuite(make: () => Plugin, { test, needs = [] }: PluginSuiteOptions): void {
  const host = () => {
    const container = root.createChildContainer()
    container.register(LOG, { useValue: silentLog })
    container.register(CLOCK, { useValue: new VirtualClock() })
    container.register(RNG, { useValue: new SeededRng('plugin suite') })
    for (const plugin of needs) plugin.register(container)
    return container
  }
  /** What tokens resolve to, all of it made. */
  const made = (container: ReturnType<typeof host>): unknown[] =>
    TOKENS.flatMap(token => (container.isRegistered(token) ? container.resolveAll(token) : []))

  test('plugin: has a kebab-case name and is written for this contract', () => {
    const { name, api } = make()
    check(isKebabCase(name), `a kebab-case name, not "${name}"`)
    same(api, API, 'the contract version')
  })

  test('plugin: registers what can be made with what it requires, and nothing outside its container', () => {
    const plugin = make()
    const container = host()
    for (const token of plugin.requires ?? [])
      check(container.isRegistered(token), `${String(token)} to be among log, clock, rng, or \`needs\``)
    const before = made(container).length
    plugin.register(container)
    check(made(container).length >= before, 'registrations to be added only')
    for (const token of TOKENS)
      check(!root.isRegistered(token), `nothing in the global container, but ${String(token)} is`)
    // asked twice, it is the same thing: transports and devices hold sockets
    const [once, again] = [made(container), made(container)]
    check(
      once.every((part, i) => part === again[i]),
      'each registration to make one object',
    )
  })

  test('plugin: two of it, in two containers, do not meet', () => {
    const [one, other] = [host(), host()]
    make().register(one)
    make().register(other)
    same(made(one).length, made(other).length, 'what two containers hold')
  })
}
