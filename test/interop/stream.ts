/**
 * The two ends of test traffic, as programs to run inside a lab host. Each prints one line of JSON when it is done.
 *
 *   stream.ts receive PORT                        one TCP connection: octets, SHA-256, longest pause
 *   stream.ts send HOST PORT OCTETS SEED [RATE]   the other end; RATE in octets per second, 0 for as fast as it goes
 *   stream.ts answer PORT                         sends every UDP datagram back; until SIGTERM
 *   stream.ts probe HOST PORT COUNT PER_SECOND    numbered datagrams: how many came back, and the longest gap
 */
import { createCipheriv, createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { MARKER } from './capture.ts'

const print = (result: object): void => console.log(JSON.stringify(result))

function receive(port: number): void {
  const server = createServer(socket => {
    server.close()
    const hash = createHash('sha256')
    let [octets, longestPauseMs, before] = [0, 0, performance.now()]
    const start = before
    socket.on('data', chunk => {
      const now = performance.now()
      longestPauseMs = Math.max(longestPauseMs, now - before)
      before = now
      octets += chunk.length
      hash.update(chunk)
    })
    socket.on('error', error => print({ error: error.message, octets }))
    socket.on('end', () => {
      const ms = Math.round(performance.now() - start)
      // the sender waits for this end of the connection: then it knows that everything has arrived
      socket.end()
      print({ octets, sha256: hash.digest('hex'), ms, longestPauseMs: Math.round(longestPauseMs) })
    })
  })
  server.listen(port, () => print({ listening: port }))
}

async function send(host: string, port: number, octets: number, seed: string, rate: number): Promise<void> {
  const socket = connect({ host, port, noDelay: true })
  const closed = new Promise<void>((resolve, reject) => {
    socket.on('close', () => resolve())
    socket.on('error', reject)
  })
  socket.resume()
  const keystream = createCipheriv('aes-128-ctr', createHash('md5').update(seed).digest(), Buffer.alloc(16))
  const hash = createHash('sha256')
  const start = performance.now()
  for (let sent = 0; sent < octets; ) {
    const chunk = keystream.update(Buffer.alloc(Math.min(rate > 0 ? 16384 : 65536, octets - sent)))
    hash.update(chunk)
    sent += chunk.length
    if (!socket.write(chunk)) await Promise.race([closed, new Promise(resolve => socket.once('drain', resolve))])
    if (rate > 0) await sleep(Math.max(0, start + (sent / rate) * 1000 - performance.now()))
  }
  socket.end()
  await closed
  print({ octets, sha256: hash.digest('hex'), ms: Math.round(performance.now() - start) })
}

function answer(port: number): void {
  const socket = createSocket('udp4')
  socket.on('message', (data, from) => socket.send(data, from.port, from.address))
  socket.bind(port, () => print({ listening: port }))
}

async function probe(host: string, port: number, count: number, perSecond: number): Promise<void> {
  const socket = createSocket('udp4')
  const back = new Set<number>()
  let [before, longestGapMs, duplicates] = [performance.now(), 0, 0]
  socket.on('message', data => {
    const now = performance.now()
    longestGapMs = Math.max(longestGapMs, now - before)
    before = now
    const number = data.readUInt32BE(0)
    if (back.has(number)) duplicates++
    back.add(number)
  })
  // an ICMP error while a mapping is being renewed is a lost datagram, which the count shows
  socket.on('error', () => {})
  const start = performance.now()
  for (let number = 0; number < count; number++) {
    const data = Buffer.alloc(200, MARKER)
    data.writeUInt32BE(number)
    socket.send(data, port, host)
    await sleep(Math.max(0, start + ((number + 1) / perSecond) * 1000 - performance.now()))
  }
  for (let waited = 0; back.size < count && waited < 2000; waited += 50) await sleep(50)
  socket.close()
  print({ sent: count, back: back.size, duplicates, longestGapMs: Math.round(longestGapMs) })
}

const [command = '', ...args] = process.argv.slice(2)
const [first = '', ...rest] = args
if (command === 'receive') receive(Number(first))
else if (command === 'send') await send(first, Number(rest[0]), Number(rest[1]), rest[2] ?? '', Number(rest[3] ?? 0))
else if (command === 'answer') answer(Number(first))
else if (command === 'probe') await probe(first, Number(rest[0]), Number(rest[1]), Number(rest[2]))
else throw new Error(`stream.ts: unknown command "${command}"`)
