import { createSocket, type Socket } from 'node:dgram'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { silentLog } from '../../../core/contracts/log.ts'
import { HEADROOM, newPacket, octets } from '../../../core/contracts/packet.ts'
import { IgdTransport, igdFlow } from '../../../plugins/port-mapping/igd-transport.ts'
import { Mapping } from '../../../plugins/port-mapping/mapping.ts'
import {
  type MapResponse,
  PcpResult,
  parseMapResponse,
  serializeMapRequest,
} from '../../../plugins/port-mapping/pcp.ts'
import { controlsOf, externalAddress, locationOf } from '../../../plugins/port-mapping/upnp.ts'
import { SeededRng } from '../../kit/index.ts'

const LOCAL = { address: '127.0.0.1', port: 4500 }
/** An address of its own, so that runs side by side do not meet. */
const ROUTER = `127.77.${(process.pid >> 8) & 255}.${process.pid & 255 || 1}`

const service = (control: string, type = 'WANIPConnection:1'): string =>
  `<service><serviceType>urn:schemas-upnp-org:service:${type}</serviceType><controlURL>${control}</controlURL></service>`

describe('what a gateway says', () => {
  const answer = (location: string): string => `HTTP/1.1 200 OK\r\nST: x\r\nLocation: ${location}\r\n\r\n`
  const at = { port: 5000, path: '/a/desc.xml' }

  test('leads nowhere but to itself', () => {
    expect(locationOf(answer('http://10.0.0.1:5000/a/desc.xml'), '10.0.0.1')).toEqual(at)
    for (const location of ['http://10.0.0.2:5000/', 'https://10.0.0.1/', 'http://10.0.0.1@10.0.0.2/', 'file:///etc/x'])
      expect(locationOf(answer(location), '10.0.0.1')).toBe(undefined)
    expect(locationOf('NOTIFY * HTTP/1.1\r\nLocation: http://10.0.0.1/\r\n\r\n', '10.0.0.1')).toBe(undefined)
    const description = ['http://10.0.0.2/ctl', '//10.0.0.2/ctl', '/ctl?a=1&amp;b=2', 'ctl']
      .map(url => service(url))
      .join('')
    expect(controlsOf(description, '10.0.0.1', at).map(({ port, path }) => `${port}${path}`)).toEqual([
      '5000/ctl?a=1&b=2',
      '5000/a/ctl',
    ])
  })

  test('is of services that forward ports, and of few', () => {
    const other = service('/ctl', 'Layer3Forwarding:1')
    expect(controlsOf(other + service('/ppp', 'WANPPPConnection:1'), '10.0.0.1', at)).toEqual([
      { service: 'urn:schemas-upnp-org:service:WANPPPConnection:1', port: 5000, path: '/ppp' },
    ])
    expect(controlsOf(service('/ctl').repeat(100), '10.0.0.1', at)).toHaveLength(4)
    expect(controlsOf('<service>'.repeat(10_000), '10.0.0.1', at)).toEqual([])
  })

  test('an external address is an IPv4 address', () => {
    const body = (text: string): string => `<u:R><NewExternalIPAddress>${text}</NewExternalIPAddress></u:R>`
    expect(externalAddress(body(' 203.0.113.7 '))).toBe('203.0.113.7')
    for (const text of ['', '1.2.3', '1.2.3.4.5', '1.2.3.256', '::1', 'example.org'])
      expect(() => externalAddress(body(text))).toThrow('no external address')
  })
})

