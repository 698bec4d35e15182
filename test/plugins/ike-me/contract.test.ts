import { test } from 'vitest'
import { ikeMe } from '../../../plugins/ike-me/index.ts'
import { pluginSuite, strategySuite } from '../../kit/index.ts'

pluginSuite(() => ikeMe(), { test })
strategySuite(() => ikeMe(), { test, facts: { mediatedBy: ['med', false] } })
