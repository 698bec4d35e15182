import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { publishedVectors } from '../crypto-vectors.ts'

publishedVectors(nodeCryptoProvider)
