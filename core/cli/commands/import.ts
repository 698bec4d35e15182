import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { importStrongswan, type Note } from '../../config/strongswan/index.ts'
import { SystemError, UsageError } from '../../errors.ts'
import { Exit } from '../exit.ts'
import { guarded, type Output } from '../output.ts'

export interface ImportFlags {
  readonly output: string
  readonly secrets?: string
  readonly force: boolean
  readonly json: boolean
}

/** Translates a strongSwan configuration and says line by line what could not be carried over. */
export default async function importConfig(this: unknown, flags: ImportFlags, file: string): Promise<void> {
  await guarded(flags.json, async out => {
    const { yaml, notes, problems, config } = importStrongswan(file, flags.secrets)
    const peers = Object.keys(config.peers)
    const path = flags.output === '-' ? undefined : write(flags, yaml)
    if (flags.json)
      out.json({ file: path, peers, notes: notes.map(flat), problems, ...(path === undefined && { yaml }) })
    else {
      if (path === undefined) out.line(yaml.trimEnd())
      report(out, notes, problems)
      if (path !== undefined)
        out.line(
          `wrote ${path}: ${peers.length === 0 ? 'no peers' : peers.join(', ')}; next: natweave check --config ${path}`,
        )
    }
    return notes.length === 0 && problems.length === 0 ? Exit.OK : Exit.INCOMPLETE
  })
}

const flat = ({ at, ...note }: Note) => ({ ...at, ...note })

function report(out: Output, notes: readonly Note[], problems: readonly string[]): void {
  const { yellow, red } = out.colours
  const words = { dropped: 'not carried over', changed: 'changed', refused: 'left out' } as const
  for (const { at, setting, value, kind, why } of notes) {
    const shown = value === '{ … }' ? setting : `${setting} = ${value}`
    const paint = kind === 'refused' ? red : yellow
    out.complain(`${at.file}:${at.line}: ${shown}: ${paint(words[kind])}: ${why}`)
  }
  for (const problem of problems) out.complain(`${red('to be mended')}: ${problem}`)
}

/** There may be secrets in it, so it is closed to others before they are written. */
function write({ output, force }: ImportFlags, yaml: string): string {
  const path = resolve(output)
  if (existsSync(path) && !force)
    throw new UsageError('USAGE_EXISTS', `${path} exists; --force overwrites it, --output names another file`)
  try {
    writeFileSync(path, '', { mode: 0o600 })
    chmodSync(path, 0o600)
    writeFileSync(path, yaml)
    return path
  } catch (error) {
    throw new SystemError('SYSTEM_PERMISSION', `${path} cannot be written: ${(error as Error).message}`)
  }
}
