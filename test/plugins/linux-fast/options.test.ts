import { availableParallelism } from 'node:os'
import { expect, test } from 'vitest'
import { linuxFast } from '../../../plugins/linux-fast/index.ts'
import { sidesOf } from '../../../plugins/linux-fast/options.ts'

test('two threads have a direction each; how many is the machine’s matter unless it is said', () => {
  expect(sidesOf({ threads: 1 })).toEqual(['both'])
  expect(sidesOf({ threads: 2 })).toEqual(['in', 'out'])
  expect(sidesOf({})).toEqual(sidesOf({ threads: availableParallelism() >= 4 ? 2 : 1 }))
})

test.each([
  [{ threads: 3 }, 'threads: 3; 1, or 2 for one each way, is wanted'],
  [{ threads: '2' }, 'threads: "2"; 1, or 2 for one each way, is wanted'],
  [{ thread: 2 }, 'thread: no such option; there is: threads'],
])('%j is refused', (options, message) => {
  expect(() => linuxFast(options as object)).toThrow(
    expect.objectContaining({ code: 'USAGE_OPTION', message: expect.stringContaining(message) }),
  )
})
