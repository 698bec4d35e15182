import { createSocket } from 'node:dgram'
import { once } from 'node:events'

/** A process that sends IKE_SA_INIT requests with ever new SPIs from many loopback addresses, as an attacker forges them. */
export interface FloodOptions {
  /** Hex. */
  readonly template: string
  /** Where SPIi is in the template. */
  readonly spiAt: number
  readonly port: number
  readonly perSecond: number
  readonly sources: number
}

/** Told to the parent once a second: how many were sent so far. */
export interface FloodReport {
  readonly sent: number
}

const [options]: FloodOptions[] = await once(process, 'message')
const { spiAt, port, perSecond, sources } = options!
const template = Buffer.from(options!.template, 'hex')
const sockets = Array.from({ length: sources }, () => createSocket('udp4'))
await Promise.all(
  sockets.map(
    (socket, i) =>
      new Promise<void>(bound => {
        // what comes back, as to any forged address, is read by nobody
        socket.on('error', () => {})
        socket.bind(0, `127.${1 + (i % 250)}.${1 + Math.floor(i / 250)}.9`, () => bound())
      }),
  ),
)
const from = performance.now()
let sent = 0
const report = setInterval(() => process.send!({ sent } satisfies FloodReport), 1_000)
const pace = setInterval(() => {
  const due = Math.floor(((performance.now() - from) / 1_000) * perSecond)
  for (; sent < due; sent++) {
    const message = Buffer.from(template)
    message.writeUInt32BE(sent + 1, spiAt)
    message.writeUInt32BE((Math.random() * 0xffff_ffff) >>> 0, spiAt + 4)
    sockets[sent % sockets.length]!.send(message, port, '127.0.0.1')
  }
}, 1)
process.once('message', () => {
  clearInterval(report)
  clearInterval(pace)
  process.send!({ sent } satisfies FloodReport)
  for (const socket of sockets) socket.close()
  process.disconnect()
})
