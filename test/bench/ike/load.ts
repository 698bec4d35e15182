import { createSocket } from 'node:dgram'
import { Handshake } from './handshake.ts'

/** What a load is to be: JSON as the program's one argument. */
export interface LoadOptions {
  readonly gateway: string
  readonly port: number
  /** Index of the first initiator, and how many there are. */
  readonly first: number
  readonly count: number
  /** How many are under way at a time. */
  readonly atOnce: number
  /** Each deletes its IKE SA when it stands; else all stay. */
  readonly delete: boolean
}

/** What it says at the end, as JSON on standard output. */
export interface LoadReport {
  readonly seconds: number
  /** Of the first handshakes' time from IKE_SA_INIT to the answer to IKE_AUTH, ms. */
  readonly median: number
  /** Requests that were sent again. */
  readonly again: number
  /** Initiators that were asked for a cookie. */
  readonly challenged: number
}

/** A request that gets no answer is sent again after this. */
const AGAIN_MS = 1_000
const TRIES = 20
const MARKER = 4

const options = JSON.parse(process.argv[2]!) as LoadOptions

interface UnderWay {
  readonly handshake: Handshake
  readonly from: number
  sent: number
  tries: number
}

const socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 20 })
const underWay = new Map<bigint, UnderWay>()
const times: number[] = []
let started = 0
let done = 0
let again = 0
let challenged = 0

function send(one: UnderWay): void {
  const { request } = one.handshake
  const datagram = new Uint8Array(MARKER + request.length)
  datagram.set(request, MARKER)
  one.sent = performance.now()
  socket.send(datagram, options.port, options.gateway)
}

function next(): void {
  while (started < options.count && underWay.size < options.atOnce) {
    const from = performance.now()
    const one: UnderWay = { handshake: new Handshake(options.first + started++), from, sent: from, tries: 0 }
    underWay.set(one.handshake.spi, one)
    send(one)
  }
}

const began = performance.now()
await new Promise<void>((resolve, reject) => {
  const timer = setInterval(() => {
    const late = performance.now() - AGAIN_MS
    for (const one of underWay.values()) {
      if (one.sent > late) continue
      if (++one.tries > TRIES) reject(new Error(`no answer to a request that was sent ${TRIES} times`))
      again++
      send(one)
    }
  }, AGAIN_MS / 4)
  socket.on('error', reject)
  socket.on('message', datagram => {
    const raw = datagram.subarray(MARKER)
    const one = raw.length < 8 ? undefined : underWay.get(raw.readBigUInt64BE(0))
    if (one === undefined) return
    const { handshake } = one
    const before = handshake.request
    try {
      const now = handshake.receive(raw)
      if (now === 'established') {
        times.push(performance.now() - one.from)
        if (handshake.challenged) challenged++
        if (options.delete) handshake.delete()
      }
      if (now !== undefined && handshake.request === before) {
        underWay.delete(handshake.spi)
        done++
      } else if (handshake.request !== before) send(one)
    } catch (error) {
      reject(error)
    }
    if (done === options.count) {
      clearInterval(timer)
      resolve()
    } else next()
  })
  socket.bind(0, next)
})
socket.close()
times.sort((a, b) => a - b)
const report: LoadReport = {
  seconds: (performance.now() - began) / 1_000,
  median: times[times.length >> 1]!,
  again,
  challenged,
}
console.log(JSON.stringify(report))
