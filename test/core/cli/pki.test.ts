import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { crl, init, issue, type MakingFlags, show } from '../../../core/cli/commands/pki.ts'
import { KEY_TYPES } from '../../../core/cli/pki/authority.ts'
import { loadConfig } from '../../../core/config/index.ts'
import { resolveCredentials } from '../../../core/credentials.ts'
import { credentials } from '../../../plugins/x509/credentials.ts'

/** `natweave pki`, and that what it makes is what the configuration takes. */

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true })
  process.exitCode = 0
})

function folder() {
  const dir = mkdtempSync(join(tmpdir(), 'natweave-pki-'))
  folders.push(dir)
  const flags: MakingFlags = { dir, type: 'p256', days: 30, force: false, json: true }
  return { dir, flags, file: (name: string) => join(dir, name) }
}

/** Runs a command. @returns its JSON, and the exit code where it failed */
async function run<A extends readonly unknown[]>(command: (...args: A) => Promise<void>, ...args: A) {
  const { write } = process.stdout
  const complain = process.stderr.write
  let text = ''
  process.stdout.write = chunk => {
    text += String(chunk)
    return true
  }
  process.stderr.write = () => true
  try {
    await command(...args)
  } finally {
    process.stdout.write = write
    process.stderr.write = complain
  }
  return { json: JSON.parse(text), code: process.exitCode }
}

test('a CA, two nodes, a configuration of each, and a CRL that counts', async () => {
  const { dir, flags, file } = folder()
  await run(init, flags, 'O=Example, CN=Example CA')
  const gateway = await run(issue, flags, 'gw.example.org', '192.0.2.1')
  await run(issue, { ...flags, type: 'ed25519' }, 'alice@example.org')
  expect(gateway.json).toMatchObject({ certificate: file('gw.example.org.pem'), ca: file('ca.pem') })
  for (const key of ['ca.key', 'gw.example.org.key']) expect(statSync(file(key)).mode & 0o777).toBe(0o600)

  const config = (node: string, peer: string) => `
local: { id: ${node}, certificate: { file: ${node}.pem }, key: { file: ${node}.key } }
trust: { ca: { file: ca.pem }, crl: { file: crl.pem }, revocation: strict }
peers: { peer: { remote: 192.0.2.9, remoteId: ${peer}, children: { lan: {} } } }
`
  await run(crl, flags)
  const opened = async (node: string, peer: string) => {
    writeFileSync(file(`${node}.yaml`), config(node, peer), { mode: 0o600 })
    const { settings } = await loadConfig({ file: file(`${node}.yaml`) })
    return resolveCredentials(settings, [credentials]).get('peer')!
  }
  const presented = ({ signer }: Awaited<ReturnType<typeof opened>>) => ({
    certificates: signer!.certificates,
    rawKeys: [],
  })
  const [gw, alice] = [
    await opened('gw.example.org', 'alice@example.org'),
    await opened('alice@example.org', 'gw.example.org'),
  ]
  const judge = (trust: typeof gw.trust) => [
    trust!.judge(presented(alice), { type: 'rfc822', value: 'alice@example.org' }, Date.now()).ok,
    trust!.judge(presented(gw), { type: 'ipv4', value: '192.0.2.1' }, Date.now()).ok,
  ]
  expect(judge(gw.trust)).toEqual([true, true])

  const revoked = await run(crl, flags, 'alice@example.org')
  expect(revoked.json.shown[0].revoked).toHaveLength(1)
  const again = await run(crl, flags)
  expect(again.json.shown[0].revoked).toHaveLength(1)
  expect(judge((await opened('gw.example.org', 'alice@example.org')).trust)).toEqual([false, true])

  const shown = await run(show, { dir, json: true })
  const kinds = shown.json.flatMap((f: { shown: { kind: string; ca?: boolean }[] }) => f.shown.map(s => s.kind))
  expect(kinds.sort()).toEqual(['certificate', 'certificate', 'certificate', 'crl'])
  const named = await run(show, { dir, json: true }, 'gw.example.org')
  expect(named.json[0].shown[0]).toMatchObject({
    subject: 'CN=gw.example.org',
    issuer: 'O=Example, CN=Example CA',
    names: ['dns:gw.example.org', 'ip:192.0.2.1'],
    state: 'valid',
    ca: false,
  })
})

test.each(KEY_TYPES)('keys of type %s, on both levels, as OpenSSL sees them', async type => {
  const { flags, file } = folder()
  await run(init, { ...flags, type })
  await run(issue, { ...flags, type }, 'gw.example.org')
  const [ca, node] = ['ca.pem', 'gw.example.org.pem'].map(name => new X509Certificate(readFileSync(file(name))))
  expect(node!.checkIssued(ca!) && node!.verify(ca!.publicKey) && ca!.verify(ca!.publicKey)).toBe(true)
  expect([ca!.ca, node!.ca]).toEqual([true, false])
  expect(node!.subjectAltName).toBe('DNS:gw.example.org')
})

describe('mistakes', () => {
  test('say what is wrong, with the exit code of wrong usage', async () => {
    const { dir, flags } = folder()
    const mistake = async (running: ReturnType<typeof run>) => {
      const { json, code } = await running
      return [code, json.error.message]
    }
    expect(await mistake(run(issue, flags, 'gw'))).toEqual([2, `there is no CA in ${dir}; natweave pki init makes one`])
    expect(await mistake(run(show, { dir, json: true }))).toEqual([2, expect.stringMatching(/no certificates in/)])
    await run(init, flags)
    expect(await mistake(run(init, flags))).toEqual([2, expect.stringMatching(/ca.pem exists; --force/)])
    expect(await mistake(run(issue, flags, 'a b'))).toEqual([2, expect.stringMatching(/a b: a domain name/)])
    expect(await mistake(run(crl, flags, 'nobody'))).toEqual([2, expect.stringMatching(/nobody.pem: ENOENT/)])
    writeFileSync(join(dir, 'x.pem'), 'rubbish')
    expect(await mistake(run(show, { dir, json: true }, 'x'))).toEqual([2, expect.stringMatching(/x.pem: /)])
  })
})
