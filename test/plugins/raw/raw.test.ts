import { expect, test } from 'vitest'
import { silentLog } from '../../../core/contracts/log.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { newPacket } from '../../../core/contracts/packet.ts'
import { RawTransport, raw } from '../../../plugins/raw/index.ts'
import { rawError } from '../../../plugins/raw/native.ts'

test('a protocol of somebody else is refused when the plugin is made', () => {
  expect(() => raw({ protocols: [50, 17 as 50] })).toThrow('protocols: 17; 50 (ESP) and 51 (AH) are possible')
})

test.each([
  ['EPERM', 'SYSTEM_PERMISSION', /raw sockets need CAP_NET_RAW/],
  ['ENOBUFS', 'SYSTEM_SOCKET', /^opening: ENOBUFS$/],
])('%s', (refusal, code, message) => {
  expect(rawError('opening', refusal)).toMatchObject({ code, message: expect.stringMatching(message) })
})

test('no address is no transport', async () => {
  const sink = { receive() {}, changed() {}, failed() {} }
  const open = (addresses?: string[]) =>
    new RawTransport({ interfaces: () => ({}), ...(addresses && { addresses }) }, silentLog).open(sink)
  await expect(open()).rejects.toMatchObject({ code: 'SYSTEM_ADDRESS' })
  await expect(open(['192.0.2.1'])).rejects.toThrow('192.0.2.1 is not an address of this host')
  await expect(open(['moon'])).rejects.toMatchObject({ code: 'USAGE_ADDRESS' })
})

test('a closed transport has nothing, finds nothing, and counts what it is given', async () => {
  const transport = new RawTransport({}, silentLog)
  const flow: Flow = {
    protocol: 50,
    local: { address: '192.0.2.1', port: 0 },
    remote: { address: '192.0.2.2', port: 0 },
  }
  transport.send(newPacket(), flow)
  expect([transport.locals(), transport.carries(flow), transport.stats().unbound]).toEqual([[], false, 1])
  expect([await transport.source(), await transport.resolve()]).toEqual([undefined, []])
  await transport.close()
})
