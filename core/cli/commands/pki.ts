import 'reflect-metadata'
import { createPrivateKey } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { X509Certificate, X509Crl } from '@peculiar/x509'
import { SystemError, UsageError } from '../../errors.ts'
import { guarded } from '../output.ts'
import { createAuthority, createCrl, issueCertificate, type Pem, type PkiKeyType } from '../pki/authority.ts'
import { describe, print } from '../pki/show.ts'

/** `natweave pki`: files in one folder, ca.pem and ca.key for the authority, NAME.pem and NAME.key for each node. */

interface PkiFlags {
  readonly dir: string
  readonly json: boolean
}

export interface MakingFlags extends PkiFlags {
  readonly type: PkiKeyType
  readonly days: number
  readonly force: boolean
}

export interface CrlFlags extends PkiFlags {
  readonly days: number
}

export async function init(this: unknown, flags: MakingFlags, name = 'natweave CA'): Promise<void> {
  await guarded(flags.json, async out => {
    const made = await createAuthority(name, flags.type, { from: Date.now(), days: flags.days })
    const files = save(flags, 'ca', made)
    if (flags.json) return out.json(files)
    out.line(`wrote ${files.certificate}, which every node is to trust, and ${files.key}, which nobody else may see`)
    out.line(`next: natweave pki issue gw.example.org, then alice@example.org, and so on`)
  })
}

export async function issue(this: unknown, flags: MakingFlags, ...identities: readonly string[]): Promise<void> {
  await guarded(flags.json, async out => {
    const [identity = ''] = identities
    const made = await issueCertificate(authority(flags.dir), identities, flags.type, {
      from: Date.now(),
      days: flags.days,
    })
    const files = save(flags, fileName(identity), made)
    const ca = join(flags.dir, 'ca.pem')
    if (flags.json) return out.json({ ...files, ca, identities })
    out.line(
      `wrote ${files.certificate} and ${files.key}; bring both and ${ca} to ${identity}, and into its configuration:`,
    )
    out.line('')
    out.line('local:')
    out.line(`  id: ${/[:,*#]|^\d/.test(identity) ? JSON.stringify(identity) : identity}`)
    out.line(`  certificate: { file: ${files.certificate} }`)
    out.line(`  key: { file: ${files.key} }`)
    out.line('trust:')
    out.line(`  ca: { file: ${ca} }`)
  })
}

/** Certificate and key of a node in `dir`, and the CA that vouches for it. */
export interface NodeFiles {
  readonly certificate: string
  readonly key: string
  readonly ca: string
  /** What was made just now. */
  readonly made: readonly string[]
}

/**
 * What a node needs, made where it is not there yet.
 *
 * @param found - there may be a new CA
 * @throws UsageError USAGE_PKI where a CA is needed that is elsewhere
 */
export async function nodeFiles(dir: string, identity: string, found: boolean): Promise<NodeFiles> {
  const stem = join(dir, fileName(identity))
  const files = { certificate: `${stem}.pem`, key: `${stem}.key`, ca: join(dir, 'ca.pem') }
  if (Object.values(files).every(file => existsSync(file))) return { ...files, made: [] }
  const making = { dir, force: false, json: false } as const
  const made: string[] = []
  if (found && !existsSync(files.ca)) {
    const authority = await createAuthority('natweave CA', 'p256', { from: Date.now(), days: 3_650 })
    made.push(...Object.values(save({ ...making, type: 'p256', days: 3_650 }, 'ca', authority)))
  }
  if (!existsSync(join(dir, 'ca.key')))
    throw new UsageError(
      'USAGE_PKI',
      `${files.certificate}, ${files.key} and ${files.ca} are wanted: make them where the CA is, by natweave pki issue ${identity}, and bring them here`,
    )
  const issued = await issueCertificate(authority(dir), [identity], 'p256', { from: Date.now(), days: 825 })
  made.push(...Object.values(save({ ...making, type: 'p256', days: 825 }, fileName(identity), issued)))
  return { ...files, made }
}

