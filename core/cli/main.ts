#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { run, type StricliProcess } from '@stricli/core'
import { app } from './app.ts'
import { Exit } from './exit.ts'

/** package.json is two folders up in the sources, three in the built package. */
function version(): string {
  for (const place of ['../../package.json', '../../../package.json']) {
    try {
      const found = JSON.parse(readFileSync(new URL(place, import.meta.url), 'utf8')) as {
        name: string
        version: string
      }
      if (found.name === 'natweave') return found.version
    } catch {
      // not here: the other place
    }
  }
  return 'unknown'
}

// a reader that has seen enough (head, less) is no error
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(Exit.OK)
  throw error
})

await run(app(version()), process.argv.slice(2), { process: process as StricliProcess })
// the library numbers its own refusals below zero: all of them mean that the command line is wrong
if (typeof process.exitCode === 'number' && (process.exitCode < 0 || process.exitCode > 200))
  process.exitCode = Exit.USAGE
