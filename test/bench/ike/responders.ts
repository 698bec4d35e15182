import { existsSync, readFileSync } from 'node:fs'
import type { ConfigInput } from '../../../core/config/index.ts'
import { CHARON } from '../../interop/charon.ts'
import { ADDRESS, type Lab, last } from '../../interop/lab.ts'
import { type Background, run, until } from '../../interop/process.ts'
import { unbuilt } from '../built.ts'
import { LOAD } from './handshake.ts'
import type { LoadOptions, LoadReport } from './load.ts'

/** Who answers the initiators, on moon; alice has these. */

const GATEWAY = new URL('./gateway.mjs', import.meta.url).pathname
const LOADER = new URL('./load.ts', import.meta.url).pathname
const TSX = ['--import', import.meta.resolve('tsx')]
/** Clock ticks of /proc/PID/stat, which Linux has had at 100 a second for all programs since 2.6. */
const TICK = 100

export class Responder {
  readonly #process: Background
  readonly #pid: number

  constructor(process: Background, pid: number) {
    this.#process = process
    this.#pid = pid
  }

  /** User and system time so far, seconds. */
  get cpu(): number {
    const stat = readFileSync(`/proc/${this.#pid}/stat`, 'latin1').replace(/^.*\) /, '')
    const fields = stat.split(' ')
    return (Number(fields[11]) + Number(fields[12])) / TICK
  }

  /** Resident memory, octets. */
  get resident(): number {
    const status = readFileSync(`/proc/${this.#pid}/status`, 'latin1')
    return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) * 1_024
  }

  async stop(): Promise<void> {
    await this.#process.stop()
  }
}

/** Starts one, ready for initiators. */
export type Start = (lab: Lab) => Promise<Responder>

const natweave: Start = async lab => {
  const config: ConfigInput = {
    peers: {
      clients: {
        localId: LOAD.gateway,
        remoteId: '*',
        psk: LOAD.psk,
        proposals: [LOAD.ike],
        encapsulation: 'force',
        // the initiators end after each step and leave their SAs behind
        dpd: 0,
        children: { net: { local: [LOAD.local], remote: [LOAD.remote], proposals: [LOAD.esp] } },
      },
    },
  }
  const process = lab.spawn('moon', 'gateway', [globalThis.process.execPath, GATEWAY, JSON.stringify(config)])
  await until('natweave', 20_000, async () => {
    if (!process.alive) throw new Error(`natweave ended: ${last(process.log())}`)
    return process.log().includes('ready')
  })
  return new Responder(process, process.pid)
}

/** As quiet as natweave is: nothing logged, no route set; ESP in user space, as natweave has it. */
const strongSwan: Start = async lab => {
  const socket = lab.file('moon', 'load.vici')
  const settings = lab.write(
    'moon',
    'load.conf',
    `charon {
  load = random nonce openssl kdf kernel-libipsec kernel-netlink socket-default vici
  install_routes = no
  user = root
  filelog { load { path = ${lab.file('moon', 'charon.log')}
    default = -1 } }
  plugins { vici { socket = unix://${socket} } }
}
`,
  )
  const connections = lab.write(
    'moon',
    'load-swanctl.conf',
    `connections { clients {
  version = 2
  local_addrs = ${ADDRESS.moon}
  proposals = ${LOAD.ike}
  local { auth = psk
    id = ${LOAD.gateway} }
  remote { auth = psk
    id = %any }
  children { net {
    local_ts = ${LOAD.local}
    remote_ts = ${LOAD.remote}
    esp_proposals = ${LOAD.esp} } }
} }
secrets { ike { secret = "${LOAD.psk}" } }
`,
  )
  // its PID file stands at a fixed place
  const script = 'mount -t tmpfs none /run && exec "$1"'
  const argv = ['unshare', '-m', '--propagation', 'private', 'sh', '-c', script, 'sh', CHARON]
  const env = { STRONGSWAN_CONF: settings }
  const process = lab.spawn('moon', 'charon', argv, env)
  const swanctl = (...args: string[]) => run(['swanctl', ...args, '--uri', `unix://${socket}`], { env })
  await until('charon', 10_000, async () => {
    if (!process.alive) throw new Error(`charon ended: ${last(process.log())}`)
    return existsSync(socket) && (await swanctl('--stats')).code === 0
  })
  const loaded = await swanctl('--load-all', '--noprompt', '--file', connections)
  if (loaded.code !== 0) throw new Error(`swanctl: ${last(loaded.stderr, loaded.stdout)}`)
  // all wrappers end in exec: it is the process that was started
  return new Responder(process, process.pid)
}

/** The slowest is named first where ratios are shown. */
export const RESPONDERS: Readonly<Record<string, Start>> = { 'strongSwan, charon': strongSwan, natweave }

/** A load from alice to its end. */
export async function load(lab: Lab, wish: Omit<LoadOptions, 'gateway' | 'port'>): Promise<LoadReport> {
  const options: LoadOptions = { gateway: ADDRESS.moon, port: 4500, ...wish }
  const done = await lab.exec('alice', [process.execPath, ...TSX, LOADER, JSON.stringify(options)], 600_000)
  return JSON.parse(done.stdout) as LoadReport
}

/** Why it cannot be measured here, in words; undefined when it can. */
export function responderObstacle(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux, for network namespaces'
  return existsSync(CHARON) && existsSync('/usr/sbin/swanctl')
    ? unbuilt()
    : 'missing strongSwan; see test/interop/README.md for its packages'
}
