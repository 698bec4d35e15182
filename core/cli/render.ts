import { knownFact } from '../contracts/facts.ts'
import type {
  ChildStatus,
  Finding,
  NatweaveEvent,
  PeerStatus,
  PlanReport,
  Reach,
  Status,
} from '../contracts/natweave.ts'
import type { Cost, Plan } from '../contracts/strategy.ts'
import { type Output, table } from './output.ts'

/** Status, plans and events as people read them. */

const STATE_COLOUR = { established: 'green', connecting: 'yellow', closing: 'yellow', idle: 'dim' } as const

export function renderStatus(status: Status, { colours: c }: Output): string[] {
  const { manual = [] } = status
  if (status.peers.length + manual.length === 0) return ['no peers are configured']
  const lines = status.peers.flatMap(peer => renderPeer(peer, c))
  for (const sa of manual)
    lines.push(
      `${c.bold(sa.name)}  manual keys${sa.state === 'installed' ? '' : ', not installed'}`,
      ...renderChild(sa, c),
    )
  const drops = Object.entries(status.drops)
  if (drops.length > 0) lines.push('', c.dim(`dropped: ${drops.map(([reason, n]) => `${reason} ${n}`).join(', ')}`))
  return [
    ...lines,
    '',
    c.dim(`listening on ${status.locals.join(', ')}${status.device === undefined ? '' : `; device ${status.device}`}`),
  ]
}

const throughRelay = ({ facts }: PeerStatus): string =>
  knownFact(facts, 'relayed') === true ? ', through a relay' : ''

function renderPeer(peer: PeerStatus, c: Output['colours']): string[] {
  const head = `${c.bold(peer.name)}  ${c[STATE_COLOUR[peer.state]](peer.state)}`
  const lines = [peer.ageMs === undefined ? head : `${head} ${c.dim(`for ${duration(peer.ageMs)}`)}`]
  const rows: string[][] = [['  ', 'identity', `${peer.localId} ↔ ${peer.remoteId}`]]
  if (peer.local !== undefined) rows.push(['  ', 'path', `${peer.local} ↔ ${peer.remote}${throughRelay(peer)}`])
  if (peer.additionalAddresses !== undefined && peer.additionalAddresses.length > 0)
    rows.push(['  ', 'also at', peer.additionalAddresses.join(', ')])
  if (peer.suite !== undefined)
    rows.push([
      '  ',
      'IKE',
      `${peer.suite}${peer.resumed ? ', resumed' : ''}  ${c.dim(`${peer.spiInitiator}_i ${peer.spiResponder}_r`)}`,
    ])
  if (peer.proof !== undefined) {
    const { own, peer: theirs, ppk } = peer.proof
    rows.push(['  ', 'proof', `${own} ↔ ${theirs}${ppk === undefined ? '' : `; PPK ${ppk}`}`])
  }
  if (peer.plan !== undefined) rows.push(['  ', 'plan', `${peer.plan.path} + ${peer.plan.encap} + ${peer.plan.mode}`])
  if (peer.virtualAddresses.length > 0) rows.push(['  ', 'virtual', peer.virtualAddresses.join(', ')])
  if (peer.lastError !== undefined) rows.push(['  ', 'last error', c.red(peer.lastError)])
  lines.push(...table(rows))
  return [...lines, ...peer.children.flatMap(child => renderChild(child, c))]
}

function renderChild(child: ChildStatus, c: Output['colours']): string[] {
  const { packetsIn, octetsIn, packetsOut, octetsOut, drops } = child.counters
  const dropped = Object.entries(drops).map(([reason, n]) => `${reason} ${n}`)
  return [
    `  ${c.bold(child.name)}  ${child.mode} in ${child.encap}, ${child.suite}  ${c.dim(`${child.spiIn} in, ${child.spiOut} out, ${child.plane} plane`)}`,
    ...table([
      ['    ', 'selectors', `${child.local.join(', ')} === ${child.remote.join(', ')}`],
      ['    ', 'in', `${packetsIn} packets, ${octets(octetsIn)}`],
      ['    ', 'out', `${packetsOut} packets, ${octets(octetsOut)}`],
      ...(dropped.length === 0 ? [] : [['    ', 'dropped', dropped.join(', ')]]),
    ]),
  ]
}

const RULE = {
  matched: ['green', 'matched'],
  'not-matched': ['dim', 'did not match'],
  unknown: ['yellow', 'waits'],
} as const
const SIDE = { here: 'here', peer: 'at the peer', both: 'on both sides', network: 'in the network' } as const
const showPlan = ({ path, encap, mode }: Plan): string => `${path} + ${encap} + ${mode}`

export const renderPlans = (reports: readonly PlanReport[], { colours }: Output): string[] =>
  reports.flatMap(report => renderReport(report, colours))

