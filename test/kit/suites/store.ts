import { type Plugin, SA_STORE } from '../../../core/contracts/plugin.ts'
import type { SaStore } from '../../../core/contracts/sa-store.ts'
import { type Awaitable, check, isKebabCase, partsOf, type SuiteRunner, same } from './check.ts'

export interface StoreSuiteOptions extends SuiteRunner {
  /** False: content does not outlive `close`. Default true. */
  readonly keeps?: boolean
}

/** What every `SaStore` must do. @param make - a closed, empty store, or a plugin that registers one */
export function storeSuite(make: () => Awaitable<SaStore | Plugin>, { test, keeps = true }: StoreSuiteOptions): void {
  const opened = (name: string, run: (store: SaStore) => Promise<void>): unknown =>
    test(`store: ${name}`, async () => {
      const store = partsOf(await make(), SA_STORE).at(-1)
      check(store !== undefined, 'the plugin to register a store')
      await store.open()
      try {
        await run(store)
      } finally {
        await store.close()
      }
    })

  opened('has a name and starts empty', async store => {
    check(isKebabCase(store.name), `a kebab-case name, not "${store.name}"`)
    same(await store.get('lease/nobody'), undefined, 'a key that was never set')
    same(await store.list(''), [], 'the list of an empty store')
  })

  opened('gives back what JSON can say', async store => {
    const values = [null, true, 0, -1.5, '', 'text', 'ünïcode \u{1f512}', [], [1, [2]], {}, { a: { b: [null] } }]
    for (const [i, value] of values.entries()) await store.set(`kind/${i}`, value)
    for (const [i, value] of values.entries()) same(await store.get(`kind/${i}`), value, `value ${i}`)
  })

  opened('keeps no object of its callers', async store => {
    const value = { addresses: ['10.9.0.1'] }
    await store.set('lease/alice', value)
    value.addresses.push('10.9.0.2')
    const read = (await store.get('lease/alice')) as { addresses: string[] }
    same(read.addresses, ['10.9.0.1'], 'what was stored')
    read.addresses.length = 0
    same(await store.get('lease/alice'), { addresses: ['10.9.0.1'] }, 'what is still stored')
  })

  opened('replaces and deletes', async store => {
    await store.set('lease/alice', 1)
    await store.set('lease/alice', 2)
    same(await store.get('lease/alice'), 2, 'the newer value')
    await store.delete('lease/alice')
    await store.delete('lease/alice') // nothing left to do, and no error
    same(await store.get('lease/alice'), undefined, 'a deleted key')
    same(await store.list('lease/'), [], 'the list without it')
  })

  opened('lists by prefix, literally', async store => {
    const keys = ['lease/alice', 'lease/a*ice', 'lease/a_ice', 'lease%', 'leases/bob', 'worked/net-1']
    for (const key of keys) await store.set(key, key)
    const listed = async (prefix: string) => (await store.list(prefix)).map(([key, value]) => `${key}=${value}`).sort()
    const wanted = (prefix: string) => keys.flatMap(key => (key.startsWith(prefix) ? [`${key}=${key}`] : [])).sort()
    for (const prefix of ['', 'lease/', 'lease', 'lease/a*', 'lease/a_', 'lease%', 'LEASE/', 'nothing/'])
      same(await listed(prefix), wanted(prefix), `the list of "${prefix}"`)
  })

  opened('stands calls that overlap', async store => {
    await Promise.all(Array.from({ length: 50 }, (_, i) => store.set(`many/${i}`, i)))
    same((await store.list('many/')).length, 50, 'the number of keys')
    await Promise.all(Array.from({ length: 50 }, (_, i) => store.delete(`many/${i}`)))
    same(await store.list('many/'), [], 'the list afterwards')
  })

  if (keeps)
    opened('keeps its content over close and open', async store => {
      await store.set('lease/alice', '10.9.0.1')
      await store.close()
      await store.close() // the runtime may close after a failed start
      await store.open()
      same(await store.get('lease/alice'), '10.9.0.1', 'what was stored before')
    })
}
