import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, expect, test, vi } from 'vitest'
import { openKeylog } from '../../../core/cli/keylog.ts'
import { stderrLog } from '../../../core/cli/log.ts'

const folder = mkdtempSync(join(tmpdir(), 'natweave-log-'))
afterAll(() => rmSync(folder, { recursive: true }))
afterEach(() => {
  vi.restoreAllMocks()
})

function capture(): () => string {
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  return () => write.mock.calls.map(([text]) => text).join('')
}

test('JSON lines carry level, message and fields; those of parents too', () => {
  const text = capture()
  stderrLog('info', 'json').child({ plugin: 'udp' }).warn('lost', { port: 500 })
  expect(JSON.parse(text())).toMatchObject({ level: 'warn', message: 'lost', plugin: 'udp', port: 500 })
})

test('what is below the level is left out', () => {
  const text = capture()
  const log = stderrLog('warn', 'json')
  log.debug('a')
  log.info('b')
  log.error('c')
  expect(text().trim().split('\n').length).toBe(1)
})

test('fields that sound like secrets are never written', () => {
  const text = capture()
  for (const format of ['json', 'pretty'] as const)
    stderrLog('debug', format).info('x', { psk: 'horse', clientSecret: 'horse', sharedKey: 'horse', peer: 'moon' })
  expect(text()).toContain('moon')
  expect(text()).not.toContain('horse')
})

test('pretty lines have time, level, message, fields', () => {
  const text = capture()
  stderrLog('info', 'pretty').info('up', { peers: 2, config: '/x' })
  expect(text()).toMatch(/^\d\d:\d\d:\d\d\.\d{3} info {2}up peers=2 config=\/x\n$/)
})

test('a key log is for its owner only, one that was there before too', () => {
  const path = join(folder, 'keys')
  writeFileSync(path, '{}\n', { mode: 0o644 })
  openKeylog(path)({ type: 'ike', spi_i: '1', encr: '20/128', integ: '0' })
  expect((statSync(path).mode & 0o777).toString(8)).toBe('600')
  expect(
    readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .map(line => JSON.parse(line)),
  ).toEqual([{}, { type: 'ike', spi_i: '1', encr: 'AES-GCM-128 with 16 octet ICV [RFC5282]', integ: 'NONE [RFC4306]' }])
})

test('a key log that cannot be written is one clear line', () => {
  expect(() => openKeylog(folder)).toThrow(new RegExp(`^the key log ${folder} cannot be written: [^\\n]+$`))
})
