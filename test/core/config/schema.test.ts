import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { configSchema } from '../../../core/config/index.ts'

const FILE = new URL('../../../core/config/natweave.schema.json', import.meta.url)

/** After a change of the schema: `node --import tsx core/config/write-schema.ts`. */
test('the JSON Schema for editors is that of the code', () => {
  expect(JSON.parse(readFileSync(FILE, 'utf8'))).toEqual(configSchema())
})

test('it knows keys, words, patterns and what a peer needs', () => {
  expect(configSchema()).toMatchObject({
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    additionalProperties: false,
    properties: {
      peers: {
        additionalProperties: {
          additionalProperties: false,
          properties: { start: { enum: ['connect', 'wait'], default: 'wait' } },
        },
      },
    },
  })
})
