import { describe } from 'vitest'
import { kernelVectorSuite } from '../../plugins/linux-fast/kernel-vectors.ts'
import { contractSuite, differentialSuite, modeCases, noiseSuite } from '../../plugins/linux-fast/suites.ts'
import { addAddresses, ESP_V4, ESP_V6, leaveNetwork } from './own-network.ts'

leaveNetwork()
addAddresses(100)

describe.each([ESP_V4, ESP_V6])('$name', outer => {
  contractSuite(outer)
  differentialSuite(outer, modeCases(outer === ESP_V4 ? 4 : 6))
  noiseSuite(outer, 40)
  kernelVectorSuite(outer)
})