export async function crl(this: unknown, flags: CrlFlags, ...revoked: readonly string[]): Promise<void> {
  await guarded(flags.json, async out => {
    const file = join(flags.dir, 'crl.pem')
    const { certificate, key } = authority(flags.dir)
    const certificates = revoked.map(name => {
      const found = parsed(certificateOf(flags.dir, name), text => new X509Certificate(text))
      if (found.issuer !== certificate.subject)
        throw new UsageError('USAGE_PKI', `${name}: was issued by ${found.issuer}, not by this CA`)
      return found
    })
    const older = existsSync(file) ? parsed(file, text => new X509Crl(text)) : undefined
    const text = await createCrl({ certificate, key }, older, certificates, { from: Date.now(), days: flags.days })
    write(file, text, 0o644)
    const all = describe(Buffer.from(text), Date.now())
    if (flags.json) return out.json({ file, shown: all })
    print(out, file, all)
    out.line(`nodes read it from trust.crl when they start: renew it within ${flags.days} days (natweave pki crl)`)
  })
}

export async function show(this: unknown, flags: PkiFlags, ...files: readonly string[]): Promise<void> {
  await guarded(flags.json, async out => {
    const all = files.length > 0 ? files.map(name => certificateOf(flags.dir, name)) : pemFiles(flags.dir)
    const shown = all.map(file => ({ file, shown: described(file) }))
    if (flags.json) return out.json(shown)
    for (const each of shown) print(out, each.file, each.shown)
  })
}

function described(file: string) {
  try {
    return describe(readFileSync(file), Date.now())
  } catch (error) {
    throw new UsageError('USAGE_PKI', `${file}: ${(error as Error).message}`)
  }
}

function pemFiles(dir: string): string[] {
  const files = existsSync(dir) ? readdirSync(dir).filter(name => name.endsWith('.pem')) : []
  if (files.length === 0) throw new UsageError('USAGE_PKI', `no certificates in ${dir}; natweave pki init makes a CA`)
  return files.sort().map(name => join(dir, name))
}

/** A file, or the name of a node. */
const certificateOf = (dir: string, name: string): string =>
  existsSync(name) ? name : join(dir, `${fileName(name)}.pem`)

/** `alice@example.org`, `C=CH, CN=alice` → `C=CH__CN=alice`. */
const fileName = (identity: string): string => basename(identity.replace(/[^\w.@=+-]/g, '_'))

function authority(dir: string): { certificate: X509Certificate; key: ReturnType<typeof createPrivateKey> } {
  const [certificate, key] = [join(dir, 'ca.pem'), join(dir, 'ca.key')]
  if (!existsSync(certificate) || !existsSync(key))
    throw new UsageError('USAGE_PKI', `there is no CA in ${dir}; natweave pki init makes one`)
  return { certificate: parsed(certificate, text => new X509Certificate(text)), key: parsed(key, createPrivateKey) }
}

function parsed<T>(file: string, parse: (text: string) => T): T {
  try {
    return parse(readFileSync(file, 'utf8'))
  } catch (error) {
    throw new UsageError('USAGE_PKI', `${file}: ${(error as Error).message}`)
  }
}

function save({ dir, force }: MakingFlags, name: string, { certificate, key }: Pem) {
  const files = { certificate: join(dir, `${name}.pem`), key: join(dir, `${name}.key`) }
  const there = Object.values(files).find(file => existsSync(file))
  if (there !== undefined && !force)
    throw new UsageError(
      'USAGE_EXISTS',
      `${there} exists; --force makes a new key, and certificates of the old one stay valid`,
    )
  write(files.key, key, 0o600)
  write(files.certificate, certificate, 0o644)
  return files
}

function write(file: string, text: string, mode: number): void {
  try {
    mkdirSync(join(file, '..'), { recursive: true, mode: 0o700 })
    // first closed to others, then filled: an older file keeps its mode
    writeFileSync(file, '', { mode })
    chmodSync(file, mode)
    writeFileSync(file, text)
  } catch (error) {
    throw new SystemError('SYSTEM_PERMISSION', `${file} cannot be written: ${(error as Error).message}`)
  }
}
