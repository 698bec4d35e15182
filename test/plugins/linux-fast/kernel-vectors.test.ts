import { describe } from 'vitest'
import { kernelVectorSuite } from './kernel-vectors.ts'
import { UDP_V4, UDP_V6 } from './rig.ts'

describe.each([UDP_V4, UDP_V6])('$name', kernelVectorSuite)
