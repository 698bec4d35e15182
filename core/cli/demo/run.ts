import { type JudgedPlan, type Natweave, NatweaveError, type NatweaveEvent } from '../../index.ts'
import type { Association, BulkResult, DemoResult, Eavesdropper, PingResult, SeenFact } from './result.ts'
import { ALICE, MARS, type Scenario } from './scenario.ts'
import { assemble, type Sighting, sight } from './sightings.ts'

const PINGS = 5
const BULK_BYTES = 2_000_000
const LOSS = 0.01
/** Longer than alice's NAT remembers: without keepalives the tunnel would be dead afterwards. */
const IDLE_MS = 65_000
const PATIENCE_MS = 120_000
const SHARES = 48

/**
 * Lets alice connect to moon, ping mars, be silent for a minute, send mars a file over a bad line, and hang up; watches
 * every segment meanwhile.
 *
 * @param realNow - real ms, for how long the simulation takes
 */
export async function run(world: Scenario, seed: number, realNow: () => number): Promise<DemoResult> {
  const { net, alice, moon, segments, topology } = world
  const started = realNow()
  const seen = segments.map((): Sighting[] => [])
  for (const [index, lan] of segments.entries()) net.tap(lan, (packet, { at }) => seen[index]!.push(sight(packet, at)))
  const log = new EventLog()
  log.follow('alice', alice)
  log.follow('moon', moon)
  const failures: string[] = []
  let sa: Association | undefined
  let plans: readonly JudgedPlan[] = []
  let ping: PingResult | undefined
  let bulk: BulkResult | undefined
  let roundTrips = 0
  let step = 'start'
  try {
    await Promise.all([alice.start(), moon.start()])
    step = 'connect'
    await drive(world, alice.connect('moon'))
    sa = association(alice)
    plans = alice.plan('moon')[0]?.plans ?? []
    // what alice asks once the tunnel is up (MOBIKE learns the NAT's mapping) delays nobody
    const requests = seen[0]!.filter(
      ({ title, from }) => /^IKE_\w+ request /.test(title) && from.startsWith(`${ALICE}:`),
    )
    roundTrips = new Set(requests.map(({ title }) => title)).size
    // the device learns its address and routes in its own time
    await net.advance(0)
    step = 'ping'
    ping = await pings(world)
    await net.advance(IDLE_MS)
    step = 'transfer'
    bulk = await transfer(world, seen[1]!, realNow)
    world.aliceNat.interface('wan0').link.loss = 0
    // the last acknowledgments of the transfer are still under way
    await net.advance(1_000)
    step = 'disconnect'
    await drive(world, alice.disconnect('moon'))
  } catch (error) {
    failures.push(`${step}: ${told(error)}`)
  }
  try {
    await drive(world, Promise.all([alice.stop(), moon.stop()]))
  } catch (error) {
    failures.push(`stop: ${told(error)}`)
  }
  const eavesdropper = listen(seen[1]!)
  if (ping !== undefined && ping.received < ping.sent) failures.push(`${ping.sent - ping.received} pings unanswered`)
  if (bulk?.failure !== undefined) failures.push(`the transfer ended early: ${bulk.failure}`)
  else if (bulk?.intact === false) failures.push('the file did not arrive as it was sent')
  if (eavesdropper.clear > 0) failures.push(`${eavesdropper.clear} packets in the clear`)
  return {
    ok: failures.length === 0,
    failures,
    seed,
    topology,
    messages: assemble(seen, ALICE),
    payloads: Object.fromEntries(log.payloads),
    facts: log.facts,
    plans,
    sa,
    ping,
    bulk,
    eavesdropper,
    roundTrips,
    upMs: log.upAt,
    simulatedMs: net.clock.now(),
    realMs: realNow() - started,
  }
}

const told = (error: unknown): string => {
  const [first] = String(error instanceof Error ? error.message : error).split('\n')
  return error instanceof NatweaveError
    ? `${error.code}: ${first}`
    : `a bug: ${error instanceof Error ? error.stack : first}`
}

