import { MARKER } from '../capture.ts'
import type { Case } from '../case.ts'
import type { Lab } from '../lab.ts'
import { ADDRESS } from '../lab.ts'
import { ping } from '../traffic.ts'
import { Tunnel, type TunnelOptions } from '../tunnel.ts'

const OPTIONS = { initiator: 'strongSwan', responder: 'strongSwan', nat: 'port-restricted' } as const

/** Sets a tunnel up, does `wrong`, and wants the checks to object in the given words. */
async function objects(
  lab: Lab,
  words: RegExp,
  wrong: (tunnel: Tunnel) => Promise<void>,
  more: Partial<TunnelOptions> = {},
) {
  const tunnel = await Tunnel.up(lab, { ...OPTIONS, ...more })
  await ping(lab, 'alice', tunnel.mars.address)
  await wrong(tunnel)
  const objection = await tunnel.expectProtected().then(
    () => undefined,
    (error: Error) => error.message,
  )
  if (objection === undefined || !words.test(objection))
    throw new Error(`wanted ${words}, got: ${objection ?? 'no objection'}`)
  return [`found: ${objection.slice(0, 120)}`]
}

/** A datagram from a bystander to moon; `octets` in the notation of printf. */
const datagram = (lab: Lab, port: number, octets: string) =>
  lab.exec('med', ['bash', '-c', `printf '${octets}' > /dev/udp/${ADDRESS.moon}/${port}`])

const NAME = 'control'

/** The checks themselves under test: each of these wrongs must be found. */
export const cases: readonly Case[] = [
  {
    name: `${NAME} a packet in the clear`,
    run: lab => objects(lab, /clear packets.*protocol 1 /, async () => void (await ping(lab, 'med', ADDRESS.moon, 1))),
  },
  {
    name: `${NAME} our traffic in ESP without encryption`,
    run: lab =>
      objects(lab, /clear packets.*UDP 203\.0\.113\.10/, async () => {
        await datagram(lab, 4500, `\\x11\\x22\\x33\\x44\\0\\0\\0\\1 ${MARKER}`)
      }),
  },
  {
    name: `${NAME} ESP of an unknown SA`,
    run: lab =>
      objects(lab, /SPIs on the wire: 3, wanted 2/, async () => {
        await datagram(lab, 4500, '\\x11\\x22\\x33\\x44\\0\\0\\0\\1 0123456789abcdef0123456789abcdef')
      }),
  },
  {
    name: `${NAME} a malformed IKE message`,
    run: lab =>
      objects(lab, /tshark: frame/, async () => {
        // an IKE_SA_INIT response, which moon will not answer, whose SA payload claims 200 octets
        const header =
          '\\x01\\2\\3\\4\\5\\6\\7\\x08\\0\\0\\0\\0\\0\\0\\0\\0\\x21\\x20\\x22\\x20\\0\\0\\0\\0\\0\\0\\0\\x24'
        await datagram(lab, 500, `${header}\\0\\0\\0\\xc8\\0\\0\\0\\0`)
      }),
  },
  {
    name: `${NAME} keys that do not fit`,
    run: lab =>
      objects(lab, /tshark: frame .* bad ICV/, async ({ alice }) => {
        const keys = await alice.keys()
        const flip = (hex: string) => hex.replace(/^./, digit => (digit === '0' ? '1' : '0'))
        alice.keys = async () =>
          keys.map(line => (line.type === 'esp' ? { ...line, encrKey: flip(line.encrKey) } : line))
      }),
  },
  {
    name: `${NAME} a lost packet`,
    run: async lab => {
      const tunnel = await Tunnel.up(lab, { ...OPTIONS })
      await lab.nat('nata', 'port-restricted', '--loss', '30')
      await lab.exec('alice', ['ping', '-c', '50', '-i', '0.02', '-W', '1', tunnel.mars.address]).catch(() => undefined)
      const found = await tunnel.nothingLost().catch((error: Error) => error.message)
      if (typeof found !== 'string') throw new Error('the loss was not noticed')
      return [`found: ${found}`]
    },
  },
]
