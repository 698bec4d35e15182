import { existsSync } from 'node:fs'

/** The command as the package has it. By tsx it is slower: each function is given its name anew. */
export const MAIN = new URL('../../dist/core/cli/main.js', import.meta.url).pathname

// who starts the command takes it from here; so this file comes before those that do
process.env.NATWEAVE_CLI ??= MAIN

/** Why there is no command to measure, in words. */
export const unbuilt = (): string | undefined =>
  existsSync(process.env.NATWEAVE_CLI ?? MAIN) ? undefined : 'the package is not built: npm run build'
