import { type InjectionToken, container as root } from 'tsyringe'
import { describe, expect, test } from 'vitest'
import { createContainer, PluginHost, resolveAll, resolveLast } from '../../core/container.ts'
import { silentLog } from '../../core/contracts/log.ts'
import { LOG, NAT_DETECTOR, type Plugin, RNG, SA_STORE, STRATEGY, TRANSPORT } from '../../core/contracts/plugin.ts'
import { MemoryStore, memory } from '../../plugins/memory/index.ts'
import { udpEncap } from '../../plugins/udp-encap/index.ts'

/** A plugin that writes down what is done with it. */
const plugin = (name: string, story: string[], part: Partial<Plugin> = {}): Plugin => ({
  name,
  api: 1,
  register: () => void story.push(`register ${name}`),
  start: async () => void story.push(`start ${name}`),
  stop: async () => void story.push(`stop ${name}`),
  ...part,
})

const broken = (): never => {
  throw new Error('no such luck')
}

const rejection = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'no error',
    (error: unknown) => error,
  )

describe('the container', () => {
  test('builds cannot see each other, nor does anything reach the global container', () => {
    const [one, two] = [createContainer(), createContainer()]
    const plugins = [udpEncap(), memory()]
    for (const container of [one, two]) new PluginHost(plugins).register(container)
    one.register(LOG, { useValue: silentLog })
    expect(resolveAll(one, STRATEGY)).toHaveLength(1)
    expect(resolveAll(two, STRATEGY)).toHaveLength(1)
    expect(resolveLast(one, SA_STORE)).not.toBe(resolveLast(two, SA_STORE))
    expect(two.isRegistered(LOG, true)).toBe(false)
    const tokens: InjectionToken[] = [STRATEGY, NAT_DETECTOR, SA_STORE, LOG]
    for (const token of tokens) expect(root.isRegistered(token)).toBe(false)
  })

  test('all registrations in their order; none where nobody registers', () => {
    const container = createContainer()
    expect(resolveAll(container, SA_STORE)).toEqual([])
    expect(resolveLast(container, SA_STORE)).toBeUndefined()
    const stores = [new MemoryStore(), new MemoryStore()]
    for (const store of stores) new PluginHost([memory({ store })]).register(container)
    expect(resolveAll(container, SA_STORE)).toEqual(stores)
    expect(resolveLast(container, SA_STORE)).toBe(stores[1])
  })
})

describe('the plugin host', () => {
  test('registers and starts in order, stops in reverse, once', async () => {
    const story: string[] = []
    const host = new PluginHost([plugin('a', story), plugin('b', story), plugin('c', story)])
    expect(host.names).toEqual(['a', 'b', 'c'])
    host.register(createContainer())
    await host.start()
    await host.stop()
    await host.stop()
    const [register, start, stop] = ['register', 'start', 'stop'].map(verb => ['a', 'b', 'c'].map(n => `${verb} ${n}`))
    expect(story).toEqual([...register!, ...start!, ...stop!.reverse()])
  })

  test.each(['Stun', 'stun_client', '-stun', 'stun-', '', 'st un', '1stun'])('refuses the name "%s"', name => {
    expect(() => new PluginHost([plugin(name, [])])).toThrow(
      expect.objectContaining({ code: 'PLUGIN_NAME', message: `plugins[0]: "${name}" is no kebab-case plugin name` }),
    )
  })

  test('refuses what is no plugin at all', () => {
    expect(() => new PluginHost([undefined as unknown as Plugin])).toThrow(
      expect.objectContaining({ code: 'PLUGIN_NAME' }),
    )
  })

  test('refuses the same name twice', () => {
    expect(() => new PluginHost([plugin('stun', []), plugin('stun', [])])).toThrow(
      expect.objectContaining({ code: 'PLUGIN_DUPLICATE', message: expect.stringContaining('plugin "stun"') }),
    )
  })

  test('refuses a plugin of another contract version', () => {
    expect(() => new PluginHost([plugin('stun', [], { api: 2 })])).toThrow(
      expect.objectContaining({
        code: 'PLUGIN_API',
        message: 'plugin "stun" was written for contract 2, this natweave has 1; update one of them',
      }),
    )
  })

  test('refuses a plugin whose needs nobody before it registers', () => {
    const story: string[] = []
    const transport: Partial<Plugin> = {
      register: container => void container.register(TRANSPORT, { useValue: {} as never }),
    }
    const needy = plugin('needy', story, { requires: [LOG, TRANSPORT] })
    const container = createContainer().register(LOG, { useValue: silentLog })
    expect(() => new PluginHost([needy, plugin('udp', story, transport)]).register(container)).toThrow(
      expect.objectContaining({
        code: 'PLUGIN_REQUIRES',
        message: 'plugin "needy" needs natweave/1/transport, which no plugin before it registers',
      }),
    )
    expect(story).toEqual([])
    new PluginHost([plugin('udp', story, transport), needy]).register(container)
    expect(story).toEqual(['register needy'])
  })

  test('says which plugin did not register, with the cause', () => {
    const host = new PluginHost([plugin('a', []), plugin('stun', [], { register: broken })])
    expect(() => host.register(createContainer())).toThrow(
      expect.objectContaining({
        code: 'PLUGIN_REGISTER',
        message: 'plugin "stun" does not register: no such luck',
        cause: expect.objectContaining({ message: 'no such luck' }),
      }),
    )
  })

  test('says which plugin did not start, after stopping those that did', async () => {
    const story: string[] = []
    const host = new PluginHost([
      plugin('a', story),
      plugin('b', story, { stop: broken }),
      plugin('stun', story, { start: broken }),
      plugin('d', story),
    ])
    host.register(createContainer())
    story.length = 0
    expect(await rejection(host.start())).toMatchObject({
      code: 'PLUGIN_START',
      message: 'plugin "stun" does not start: no such luck',
    })
    expect(story).toEqual(['start a', 'start b', 'stop a'])
  })

  test('stops all, then names the first that did not stop', async () => {
    const story: string[] = []
    const host = new PluginHost([plugin('a', story), plugin('b', story, { stop: broken }), plugin('c', story)])
    host.register(createContainer())
    await host.start()
    story.length = 0
    expect(await rejection(host.stop())).toMatchObject({
      code: 'PLUGIN_STOP',
      message: 'plugin "b" does not stop: no such luck',
    })
    expect(story).toEqual(['stop c', 'stop a'])
  })

  test('hands the container to those that start', async () => {
    const container = createContainer().register(RNG, { useValue: { bytes: length => new Uint8Array(length) } })
    let seen: unknown
    const start: Plugin['start'] = async given => {
      seen = given.resolve(RNG).bytes(2)
    }
    const host = new PluginHost([plugin('stun', [], { requires: [RNG], start })])
    host.register(container)
    await host.start()
    expect(seen).toEqual(new Uint8Array(2))
  })
})
