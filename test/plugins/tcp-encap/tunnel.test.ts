import type { AddressInfo } from 'node:net'
import { connect, createServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { parseConfig } from '../../../core/config/index.ts'
import { createNatweave, DEVICE, type Natweave, type Plugin } from '../../../core/index.ts'
import { IpProtocol } from '../../../core/wire/index.ts'
import { MemoryDevice, memory } from '../../../plugins/memory/index.ts'
import { nodeCrypto } from '../../../plugins/node-crypto/index.ts'
import { tcpEncap } from '../../../plugins/tcp-encap/index.ts'
import { udp } from '../../../plugins/udp/index.ts'
import { udpEncap } from '../../../plugins/udp-encap/index.ts'
import { newIp, sealChecksums } from '../../kit/packet.ts'

/** Two builds on loopback, IKE and ESP in one TCP stream, with somebody between them who can cut it. */

const files = {
  env: {},
  readFile: (): never => {
    throw new Error('no files')
  },
}

/** Hands TCP on to `port` until it is cut. */
async function cable(port: number) {
  const sockets: Socket[] = []
  const server = createServer(near => {
    const far = connect(port, '127.0.0.1')
    sockets.push(near, far)
    near.pipe(far).on('error', () => {})
    far.pipe(near).on('error', () => {})
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => sockets.length / 2,
    cut: () => {
      for (const socket of sockets) socket.destroy()
    },
    close: () =>
      new Promise(done => {
        for (const socket of sockets) socket.destroy()
        server.close(done)
      }),
  }
}

function build(encap: Plugin, device: MemoryDevice, config: object): Natweave {
  const { settings } = parseConfig(config, files)
  const own: Plugin = {
    name: 'device',
    api: 1,
    register: container => {
      container.register(DEVICE, { useValue: device })
    },
  }
  const sockets = udp({ addresses: ['127.0.0.1'], ikePort: 0, nattPort: 0, watchMs: 0 })
  return createNatweave({ plugins: [nodeCrypto(), sockets, memory(), udpEncap(), encap, own], settings })
}

const packet = (from: string, to: string): Uint8Array => {
  const ip = newIp(
    {
      source: Uint8Array.from(from.split('.').map(Number)),
      destination: Uint8Array.from(to.split('.').map(Number)),
      protocol: IpProtocol.UDP,
      tos: 0,
      ttl: 64,
      df: false,
      id: 1,
      flowLabel: 0,
    },
    108,
  )
  ip[25] = 108
  sealChecksums(ip)
  return ip
}

test('a tunnel in TCP stands, and goes on when its connection is cut and made again', async () => {
  const [hers, his] = [new MemoryDevice(), new MemoryDevice()]
  const psk = 'correct horse battery staple'
  const moon = build(tcpEncap({ listen: 0, addresses: ['127.0.0.1'] }), his, {
    local: { id: 'moon.example' },
    peers: {
      alice: { remoteId: 'alice.example', psk, children: { net: { local: ['10.3.0.0/24'], remote: ['10.1.0.0/24'] } } },
    },
  })
  await moon.start()
  const listening = Number(/:(\d+)$/.exec(moon.status().locals.at(-1)!)![1])
  const wire = await cable(listening)
  const alice = build(tcpEncap({ port: wire.port }), hers, {
    local: { id: 'alice.example' },
    policy: { rules: [{ use: ['tcp-encap'] }] },
    ike: { retransmit: { timeout: '200ms', tries: 8 } },
    peers: {
      moon: {
        remote: '127.0.0.1',
        remoteId: 'moon.example',
        psk,
        children: { net: { local: ['10.1.0.0/24'], remote: ['10.3.0.0/24'] } },
      },
    },
  })
  await alice.start()
  try {
    const peer = await alice.connect('moon')
    expect(peer.children[0]).toMatchObject({ encap: 'tcp-encap', mode: 'tunnel' })
    expect(peer.facts['outerProtocol']?.value).toBe('tcp')
    expect(moon.status().peers[0]!.children[0]).toMatchObject({ encap: 'tcp-encap' })

    const across = async (from: MemoryDevice, to: MemoryDevice, bytes: Uint8Array): Promise<Uint8Array> => {
      const arrived = new Promise<Uint8Array>(resolve => {
        to.deliver = resolve
      })
      // what is sent while nobody has called again is lost, as datagrams are: say it until it is heard
      const again = setInterval(() => from.inject(bytes), 50)
      from.inject(bytes)
      try {
        return await arrived
      } finally {
        clearInterval(again)
      }
    }
    const [there, back] = [packet('10.1.0.1', '10.3.0.1'), packet('10.3.0.1', '10.1.0.1')]
    expect(await across(hers, his, there)).toEqual(there)
    expect(await across(his, hers, back)).toEqual(back)

    const before = moon.status().peers[0]!.remote
    wire.cut()
    expect(await across(hers, his, there)).toEqual(there)
    expect(await across(his, hers, back)).toEqual(back)
    expect(wire.connections()).toBe(2)
    expect(moon.status().peers[0]!.remote).not.toBe(before)
    // the same SAs all the time
    expect(alice.status().peers[0]!.spiInitiator).toBe(peer.spiInitiator)
  } finally {
    await alice.stop()
    await moon.stop()
    await wire.close()
  }
})
