import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { type Flow, octets, type TransportSink } from '../../../core/index.ts'
import { StunMethod, serializeStun, writeChannelHeader } from '../../../core/wire/index.ts'
import { FrameReader } from '../../../plugins/turn/frames.ts'
import { parseOptions } from '../../../plugins/turn/options.ts'
import { Streams } from '../../../plugins/turn/streams.ts'
import { SeededRng } from '../../kit/index.ts'
import { packetOf } from './wired.ts'

const message = (octetsOfData: number): Uint8Array =>
  serializeStun({
    class: 'indication',
    method: StunMethod.Data,
    transaction: new Uint8Array(12),
    attributes: [{ type: 'DATA', value: new Uint8Array(octetsOfData).fill(7) }],
  })

function channelData(length: number): Uint8Array {
  const bytes = new Uint8Array(4 + length + (-length & 3))
  writeChannelHeader(bytes, 0, 0x4001, length)
  return bytes
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

describe('frames', () => {
  const frames = [message(0), channelData(1), channelData(0), message(1_300), channelData(65_535), channelData(4)]
  const stream = Uint8Array.from(frames.flatMap(frame => [...frame]))

  test('come out whole, however the stream is cut', () => {
    const rng = new SeededRng('cuts')
    for (let run = 0; run < 20; run++) {
      const found: Uint8Array[] = []
      const reader = new FrameReader(frame => found.push(frame.slice()))
      for (let at = 0; at < stream.length; ) {
        const size = 1 + (rng.u32() % (run < 10 ? 4_000 : 70_000))
        expect(reader.push(stream.subarray(at, at + size))).toBe(true)
        at += size
      }
      expect(found.map(base64)).toEqual(frames.map(base64))
    }
  })

  test('that are none end the stream', () => {
    for (const first of [0x50, 0x80, 0xff])
      expect(new FrameReader(() => {}).push(Uint8Array.of(first, 1, 0, 4))).toBe(false)
    expect(new FrameReader(() => {}).push(Uint8Array.of(0, 1, 0, 3))).toBe(false)
  })
})

/** A server on loopback, and the transport with one stream to it. */
async function connected(serve: (socket: Socket) => void) {
  const server = createServer(socket => {
    socket.on('error', () => {}).resume()
    serve(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const { servers } = parseOptions({
    servers: [{ url: `turn:127.0.0.1:${port}?transport=tcp`, username: 'u', password: 'p' }],
  })
  const streams = new Streams(servers)
  const flow: Flow = { protocol: 6, local: { address: '0.0.0.0', port: 1 }, remote: { address: '127.0.0.1', port } }
  const heard: Uint8Array[] = []
  const failures: string[] = []
  const waiting: { done: () => boolean; settle: () => void }[] = []
  const look = (): void => {
    for (const { done, settle } of waiting) if (done()) settle()
  }
  const sink: TransportSink = {
    receive: packet => {
      heard.push(octets(packet).slice())
      look()
    },
    changed: look,
    failed: error => {
      failures.push(error.message)
      look()
    },
  }
  await streams.open(sink)
  const until = (done: () => boolean): Promise<void> =>
    new Promise(settle => {
      waiting.push({ done, settle })
      look()
    })
  const end = async (): Promise<void> => {
    await streams.close()
    server.close()
    await once(server, 'close')
  }
  return { streams, flow, heard, failures, until, end }
}

describe('a stream', () => {
  test('is connected by the first message, and carries messages both ways', async () => {
    const { streams, flow, heard, until, end } = await connected(socket => socket.pipe(socket))
    expect(streams.locals()).toEqual([])
    expect(streams.carries(flow)).toBe(true)
    expect(streams.carries({ ...flow, local: { address: '0.0.0.0', port: 2 } })).toBe(false)
    expect(streams.carries({ ...flow, protocol: 17 })).toBe(false)
    const sent = [message(10), channelData(100), message(900)]
    for (const each of sent) streams.send(packetOf(each), flow)
    await until(() => heard.length === 3)
    expect(heard).toEqual(sent)
    expect(streams.locals()).toEqual([{ address: '0.0.0.0', port: 1, protocol: 6, role: 'extra' }])
    await end()
    expect(streams.locals()).toEqual([])
  })

  test('that the server closes is gone, and the next message makes another', async () => {
    let connections = 0
    const { streams, flow, heard, until, end } = await connected(socket => {
      if (++connections === 1) socket.destroy()
      else socket.pipe(socket)
    })
    streams.send(packetOf(message(1)), flow)
    await until(() => connections === 1 && streams.locals().length === 0)
    await until(() => {
      streams.send(packetOf(message(2)), flow)
      return heard.length > 0
    })
    await end()
  })

  test('of nonsense is closed and told', async () => {
    const { streams, flow, failures, until, end } = await connected(socket => socket.write('SSH-2.0-OpenSSH\r\n'))
    streams.send(packetOf(message(1)), flow)
    await until(() => failures.length > 0)
    expect(failures[0]).toMatch(/^turn:127\.0\.0\.1:\d+\?transport=tcp: what comes is neither STUN nor ChannelData$/)
    expect(streams.locals()).toEqual([])
    await end()
  })

  test('to where nobody listens is told', async () => {
    const { flow, end } = await connected(() => {})
    await end()
    const { servers } = parseOptions({
      servers: [{ url: 'turn:localhost?transport=tcp', username: 'u', password: 'p' }],
    })
    const streams = new Streams(servers)
    const failure = new Promise<Error>(failed => void streams.open({ receive: () => {}, changed: () => {}, failed }))
    streams.send(packetOf(message(1)), flow)
    expect((await failure).message).toMatch(/^turn:localhost\?transport=tcp: connect ECONNREFUSED/)
    await streams.close()
  })
})
