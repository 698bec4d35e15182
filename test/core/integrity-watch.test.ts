import { describe, expect, test } from 'vitest'
import { IntegrityWatch } from '../../core/integrity-watch.ts'
import { child } from './ike/pair.ts'

const SETTINGS = { failures: 5, windowMs: 1_000, pauseMs: 10_000 }
const sa = (id: string, state: 'installed' | 'rekeying' = 'installed') => ({ id, settings: child(), state })

/** One failure every `every` ms; @returns what was said, and when. */
function failures(
  watch: IntegrityWatch,
  { count, every, id = 'a', from = 0 }: { count: number; every: number; id?: string; from?: number },
) {
  return Array.from({ length: count }, (_, i) => {
    const at = from + i * every
    const alarm = watch.failed('sun', sa(id), i + 1, at)
    return alarm === undefined ? [] : [{ at, rekey: alarm.rekey }]
  }).flat()
}

describe('a rise of failed integrity checks', () => {
  test.each([
    { name: 'one too few', count: 4, every: 1, said: [] },
    { name: 'the limit', count: 5, every: 1, said: [{ at: 4, rekey: true }] },
    { name: 'many at once are one alarm', count: 500, every: 1, said: [{ at: 4, rekey: true }] },
    { name: 'too slow', count: 100, every: 250, said: [] },
    { name: 'again in the next window, without a rekey', count: 9, every: 200, said: [{ at: 800, rekey: true }] },
    {
      name: 'two windows',
      count: 10,
      every: 200,
      said: [
        { at: 800, rekey: true },
        { at: 1_800, rekey: false },
      ],
    },
  ])('$name', ({ count, every, said }) => {
    expect(failures(new IntegrityWatch(SETTINGS), { count, every })).toEqual(said)
  })

  test('the pause is counted for the child, whichever SA it has', () => {
    const watch = new IntegrityWatch(SETTINGS)
    expect(failures(watch, { count: 5, every: 1, id: 'a' })).toEqual([{ at: 4, rekey: true }])
    watch.forget({ id: 'a' })
    expect(failures(watch, { count: 5, every: 1, id: 'b', from: 5_000 })).toEqual([{ at: 5_004, rekey: false }])
    expect(failures(watch, { count: 5, every: 1, id: 'c', from: 20_000 })).toEqual([{ at: 20_004, rekey: true }])
  })

  test('an SA that is being rekeyed is not rekeyed again', () => {
    const watch = new IntegrityWatch({ ...SETTINGS, failures: 1 })
    expect(watch.failed('sun', sa('a', 'rekeying'), 1, 0)).toMatchObject({ rekey: false })
  })

  test('0 failures: never', () => {
    expect(failures(new IntegrityWatch({ ...SETTINGS, failures: 0 }), { count: 100, every: 1 })).toEqual([])
  })
})
