// Protocol code is handed its time and its randomness. Fails when a file of it reaches for a clock, a timer, the system's
// random numbers, or the process, none of which an import rule can see.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const folders = ['core/wire', 'core/ike', 'core/ipsec', 'core/path', 'core/policy']
/** The rim of core, which is where the outside comes in. */
const rim = ['runtime.ts', 'container.ts', 'create.ts', 'index.ts', 'system.ts']
const files = readdirSync('core')
  .filter(name => name.endsWith('.ts') && !rim.includes(name))
  .map(name => join('core', name))
const impure =
  /\b(Date\.now|new Date\b|Math\.random|performance\.|setTimeout|setInterval|setImmediate|queueMicrotask|getRandomValues|randomUUID|process\.|console\.)/

const sources = folders.flatMap(folder =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).map(name => join(folder, name)),
)
const found = [...sources, ...files]
  .filter(file => file.endsWith('.ts'))
  .flatMap(file =>
    readFileSync(file, 'utf8')
      .split('\n')
      .flatMap((line, i) => (impure.test(line) ? [`${file}:${i + 1}: ${line.trim()}`] : [])),
  )
if (found.length > 0) {
  console.error(`protocol code must not touch the outside:\n${found.join('\n')}`)
  process.exit(1)
}
