import { expect, test } from 'vitest'
import { type TurnOptions, turn } from '../../../plugins/turn/index.ts'
import { parseOptions } from '../../../plugins/turn/options.ts'
import { mayRelayTo } from '../../../plugins/turn/relay-targets.ts'

const server = { url: 'turn:relay.example.org', username: 'alice', password: 'secret' }

test.each([
  ['turn:relay.example.org', 'relay.example.org', 3478, 'udp'],
  ['turn:relay.example.org:4500?transport=udp', 'relay.example.org', 4500, 'udp'],
  ['turn:192.0.2.1?transport=tcp', '192.0.2.1', 3478, 'tcp'],
  ['turns:relay.example.org', 'relay.example.org', 5349, 'tls'],
  ['turns:[2001:db8::1]:443?transport=tcp', '2001:db8::1', 443, 'tls'],
])('%s', (url, host, port, transport) => {
  expect(parseOptions({ servers: [{ ...server, url }] }).servers[0]).toMatchObject({ host, port, transport })
})

test.each<[unknown, string]>([
  [{}, 'servers: neither servers to ask for a relay nor serve, to be one: nothing to do'],
  [{ server: [] }, 'server: no such option; there are servers, refreshMs, serve'],
  [{ servers: [{ ...server, url: 'http://x' }] }, 'servers[0].url: "http://x": turn:HOST'],
  [{ servers: [{ ...server, url: 'turn:x:99999' }] }, 'servers[0].url: "turn:x:99999": port 99999'],
  [{ servers: [{ ...server, url: 'turn:x?transport=sctp' }] }, 'servers[0].url: "turn:x?transport=sctp": there are'],
  [{ servers: [{ ...server, url: 'turns:x?transport=udp' }] }, 'TURN over DTLS is not supported; use TLS'],
  [{ servers: [{ ...server, password: '' }] }, 'servers[0].password: text without control characters is wanted'],
  [{ servers: [{ ...server, families: ['ipv5'] }] }, 'servers[0].families: a list of ipv4 and ipv6 is wanted'],
  [{ servers: [{ ...server, ca: 'x' }] }, 'servers[0].ca: of no use without TLS'],
  [{ servers: [server], refreshMs: 10 }, 'refreshMs: a whole number from 1000 to 540000 is wanted'],
  [{ serve: { users: {} } }, 'serve.users: at least one user is wanted: a relay for everybody would be abused'],
  [{ serve: { users: { a: 'b' }, allow: ['x'] } }, 'serve.allow[0]: "x": an address or prefix such as 10.0.0.0/8'],
  [{ serve: { users: { a: 'b' }, external: '10.0.0.0/8' } }, 'serve.external: "10.0.0.0/8": an address is wanted'],
  [{ serve: { users: { a: 'b' }, total: 0 } }, 'serve.total: a whole number from 1 to 10000 is wanted'],
])('%j is refused', (options, message) => {
  expect(() => turn(options as TurnOptions)).toThrow(message)
})

test.each([
  ['203.0.113.7', true],
  ['2001:db8::7', true],
  ['10.0.0.1', false],
  ['192.168.7.7', true],
  ['192.168.8.7', false],
  ['203.0.113.66', false],
  ['127.0.0.1', false],
  ['0.0.0.0', false],
  ['224.0.0.1', false],
  ['169.254.169.254', false],
  ['100.64.0.1', false],
  ['::1', false],
  ['::ffff:10.0.0.1', false],
  ['64:ff9b::a00:1', false],
  ['2002:a00:1::', false],
  ['fd00::1', false],
  ['fe80::1', false],
  ['ff02::1', false],
])('a relay sends to %s: %s', (address, may) => {
  const { serve } = parseOptions({ serve: { users: { a: 'b' }, allow: ['192.168.7.0/24'], deny: ['203.0.113.66'] } })
  expect(mayRelayTo(address, serve!)).toBe(may)
})
