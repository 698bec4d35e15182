import { test } from 'vitest'
import { tun } from '../../../plugins/tun/index.ts'
import { pluginSuite } from '../../kit/index.ts'

// a TUN device needs root and a kernel: what it does when open is in test/interop
pluginSuite(() => tun(), { test })
