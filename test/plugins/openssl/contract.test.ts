import { test } from 'vitest'
import { openssl } from '../../../plugins/openssl/index.ts'
import { cryptoSuite, pluginSuite } from '../../kit/index.ts'

pluginSuite(() => openssl(), { test })
cryptoSuite(() => openssl(), { test })
