import { createNatweave } from 'natweave'
import { parseConfig } from 'natweave/config'
import { defaults } from 'natweave/plugins'

// natweave as the responder of a load: as it is built, with the usual plugins, without a device since no packets come. Its
// argument is the configuration as JSON.

const { settings } = parseConfig(JSON.parse(process.argv[2]), {
  env: {},
  readFile: name => {
    throw new Error(`${name}: no files here`)
  },
})
const natweave = createNatweave({ plugins: defaults({ tun: false }), settings })
await natweave.start()
process.on('SIGTERM', () => process.exit(0))
console.log('ready')
