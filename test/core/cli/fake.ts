import type {
  CheckReport,
  Natweave,
  NatweaveEvent,
  PeerStatus,
  PlanReport,
  Status,
} from '../../../core/contracts/natweave.ts'
import { PeerError, UsageError } from '../../../core/errors.ts'

export const idle: PeerStatus = {
  name: 'moon',
  state: 'idle',
  role: undefined,
  localId: 'alice@lab.test',
  remoteId: '%any',
  local: undefined,
  remote: undefined,
  suite: undefined,
  spiInitiator: undefined,
  spiResponder: undefined,
  plan: undefined,
  facts: {},
  virtualAddresses: [],
  children: [],
  ageMs: undefined,
  lastError: undefined,
}

const plan = { path: 'direct', encap: 'udp-encap', mode: 'tunnel' }

export const established: PeerStatus = {
  ...idle,
  state: 'established',
  role: 'initiator',
  remoteId: 'moon@lab.test',
  local: '192.0.2.1:4500',
  remote: '198.51.100.7:4500',
  suite: 'aes256gcm16-prfsha256-x25519',
  spiInitiator: '1111111111111111',
  spiResponder: '2222222222222222',
  plan,
  virtualAddresses: ['10.9.0.1'],
  ageMs: 61_000,
  children: [
    {
      id: '1',
      name: 'lan',
      state: 'installed',
      mode: 'tunnel',
      encap: 'udp-encap',
      plane: 'portable',
      suite: 'aes128gcm16',
      spiIn: 'aaaaaaaa',
      spiOut: 'bbbbbbbb',
      local: ['10.9.0.1/32'],
      remote: ['10.3.0.0/24'],
      counters: {
        packetsIn: 3,
        octetsIn: 252,
        packetsOut: 4,
        octetsOut: 12_000_000,
        lastIn: 0,
        lastOut: 0,
        drops: { replay: 1 },
      },
      ageMs: 60_000,
    },
  ],
}

export const reports: readonly PlanReport[] = [
  {
    peer: 'moon',
    child: 'lan',
    at: 90_000,
    facts: {
      mobile: { value: true, source: 'policy.facts.mobile', at: 0 },
      localBehindNat: { value: true, source: 'NAT_DETECTION from 198.51.100.7', at: 30_000 },
    },
    rules: [
      { at: 'policy.rules[0]', state: 'matched', why: 'mobile is true' },
      { at: 'policy.rules[1]', state: 'unknown', why: 'udpBlocked is not known yet' },
    ],
    problems: ['fixed-ike-ports', 'mapping-timeouts'],
    remedies: [
      {
        side: 'here',
        change: 'give this host an address that no NAT translates',
        plan: { ...plan, encap: 'none' },
        cost: { octets: 20, roundTrips: 0, trusts: [] },
      },
    ],
    plans: [
      {
        plan,
        usable: true,
        reasons: ['the only usable plan', 'costs 28 octets per packet'],
        cost: { octets: 28, roundTrips: 1, trusts: ['med.example'] },
        solves: ['mapping-timeouts'],
      },
      {
        plan: { ...plan, encap: 'none' },
        usable: false,
        reasons: ['a NAT is on the way'],
        cost: undefined,
        solves: [],
      },
    ],
  },
]

/** A build that does at once what it is told, for what lies between the command line and it. */
export class FakeNatweave implements Natweave {
  readonly calls: string[] = []
  readonly listeners = new Set<(event: NatweaveEvent) => void>()

  async start(): Promise<void> {
    this.calls.push('start')
  }

  async stop(): Promise<void> {
    this.calls.push('stop')
  }

  async connect(peer: string): Promise<PeerStatus> {
    this.calls.push(`connect ${peer}`)
    if (peer === 'mars') throw new PeerError('PEER_AUTH_FAILED', 'mars: check the pre-shared key')
    if (peer !== 'moon') throw new UsageError('USAGE_PEER', `no peer "${peer}"`)
    this.#say({ at: 1, peer, type: 'connecting', plan })
    this.#say({ at: 2, peer, type: 'keys', line: { sk_ei: 'never to leave the process' } })
    this.#say({ at: 3, peer, type: 'established', suite: 'aes256gcm16', remoteId: 'moon@lab.test' })
    return established
  }

  async disconnect(peer: string): Promise<void> {
    this.calls.push(`disconnect ${peer}`)
  }

  async rekey(peer: string, child?: string): Promise<void> {
    this.calls.push(`rekey ${peer} ${child}`)
  }

  status(): Status {
    return { peers: [idle], locals: ['192.0.2.1:500'], candidates: [], device: 'nw0', plugins: ['udp'], drops: {} }
  }

  plan(): readonly PlanReport[] {
    return reports
  }

  check(): CheckReport {
    return { findings: [], reach: [] }
  }

  on(listener: (event: NatweaveEvent) => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  #say(event: NatweaveEvent): void {
    for (const listener of this.listeners) listener(event)
  }
}
