import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createConnection, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest'
import { ask, type Control, isRunning, prepare, serve } from '../../../core/cli/control.ts'
import type { NatweaveEvent } from '../../../core/contracts/natweave.ts'
import { FakeNatweave, idle, reports } from './fake.ts'

const folder = mkdtempSync(join(tmpdir(), 'natweave-control-'))
afterAll(() => rmSync(folder, { recursive: true }))

let path = ''
let natweave: FakeNatweave
let control: Control
let downs = 0
beforeEach(async ({ task }) => {
  path = join(folder, task.id, 'control.sock')
  natweave = new FakeNatweave()
  downs = 0
  control = await serve(path, natweave, () => {
    downs += 1
  })
})
afterEach(() => control.close())

const mode = (file: string): string => (statSync(file).mode & 0o777).toString(8)

test('the socket and its folder are for their owner only', () => {
  expect([mode(path), mode(join(path, '..'))]).toEqual(['600', '700'])
})

test('requests reach the build, answers come back', async () => {
  expect(await ask(path, 'status', [])).toMatchObject({ peers: [{ name: idle.name, state: 'idle' }] })
  expect(await ask(path, 'plan', ['moon'])).toEqual(reports)
  await ask(path, 'disconnect', ['moon'])
  await ask(path, 'rekey', ['moon'])
  await ask(path, 'rekey', ['moon', 'lan'])
  expect(natweave.calls).toEqual(['disconnect moon', 'rekey moon undefined', 'rekey moon lan'])
})

test('events come while a request is under way, keys never, and listening ends with it', async () => {
  const events: NatweaveEvent[] = []
  expect(await ask(path, 'connect', ['moon'], event => events.push(event))).toMatchObject({ state: 'established' })
  expect(events.map(event => event.type)).toEqual(['connecting', 'established'])
  await expect.poll(() => natweave.listeners.size).toBe(0)
})

test('errors keep their code', async () => {
  await expect(ask(path, 'connect', ['mars'])).rejects.toMatchObject({
    code: 'PEER_AUTH_FAILED',
    message: 'mars: check the pre-shared key',
  })
  await expect(ask(path, 'explode', [])).rejects.toMatchObject({ code: 'USAGE_METHOD' })
})

test('ready is answered once the build is up', async () => {
  let answered = false
  const ready = ask(path, 'ready', []).then(() => {
    answered = true
  })
  await ask(path, 'status', [])
  expect(answered).toBe(false)
  control.ready()
  await ready
})

test('down tells the process, once it was answered', async () => {
  expect(await ask(path, 'down', [])).toEqual({ pid: process.pid })
  await expect.poll(() => downs).toBe(1)
})

test('a second instance is refused', async () => {
  await expect(serve(path, natweave, () => {})).rejects.toMatchObject({
    code: 'SYSTEM_RUNNING',
    message: `natweave is already running on ${path}; natweave down ends it, or use another --socket`,
  })
})

test('what a killed instance left is replaced', async () => {
  const stale = join(folder, 'stale.sock')
  const server = createServer().listen(stale)
  await new Promise(resolve => server.once('listening', resolve))
  // Node removes the socket of a server that closes; put back what a kill would have left
  const left = `${stale}.left`
  await import('node:fs/promises').then(fs => fs.rename(stale, left))
  await new Promise(resolve => server.close(resolve))
  expect(await isRunning(left)).toBe(false)
  const again = await serve(left, natweave, () => {})
  expect(await isRunning(left)).toBe(true)
  again.close()
})

test('a file that is no socket is never removed', async () => {
  const file = join(folder, 'thesis.txt')
  writeFileSync(file, 'years of work')
  await expect(serve(file, natweave, () => {})).rejects.toMatchObject({
    code: 'SYSTEM_PERMISSION',
    message: `the control socket ${file} cannot be made: another file is in its place; name another place with --socket`,
  })
  expect(readFileSync(file, 'utf8')).toBe('years of work')
})

test('a place that cannot be is refused in one line', () => {
  const long = join(folder, 'x'.repeat(110))
  expect(() => prepare(long)).toThrow(/more than \d+ octets are too long for the system/)
  const file = join(folder, 'file')
  writeFileSync(file, '')
  expect(() => prepare(join(file, 'control.sock'))).toThrow(/^the control socket [^\n]* cannot be made: [^\n]*$/)
})

test('nobody there', async () => {
  const nowhere = join(folder, 'nowhere.sock')
  await expect(ask(nowhere, 'status', [])).rejects.toMatchObject({
    code: 'CONTROL_NOT_RUNNING',
    message: `no natweave is running on ${nowhere}; start it with natweave up`,
  })
})

/** What a client that is not ours may send. */
function raw(lines: string): Promise<string> {
  return new Promise(resolve => {
    let text = ''
    const socket: Socket = createConnection(path, () => socket.write(lines))
    socket.on('data', data => {
      text += data.toString()
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(text))
  })
}

test('nonsense is answered or cut off, and harms nobody', async () => {
  for (const line of [
    'null',
    '5',
    '{}',
    '{"method":5,"params":[]}',
    '{"method":"plan","params":"moon"}',
    '{"method":"plan","params":[{}]}',
  ])
    expect(JSON.parse(await raw(`${line}\n`))).toMatchObject({ error: { code: 'USAGE_METHOD' } })
  expect(JSON.parse(await raw('{"method":\n'))).toMatchObject({ error: { code: 'INTERNAL' } })
  expect(await raw('x'.repeat(10_000))).toBe('')
  expect(await isRunning(path)).toBe(true)
})

test('a silent client does not keep the instance', async () => {
  const silent = raw('')
  await expect.poll(() => natweave.listeners.size).toBe(1)
  control.close()
  expect(await silent).toBe('')
  await expect.poll(() => existsSync(path)).toBe(false)
})

test('a folder that is there already keeps its mode', () => {
  const shared = join(folder, 'shared')
  mkdirSync(shared, { mode: 0o755 })
  prepare(join(shared, 'control.sock'))
  expect(mode(shared)).toBe('755')
})
