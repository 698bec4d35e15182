import type { Case } from '../case.ts'
import type { Lab } from '../lab.ts'
import { NatweaveProcess } from '../natweave.ts'
import type { TunnelConfig } from '../party.ts'
import { run, until } from '../process.ts'
import { ping } from '../traffic.ts'
import { Tunnel } from '../tunnel.ts'

/** Session resumption, RFC 5723: strongSwan 5.9.8 has none, so both ends are natweave, and Wireshark is the witness. */

const TICKET_KEY = "an interop gateway's key of its tickets"
const FILTER = 'isakmp.exchangetype == 34 || isakmp.exchangetype == 38'

/** What Wireshark calls the messages in the clear that open IKE SAs, with their notifies about tickets. */
async function openings(capture: string): Promise<readonly string[]> {
  // a NAT may have picked any port for what goes to 500
  const ports = ['1-499,isakmp', '501-1023,isakmp', '1024-4499,udpencap'].flatMap(each => ['-d', `udp.port==${each}`])
  const done = await run(['tshark', '-n', '-r', capture, ...ports, '-Y', FILTER, '-V', '-O', 'isakmp'])
  if (done.code !== 0) throw new Error(`tshark: ${done.stderr.trim()}`)
  return done.stdout
    .split(/^Frame /m)
    .slice(1)
    .map(frame => {
      if (/Malformed/.test(frame)) throw new Error(`tshark: malformed: ${frame}`)
      const exchange = /Exchange type: (\S+)/.exec(frame)?.[1] ?? '?'
      const tickets = frame.match(/Notify Message Type: \S*TICKET_\w+/g) ?? []
      return [exchange, ...tickets.map(each => each.replace('Notify Message Type: ', ''))].join(' ')
    })
}

/** The gateway loses power and comes up again; the client, which has found out, calls it again. */
async function restart(lab: Lab, noble: TunnelConfig['role'], ticketKey?: string): Promise<readonly string[]> {
  const ends = { initiator: 'natweave', responder: 'natweave', nat: 'port-restricted' } as const
  const tunnel = await Tunnel.up(lab, { ...ends, noble, dpdSeconds: 1, ...(ticketKey !== undefined && { ticketKey }) })
  const { alice, moon } = tunnel
  if (!(alice instanceof NatweaveProcess && moon instanceof NatweaveProcess)) throw new Error('both ends are natweave')
  const before = await tunnel.inner()
  await ping(lab, 'alice', tunnel.mars.address)
  // a kernel whose program is gone answers with ICMP; one without power does not
  moon.freeze()
  await until('alice without SAs', 20_000, async () => (await alice.sas()).length === 0)
  await moon.crash()
  const capture = await lab.capture('inet', 'br0', 'resumption', 0, 'udp')
  await moon.start()
  const start = performance.now()
  await alice.connect()
  const ms = Math.round(performance.now() - start)
  await tunnel.settled()
  const seen = await openings(await capture())
  const wanted =
    ticketKey === undefined
      ? ['IKE_SESSION_RESUME TICKET_OPAQUE', 'IKE_SESSION_RESUME TICKET_NACK', 'IKE_SA_INIT', 'IKE_SA_INIT']
      : ['IKE_SESSION_RESUME TICKET_OPAQUE', 'IKE_SESSION_RESUME']
  if (seen.join() !== wanted.join()) throw new Error(`tshark names: ${seen.join(', ')}; wanted ${wanted.join(', ')}`)
  const resumed = await Promise.all([alice.resumed(), moon.resumed()])
  if (resumed.some(each => each !== (ticketKey !== undefined))) throw new Error(`status says resumed: ${resumed}`)
  const inner = await tunnel.inner()
  if (inner.address !== before.address) throw new Error(`alice was ${before.address}, and is ${inner.address}`)
  const there = await ping(lab, 'alice', tunnel.mars.address)
  const back = await ping(lab, 'mars', inner.address)
  return [
    `tshark names ${seen.join(', ')}`,
    `connected in ${ms} ms`,
    `ping ${there} ${back}`,
    ...(await tunnel.expectProtected('rekeyed')),
  ]
}

/** A gateway that knows nothing of tickets is asked for one, and goes on as ever. */
async function asked(lab: Lab): Promise<readonly string[]> {
  const tunnel = await Tunnel.up(lab, { initiator: 'natweave', responder: 'strongSwan', nat: 'port-restricted' })
  const request = /parsed IKE_AUTH request 1 \[.*\]/.exec(tunnel.moon.log())?.[0] ?? 'nothing'
  if (!/TKT_REQ|TICKET_REQUEST/.test(request)) throw new Error(`charon has ${request}`)
  const there = await ping(lab, 'alice', tunnel.mars.address)
  return ['charon was asked for a ticket', `ping ${there}`, ...(await tunnel.expectProtected())]
}

const row = (what: string, noble: TunnelConfig['role'], ticketKey?: string): Case => ({
  name: `resumption nat1 natweave→natweave ${what}, ${noble}: noble`,
  needs: 'natweave',
  run: lab => restart(lab, noble, ticketKey),
})

export const cases: readonly Case[] = [
  row('gateway restarts', 'initiator', TICKET_KEY),
  row('gateway restarts', 'responder', TICKET_KEY),
  row('gateway restarts and has forgotten its key', 'initiator'),
  { name: 'resumption nat1 natweave→strongSwan no ticket is given', needs: 'natweave', run: asked },
]