function renderReport(report: PlanReport, c: Output['colours']): string[] {
  const { peer, child, at, facts, rules, problems, plans, remedies } = report
  const age = (since: number): string => (since === 0 ? 'from the start' : `${duration(Math.max(0, at - since))} ago`)
  const section = (title: string, lines: readonly string[]): string[] =>
    lines.length === 0 ? [] : [`  ${c.underline(title)}`, ...lines]
  return [
    c.bold(`${peer}/${child}`),
    ...section(
      'facts',
      Object.keys(facts).length === 0
        ? [c.dim('    nothing is known of the network yet')]
        : table(
            Object.entries(facts).map(([n, f]) => ['    ', n, String(f.value), c.dim(`${f.source}, ${age(f.at)}`)]),
          ),
    ),
    ...section(
      'rules',
      table(rules.map(({ at, state, why }) => ['    ', at, c[RULE[state][0]](RULE[state][1]), c.dim(why)])),
    ),
    ...section('in the way', problems.length === 0 ? [] : [`    ${problems.join(', ')}`]),
    ...section(
      'plans, best first',
      plans.flatMap(({ plan, usable, reasons, cost, solves }, i) => [
        `  ${usable ? (i === 0 ? c.green('→') : ' ') : c.red('✗')} ${showPlan(plan)}`,
        ...reasons.filter(reason => !reason.startsWith('costs ')).map(reason => c.dim(`      ${reason}`)),
        ...(usable && cost !== undefined ? [`      ${renderCost(cost)}; cures ${solves.join(', ') || 'nothing'}`] : []),
      ]),
    ),
    ...section(
      'what would allow a better plan',
      remedies.map(
        ({ side, change, plan, cost }) =>
          `    ${SIDE[side]}: ${change} ${c.dim(`→ ${showPlan(plan)}${cost === undefined ? '' : `, ${renderCost(cost)}`}`)}`,
      ),
    ),
  ]
}

const renderCost = ({ octets: grows, roundTrips, trusts }: Cost): string =>
  [
    `${grows} octets per packet`,
    `${roundTrips} round trip${roundTrips === 1 ? '' : 's'} first`,
    trusts.length === 0 ? 'trusts the peer only' : `trusts ${trusts.join(' and ')}`,
  ].join(', ')

export const renderFindings = (findings: readonly Finding[], { colours: c }: Output): string[] =>
  findings.map(
    ({ severity, at, problem }) => `${severity === 'error' ? c.red('error') : c.yellow('warning')} ${at}: ${problem}`,
  )

const REACH = {
  always: ['green', 'always reachable'],
  sometimes: ['yellow', 'not always reachable'],
  never: ['red', 'never reachable'],
} as const

export function renderReach({ verdict, assuming, without }: Reach, { colours: c }: Output): string[] {
  const [colour, words] = REACH[verdict]
  return [
    `    ${c[colour](words)}${verdict === 'never' || assuming.length === 0 ? '' : c.dim(', as long as')}`,
    ...(verdict === 'never'
      ? []
      : ['the peer is configured to match', ...assuming].map(need => c.dim(`      ${need}`))),
    ...without.map(text => `      no plan for ${text}`),
  ]
}

/** One line for an event, undefined for those that are for programs only. */
export function renderEvent(event: NatweaveEvent, c: Output['colours']): string | undefined {
  switch (event.type) {
    case 'connecting':
      return `connecting: ${event.plan.path} + ${event.plan.encap} + ${event.plan.mode}`
    case 'progress':
      return event.text
    case 'message':
      return c.dim(`${event.direction === 'out' ? '→' : '←'} ${event.summary}  ${event.from} → ${event.to}`)
    case 'fact':
      return `found: ${event.name} = ${event.value} ${c.dim(`(${event.source})`)}`
    case 'plan':
      return `plan: ${event.plan.path} + ${event.plan.encap} + ${event.plan.mode} ${c.dim(`(${event.why})`)}`
    case 'established':
      return c.green(`${event.resumed ? 'resumed' : 'established'} with ${event.remoteId}, ${event.suite}`)
    case 'child-up':
      return c.green(`${event.child} is up: ${event.plan.mode} in ${event.plan.encap}, ${event.suite}`)
    case 'child-rekeyed':
      return `${event.child} rekeyed`
    case 'rekeyed':
      return 'IKE SA rekeyed'
    case 'redirected':
      return `the peer sends us to ${event.to}`
    case 'reauthenticated':
      return 'authenticated anew, by another IKE SA'
    case 'reauth-failed':
      return c.yellow(`the peer could not be authenticated anew: ${event.why}`)
    case 'rekey-failed':
      return c.red(`the IKE SA could not be rekeyed: ${event.why}`)
    case 'child-failed':
      return c.red(`${event.child || 'a child'} failed: ${event.why}`)
    case 'child-down':
      return `${event.child} is down: ${event.why}`
    case 'moved':
      return `the path is now ${event.local === undefined ? '' : `${event.local} ↔ `}${event.remote}`
    case 'plugin-failed':
      return c.red(`plugin ${event.plugin} has failed and is stopped: ${event.why}`)
    case 'forged-packets': {
      const count = `${event.failures} packets in ${duration(event.windowMs)} for ${event.child} did not authenticate`
      return c.yellow(event.rekey ? `${count}: it gets a new SPI` : count)
    }
    case 'down':
      return `down: ${event.why}`
    case 'failed':
      return c.red(`failed: ${event.why}`)
    case 'acquire':
      return `traffic asks for ${event.child}`
    case 'retry':
      return 'trying again'
    case 'keys':
      return undefined
  }
}

export function duration(ms: number): string {
  const s = Math.floor(ms / 1_000)
  if (s < 60) return `${s} s`
  if (s < 3_600) return `${Math.floor(s / 60)} min ${s % 60} s`
  return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`
}

function octets(n: number): string {
  const units = ['octets', 'kB', 'MB', 'GB', 'TB']
  let value = n
  let unit = 0
  for (; value >= 10_000 && unit < units.length - 1; unit++) value /= 1_000
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`
}
