import { Rig } from '../../plugins/linux-fast/rig.ts'

Rig.threads = 2
// all that holds for one thread holds for two
await import('./linux-fast.test.ts')
