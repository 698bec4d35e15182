import { test } from 'vitest'
import { nodeCrypto } from '../../../plugins/node-crypto/index.ts'
import { cryptoSuite, pluginSuite } from '../../kit/index.ts'

pluginSuite(() => nodeCrypto(), { test })
cryptoSuite(() => nodeCrypto(), { test })
