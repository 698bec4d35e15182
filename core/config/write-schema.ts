import { writeFileSync } from 'node:fs'
import { configSchema } from './schema.ts'

/** Writes the JSON Schema beside this file, for editors: `node --import tsx core/config/write-schema.ts`. */
writeFileSync(new URL('natweave.schema.json', import.meta.url), `${JSON.stringify(configSchema(), null, 2)}\n`)
