import 'reflect-metadata'
import { parseConfig } from '../../../core/config/index.ts'
import { createNatweave } from '../../../core/index.ts'
import { defaults } from '../../../plugins/index.ts'
import { LOAD } from './handshake.ts'

/** natweave as the responder of a load: the usual plugins, without a device, since no packets come. */

const { settings } = parseConfig(
  {
    peers: {
      clients: {
        localId: LOAD.gateway,
        remoteId: '*',
        psk: LOAD.psk,
        proposals: [LOAD.ike],
        encapsulation: 'force',
        children: { net: { local: [LOAD.local], remote: [LOAD.remote], proposals: [LOAD.esp] } },
      },
    },
  },
  {
    env: {},
    readFile: name => {
      throw new Error(`${name}: no files here`)
    },
  },
)
const natweave = createNatweave({ plugins: defaults({ tun: false }), settings })
await natweave.start()
process.on('SIGTERM', () => process.exit(0))
console.log('ready')