/** What the nodes themselves told. */
class EventLog {
  readonly facts: SeenFact[] = []
  /** Content of messages by title, from alice. */
  readonly payloads = new Map<string, string>()
  /** When alice's Child SA stood. */
  upAt: number | undefined

  follow(by: string, node: Natweave): void {
    node.on(event => this.#take(by, event))
  }

  #take(by: string, event: NatweaveEvent): void {
    if (event.type === 'fact') {
      const { at, name, value, source } = event
      this.facts.push({ at, by, name, value, source })
    } else if (event.type === 'message' && by === 'alice') {
      const [, title, inside] = /^(.*?) \[ (.*) \]$/.exec(event.summary) ?? []
      if (title !== undefined && inside !== undefined) this.payloads.set(title, inside)
    } else if (event.type === 'child-up' && by === 'alice') this.upAt ??= event.at
  }
}

/** Lets virtual time pass until the promise has settled. */
async function drive<T>({ net }: Scenario, promise: Promise<T>): Promise<T> {
  let settled = false
  const watched = promise.finally(() => {
    settled = true
  })
  // the rejection is the caller's; without this it would count as unhandled while time passes
  watched.catch(() => {})
  await net.until(() => settled, { within: PATIENCE_MS })
  return watched
}

function association(alice: Natweave): Association | undefined {
  const peer = alice.status().peers[0]
  const child = peer?.children[0]
  if (peer?.plan === undefined || child === undefined) return undefined
  return {
    ikeSuite: peer.suite ?? '',
    ikeSpis: [peer.spiInitiator ?? '', peer.spiResponder ?? ''],
    mode: child.mode,
    encap: child.encap,
    path: peer.plan.path,
    espSuite: child.suite,
    espSpis: [child.spiIn, child.spiOut],
    local: peer.local ?? '',
    remote: peer.remote ?? '',
    selectors: [child.local, child.remote],
    virtualAddresses: peer.virtualAddresses,
  }
}

async function pings({ net, aliceHost, aliceDevice }: Scenario): Promise<PingResult> {
  const ping = aliceHost.ping(MARS, { count: PINGS, interval: 200 })
  await net.until(() => ping.done, { within: PATIENCE_MS })
  const from = aliceDevice.addresses[0]?.text ?? ALICE
  return { from, to: MARS, sent: ping.sent, received: ping.received, rtts: ping.rtts }
}

async function transfer(world: Scenario, wire: readonly Sighting[], realNow: () => number): Promise<BulkResult> {
  const { net, aliceHost, aliceNat } = world
  const { link } = aliceNat.interface('wan0')
  link.loss = LOSS
  const [began, realBegan] = [net.clock.now(), realNow()]
  const bulk = aliceHost.bulk(MARS, { bytes: BULK_BYTES, window: 64 })
  await net.until(() => bulk.done, { within: PATIENCE_MS })
  const curve = new Array<number>(SHARES).fill(0)
  const outer = aliceNat.outerAddress() ?? ''
  for (const { at, kind, from, octets } of wire) {
    if (at < began || kind !== 'esp' || !from.startsWith(`${outer}:`)) continue
    const share = Math.floor(((at - began) / Math.max(1, bulk.duration)) * SHARES)
    if (share < SHARES) curve[share]! += octets
  }
  return {
    bytes: bulk.bytes,
    intact: bulk.intact,
    failure: bulk.failure,
    digest: bulk.digest,
    durationMs: bulk.duration,
    realMs: realNow() - realBegan,
    retransmissions: bulk.retransmissions,
    loss: LOSS,
    curve,
  }
}

function listen(wire: readonly Sighting[]): Eavesdropper {
  const heard = { esp: 0, espOctets: 0, ike: 0, keepalive: 0, clear: 0 }
  for (const { kind, octets } of wire) {
    heard[kind]++
    if (kind === 'esp') heard.espOctets += octets
  }
  return heard
}
