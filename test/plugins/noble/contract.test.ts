import { test } from 'vitest'
import { noble } from '../../../plugins/noble/index.ts'
import { cryptoSuite, pluginSuite } from '../../kit/index.ts'

pluginSuite(() => noble(), { test })
cryptoSuite(() => noble(), { test })
