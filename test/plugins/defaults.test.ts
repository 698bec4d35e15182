import { expect, test } from 'vitest'
import { USUAL } from '../../core/cli/build.ts'
import { defaults } from '../../plugins/index.ts'

test('the command and the library load the same usual set', () => {
  expect(defaults().map(plugin => plugin.name)).toEqual(USUAL)
})

test('without a device there is none', () => {
  expect(defaults({ tun: false }).map(plugin => plugin.name)).not.toContain('tun')
})
