import type { Nat, VirtualInternet } from '../kit/index.ts'

/** A home router that forwards ports on request, written by RFC 6886 and RFC 6887 without the codecs under test. */
export interface Gateway {
  /** What is forwarded, by outer port. */
  readonly mappings: ReadonlyMap<number, { readonly inside: string; readonly port: number; readonly nonce: string }>
  /** Requests that came, `version opcode lifetime`. */
  readonly requests: string[]
  /** Forgets everything, as after a power cut. */
  restart(): void
  /** Answers every request with this result from now on. */
  refuse(result: number): void
}

export interface GatewayOptions {
  /** Version 0 alone: NAT-PMP. */
  readonly pcp?: boolean
  readonly lifetime?: number
  /** Outer ports it gives away, whatever is asked for. */
  readonly firstPort?: number
}

export function gateway(net: VirtualInternet, nat: Nat, options: GatewayOptions = {}): Gateway {
  const { pcp = true, lifetime: longest = 7_200, firstPort = 20_000 } = options
  const mappings = new Map<number, { inside: string; port: number; nonce: string }>()
  const requests: string[] = []
  let startedAt = net.clock.now()
  let next = firstPort
  let refusal = 0
  const epoch = (): number => Math.floor((net.clock.now() - startedAt) / 1000)
  const socket = nat.udp(5351)
  const outer = nat.outerAddress()!.split('.').map(Number)

  const open = (inside: string, port: number, nonce: string): number | undefined => {
    const known = [...mappings].find(([, m]) => m.inside === inside && m.port === port)
    if (known !== undefined) return known[1].nonce === nonce ? known[0] : undefined
    const external = next++
    mappings.set(external, { inside, port, nonce })
    nat.forwardPort(17, external, inside, port)
    return external
  }
  const close = (inside: string, port: number, nonce: string): void => {
    for (const [external, m] of mappings)
      if (m.inside === inside && m.port === port && m.nonce === nonce) {
        mappings.delete(external)
        nat.unforwardPort(17, external)
      }
  }

  socket.onMessage = ({ data, from, to }) => {
    const view = new DataView(data.buffer, data.byteOffset, data.length)
    const [version = 0, opcode = 0] = data
    const send = (bytes: Uint8Array): void => void socket.send(bytes, from.address, from.port, { source: to })
    const long = version === 2 || opcode === 1
    requests.push(`${version} ${opcode}${long ? ` ${view.getUint32(version === 2 ? 4 : 8)}` : ''}`)
    if (version === 2 && !pcp) {
      const bytes = new Uint8Array(8)
      bytes.set([0, 128, 0, 1])
      new DataView(bytes.buffer).setUint32(4, epoch())
      return send(bytes)
    }
    if (version === 2) {
      const wanted = Math.min(view.getUint32(4), longest)
      const nonce = String(data.subarray(24, 36))
      const port = view.getUint16(40)
      const bytes = new Uint8Array(60)
      const answer = new DataView(bytes.buffer)
      bytes.set([2, 129, 0, refusal])
      answer.setUint32(4, refusal === 0 ? wanted : 120)
      answer.setUint32(8, epoch())
      bytes.set(data.subarray(24, 42), 24)
      if (refusal === 0 && wanted === 0) close(from.address, port, nonce)
      if (refusal === 0 && wanted > 0) {
        const external = open(from.address, port, nonce)
        if (external === undefined) bytes[3] = 2
        else {
          answer.setUint16(42, external)
          bytes.set([...new Array(10).fill(0), 255, 255, ...outer], 44)
        }
      }
      return send(bytes)
    }
    if (opcode === 0) {
      const bytes = new Uint8Array(12)
      bytes.set([0, 128, 0, 0])
      new DataView(bytes.buffer).setUint32(4, epoch())
      bytes.set(outer, 8)
      return send(bytes)
    }
    const port = view.getUint16(4)
    const wanted = Math.min(view.getUint32(8), longest)
    const bytes = new Uint8Array(16)
    const answer = new DataView(bytes.buffer)
    bytes.set([0, 129, 0, refusal])
    answer.setUint32(4, epoch())
    if (refusal === 0) {
      answer.setUint16(8, port)
      if (wanted === 0) close(from.address, port, '')
      else answer.setUint16(10, open(from.address, port, '')!)
      answer.setUint32(12, wanted)
    }
    send(bytes)
  }

  return {
    mappings,
    requests,
    restart: () => {
      for (const external of mappings.keys()) nat.unforwardPort(17, external)
      mappings.clear()
      nat.reboot()
      startedAt = net.clock.now()
    },
    refuse: result => {
      refusal = result
    },
  }
}
