import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from './process.ts'

/** Certificates made by OpenSSL, which shares no code with natweave, for a lab that is gone in a minute. */

export type KeyKind = 'rsa' | 'p256' | 'p384' | 'p521' | 'ed25519'

const ALGORITHM: Readonly<Record<KeyKind, readonly string[]>> = {
  rsa: ['rsa', '-pkeyopt', 'rsa_keygen_bits:2048'],
  p256: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  p384: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  p521: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-521'],
  ed25519: ['ed25519'],
}

/** PEM. */
export interface Issued {
  readonly certificate: string
  readonly key: string
  readonly publicKey: string
}

export interface Wish {
  /** As OpenSSL writes it: `/O=Lab/CN=alice`. */
  readonly subject: string
  readonly kind?: KeyKind
  /** Absent: signed by itself. */
  readonly issuer?: Issued
  /** Lines of an OpenSSL extension file. */
  readonly extensions: readonly string[]
  readonly days?: number
}

export const CA = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign']
export const END = (san: string): readonly string[] => [`subjectAltName=${san}`, 'keyUsage=critical,digitalSignature']

export async function issue({ subject, kind = 'p256', issuer, extensions, days = 30 }: Wish): Promise<Issued> {
  return within(async (folder, openssl) => {
    const file = (name: string): string => join(folder, name)
    await openssl('genpkey', '-algorithm', ...ALGORITHM[kind], '-out', file('key'))
    await openssl('pkey', '-in', file('key'), '-pubout', '-out', file('pub'))
    await openssl('req', '-new', '-key', file('key'), '-subj', subject, '-out', file('csr'))
    writeFileSync(file('ext'), `${extensions.join('\n')}\n`)
    const signing = [
      'x509',
      '-req',
      '-in',
      file('csr'),
      '-extfile',
      file('ext'),
      '-days',
      String(days),
      '-out',
      file('crt'),
    ]
    if (issuer === undefined) await openssl(...signing, '-signkey', file('key'))
    else {
      writeFileSync(file('ca.crt'), issuer.certificate)
      writeFileSync(file('ca.key'), issuer.key)
      await openssl(...signing, '-CA', file('ca.crt'), '-CAkey', file('ca.key'), '-set_serial', `0x${serial()}`)
    }
    const read = (name: string): string => readFileSync(file(name), 'utf8')
    return { certificate: read('crt'), key: read('key'), publicKey: read('pub') }
  })
}

/** A CRL of this CA that revokes one certificate. */
export async function revoke(ca: Issued, certificate: Issued): Promise<string> {
  return within(async (folder, openssl) => {
    const file = (name: string): string => join(folder, name)
    for (const [name, text] of Object.entries({
      'ca.crt': ca.certificate,
      'ca.key': ca.key,
      crt: certificate.certificate,
      index: '',
      crlnumber: '01\n',
    }))
      writeFileSync(file(name), text)
    writeFileSync(
      file('cnf'),
      `[ca]\ndefault_ca=d\n[d]\ndatabase=${file('index')}\ncrlnumber=${file('crlnumber')}\ndefault_md=sha256\ndefault_crl_days=7\ncertificate=${file('ca.crt')}\nprivate_key=${file('ca.key')}\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid:always\n`,
    )
    await openssl('ca', '-config', file('cnf'), '-revoke', file('crt'))
    await openssl('ca', '-config', file('cnf'), '-gencrl', '-out', file('crl'))
    return readFileSync(file('crl'), 'utf8')
  })
}

let serials = 0x1000
const serial = (): string => (++serials).toString(16)

async function within<T>(
  work: (folder: string, openssl: (...args: readonly string[]) => Promise<void>) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'natweave-pki-'))
  try {
    return await work(folder, async (...args) => {
      const done = await run(['openssl', ...args])
      if (done.code !== 0) throw new Error(`openssl ${args[0]}: ${done.stderr}`)
    })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
