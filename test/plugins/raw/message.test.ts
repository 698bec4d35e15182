import fc from 'fast-check'
import { expect, test } from 'vitest'
import { addressBytes } from '../../../core/wire/index.ts'
import {
  type Ancillary,
  readControl,
  SOCKADDR,
  writeName,
  writeProtocol,
  writeSource,
} from '../../../plugins/raw/message.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const nothing = (): Ancillary => ({ destinationAt: 0, tos: 9, ttl: 9, flowLabel: 9 })

// octets as gcc lays the structures out for x86-64: written by hand from linux/in.h, in6.h and socket.h
test.each([
  [
    '192.0.2.1',
    16,
    '02000000c0000201',
    32,
    '1c000000000000000000000008000000' + '00000000c000020100000000' + '00000000',
  ],
  [
    '2001:db8::1',
    28,
    '0a0000000000000020010db800000000000000000000000100000000',
    40,
    '24000000000000002900000032000000' + '20010db8000000000000000000000001' + '00000000' + '00000000',
  ],
])('sockaddr and packet information for %s', (address, nameEnd, name, controlEnd, control) => {
  const [names, controls] = [new Uint8Array(SOCKADDR), new Uint8Array(controlEnd)]
  expect(writeName(new DataView(names.buffer), 0, addressBytes(address))).toBe(nameEnd)
  expect(hex(names)).toBe(name.padEnd(2 * SOCKADDR, '0'))
  expect(writeSource(new DataView(controls.buffer), 0, addressBytes(address))).toBe(controlEnd)
  expect(hex(controls)).toBe(control)
})

test('the protocol of a route', () => {
  const bytes = new Uint8Array(24)
  expect(writeProtocol(new DataView(bytes.buffer), 0, 51)).toBe(24)
  expect(hex(bytes)).toBe('140000000000000000000000340000003300000000000000')
})

const PKTINFO = '24000000000000002900000032000000' + '20010db8000000000000000000000002' + '05000000' + '00000000'
const HOPLIMIT = '14000000000000002900000034000000' + '21000000' + '00000000'
const FLOWINFO = '1400000000000000290000000b000000' + '02aabcde' + '00000000'

test.each([
  ['all three', PKTINFO + HOPLIMIT + FLOWINFO, { destinationAt: 24, ttl: 33, tos: 0x2a, flowLabel: 0xabcde }],
  [
    'another order',
    FLOWINFO + HOPLIMIT + PKTINFO,
    { destinationAt: 8 + 48 + 16, ttl: 33, tos: 0x2a, flowLabel: 0xabcde },
  ],
  ['nothing', '', { destinationAt: -1, ttl: 0, tos: 0, flowLabel: 0 }],
  ['a strange one first', HOPLIMIT.replace('29', '01') + PKTINFO, { destinationAt: 48, ttl: 0, tos: 0, flowLabel: 0 }],
  ['cut off', PKTINFO.slice(0, 60), { destinationAt: -1, ttl: 0, tos: 0, flowLabel: 0 }],
])('control messages: %s', (_, text, want) => {
  // not at the front, as in a batch
  const bytes = Uint8Array.from(Buffer.from(`ffffffffffffffff${text}`, 'hex'))
  const into = nothing()
  readControl(bytes, 8, bytes.length, into)
  expect(into).toEqual(want)
})

test('no octets make reading leave the buffer or hang', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 96 }), fc.nat(40), (bytes, length) => {
      if (bytes.length > 0) bytes[0] = length // makes plausible lengths likely
      bytes.fill(0, 1, 8)
      const into = nothing()
      readControl(bytes, 0, bytes.length, into)
      expect(into.destinationAt + 16).toBeLessThanOrEqual(Math.max(bytes.length, 15))
      expect(into.ttl).toBeLessThanOrEqual(255)
    }),
  )
})