describe('UPnP behind the messages of PCP', () => {
  const closing: (Server | Socket)[] = []
  afterEach(async () => {
    for (const each of closing.splice(0)) await new Promise<void>(done => each.close(() => done()))
  })

  /** A router on an address of its own: SSDP by unicast, and HTTP as `reply` has it. */
  async function router(
    reply: (request: IncomingMessage, body: string, response: ServerResponse) => void,
  ): Promise<string[]> {
    const actions: string[] = []
    const server = createServer(async (request, response) => {
      let body = ''
      for await (const chunk of request) body += String(chunk)
      const action = /#(\w+)/.exec(String(request.headers.soapaction))?.[1]
      actions.push(action ?? `${request.method} ${request.url}`)
      reply(request, body, response)
    })
    await new Promise<void>(done => server.listen(0, ROUTER, done))
    const ssdp = createSocket('udp4')
    ssdp.on('message', (_, from) => {
      const { port } = server.address() as AddressInfo
      ssdp.send(`HTTP/1.1 200 OK\r\nLOCATION: http://${ROUTER}:${port}/desc\r\n\r\n`, from.port, from.address)
    })
    await new Promise<void>(done => ssdp.bind(1900, ROUTER, done))
    closing.push(server, ssdp)
    return actions
  }

  /** One MAP request; with lifetime 0 nothing answers. */
  function ask(transport: IgdTransport, lifetime: number): Promise<MapResponse> {
    const packet = newPacket()
    const bytes = serializeMapRequest({
      lifetime,
      client: LOCAL.address,
      nonce: new SeededRng('upnp').bytes(12),
      protocol: 17,
      internalPort: LOCAL.port,
      external: { address: '0.0.0.0', port: LOCAL.port },
    })
    packet.bytes.set(bytes, HEADROOM)
    packet.end = HEADROOM + bytes.length
    return new Promise(resolve => {
      void transport.open({
        receive: answer => resolve(parseMapResponse(octets(answer).slice())),
        changed: () => {},
        failed: () => {},
      })
      transport.send(packet, igdFlow(LOCAL, ROUTER))
    })
  }

  const external = '<NewExternalIPAddress>203.0.113.7</NewExternalIPAddress>'

  test('a mapping is made, permanent where the gateway has no others, and removed before the end', async () => {
    const actions = await router((request, body, response) => {
      if (request.url === '/desc') return response.end(service('/ctl'))
      const permanent = body.includes('<NewLeaseDuration>0<')
      if (!body.includes(':AddPortMapping') || permanent) return response.end(external)
      response.statusCode = 500
      return response.end('<errorCode>725</errorCode>')
    })
    const transport = new IgdTransport(silentLog)
    const { result, external: given, lifetime } = await ask(transport, 7_200)
    expect({ result, given, lifetime }).toEqual({
      result: 0,
      given: { address: '203.0.113.7', port: 4500 },
      lifetime: 7_200,
    })
    void ask(transport, 0)
    await transport.close()
    expect(actions).toEqual([
      'GET /desc',
      'GetExternalIPAddress',
      'GetExternalIPAddress',
      'AddPortMapping',
      'AddPortMapping',
      'DeletePortMapping',
    ])
  })

  test.each<readonly [string, (response: ServerResponse) => unknown]>([
    ['a redirection', response => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()],
    ['a body without end', response => response.end('x'.repeat(1 << 20))],
    ['a control URL elsewhere', response => response.end(service('http://127.0.0.1:1/ctl'))],
    ['noise', response => response.end('<service><service <<>>')],
    ['a connection that breaks', response => response.destroy()],
  ])('%s is no gateway', async (_, reply) => {
    const actions = await router((_request, _body, response) => void reply(response))
    const transport = new IgdTransport(silentLog)
    expect((await ask(transport, 7_200)).result).toBe(PcpResult.NETWORK_FAILURE)
    expect(actions).toEqual(['GET /desc'])
    await transport.close()
  })

  test('the end does not wait for a gateway that is silent', async () => {
    let asked = (): void => {}
    const reached = new Promise<void>(done => {
      asked = done
    })
    await router((request, _, response) => {
      request.socket.once('close', () => response.destroy())
      asked()
    })
    const transport = new IgdTransport(silentLog)
    void ask(transport, 7_200)
    await reached
    await transport.close()
  })
})

test('where PCP is silent UPnP is asked, and after its failure PCP again, when it is time', () => {
  const mapping = new Mapping(LOCAL, new SeededRng('round'), ['pcp', 'nat-pmp', 'upnp'])
  mapping.step({ type: 'start' }, 0)
  mapping.step({ type: 'timeout' }, mapping.deadline)
  expect(mapping.by).toBe('pcp')
  const now = mapping.deadline
  const [sent] = mapping.step({ type: 'timeout' }, now)
  expect(mapping.by).toBe('upnp')
  if (sent?.type !== 'send') throw new Error('it asks at once')
  const failure = new Uint8Array(60)
  failure.set([2, 0x81, 0, PcpResult.NETWORK_FAILURE, 0, 0, 2, 88])
  failure.set(sent.bytes.subarray(24, 42), 24)
  expect(mapping.step({ type: 'answer', bytes: failure }, now)).toEqual([
    { type: 'unmapped', why: 'UPnP IGD: NETWORK_FAILURE' },
  ])
  expect(mapping.by).toBe('pcp')
  expect(mapping.deadline).toBe(now + 600_000)
})
