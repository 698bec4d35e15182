import type { Case } from '../case.ts'
import { type End, end, type Said } from '../gateway.ts'
import { ADDRESS, type Lab } from '../lab.ts'
import type { Product } from '../party.ts'
import { until } from '../process.ts'

/**
 * One thing is wrong: nothing comes up, and natweave says what it is and where to mend it, as the one who calls and as the
 * one who is called. What is wrong with certificates and passwords is in auth.ts.
 */

type Pair = readonly [initiator: Product, responder: Product]

interface Fault {
  readonly what: string
  /** What alice says, who calls, in place of what fits. */
  readonly said?: Partial<Said>
  /** What alice wants to reach behind moon. */
  readonly remote?: string
  /** natweave's words when it calls. */
  readonly calling: RegExp
  /** natweave's words when it is called, in its log. */
  readonly called: RegExp
}

const FAULTS: readonly Fault[] = [
  {
    what: 'another pre-shared key',
    said: { secret: 'another one' },
    calling: /status 6: .*check the pre-shared key and the identities on both sides \(peers\.tunnel\.psk.*\)/,
    called: /alice@lab\.test: the peer's AUTH does not verify: the pre-shared keys differ \(peers\.tunnel\.psk\)/,
  },
  {
    what: 'an identity that is not known there',
    said: { own: 'carol@lab.test' },
    calling: /status 6: .*check the pre-shared key and the identities on both sides \(.*localId.*\)/,
    called: /no peer is configured for carol@lab\.test; add it to peers/,
  },
  {
    what: 'an identity that the other has not',
    said: { peer: 'sun@lab.test' },
    calling: /status 6: .*check the pre-shared key and the identities on both sides \(.*remoteId.*\)/,
    called:
      /alice@lab\.test wants to talk to sun@lab\.test, but to it this host is moon@lab\.test \(peers\.tunnel\.localId\)/,
  },
  {
    what: 'no common IKE proposal',
    said: { ike: 'aes256-sha512-ecp256' },
    calling: /status 7: .*IKE_SA_INIT with NO_PROPOSAL_CHOSEN: it accepts none of the IKE proposals.*/,
    called: /no common IKE proposal: .* here, .* offered/,
  },
  {
    what: 'no common ESP proposal',
    said: { esp: 'aes256-sha512' },
    calling: /status 7: .*accepts none of the ESP proposals of lan; compare with its esp_proposals/,
    called: /no common ENCR: .* here, .* offered/,
  },
  {
    what: 'traffic selectors that do not meet',
    remote: '10.99.0.0/24',
    calling: /status 7: .*accepts no part of .* === 10\.99\.0\.0\/24 of lan; compare with its traffic selectors/,
    called: /no child of tunnel covers .*10\.99\.0\.0\/24/,
  },
]

const PAIRS: readonly Pair[] = [
  ['natweave', 'strongSwan'],
  ['strongSwan', 'natweave'],
]

async function world(lab: Lab, [one, other]: Pair, { said, remote = ADDRESS.moonLan }: Partial<Fault>) {
  await lab.up('nat1', ['--nata', 'port-restricted'])
  const alice = end(lab, 'alice', one, {
    role: 'initiator',
    virtual: true,
    children: { lan: { remote } },
    ...(said !== undefined && { said }),
  })
  const moon = end(lab, 'moon', other, {
    role: 'responder',
    virtual: true,
    children: { lan: { local: ADDRESS.moonLan } },
  })
  return { alice, moon }
}

const complaint = (party: End): Promise<string> =>
  party.connect().then(
    () => 'it has connected',
    (error: unknown) => (error as Error).message,
  )

/** @throws unless the words are there */
function words(text: string, wanted: RegExp): string {
  const found = wanted.exec(text)?.[0]
  if (found === undefined) throw new Error(`not the words that are wanted: ${text}`)
  return found
}

async function refused(lab: Lab, pair: Pair, fault: Fault): Promise<readonly string[]> {
  const { alice, moon } = await world(lab, pair, fault)
  await Promise.all([alice.start(), moon.start()])
  const why = await complaint(alice)
  if ((await alice.sas()).length > 0) throw new Error('a Child SA stands')
  if (alice.product === 'natweave') return [words(why, fault.calling)]
  words(why, /failed/)
  return [await until(`moon says ${fault.called}`, 5_000, async () => fault.called.exec(moon.log())?.[0])]
}

/** Nobody listens at moon, or nothing but the port of the first exchange gets through to it. */
async function unreachable(lab: Lab, there: boolean, wanted: RegExp): Promise<readonly string[]> {
  const { alice, moon } = await world(lab, PAIRS[0]!, {})
  await lab.exec('moon', [
    'nft',
    'add table inet deaf; add chain inet deaf in { type filter hook input priority 0; }; add rule inet deaf in udp dport 4500 drop',
  ])
  await Promise.all([alice.start(), ...(there ? [moon.start()] : [])])
  return [words(await complaint(alice), wanted)]
}

const row = (pair: Pair, what: string, run: (lab: Lab) => Promise<readonly string[]>): Case => ({
  name: `refusals nat1 ${pair.join('→')} ${what}`,
  needs: 'natweave',
  run,
})

export const cases: readonly Case[] = [
  ...FAULTS.flatMap(fault => PAIRS.map(pair => row(pair, fault.what, lab => refused(lab, pair, fault)))),
  row(PAIRS[0]!, 'nobody is there', lab =>
    unreachable(
      lab,
      false,
      /no answer to IKE_SA_INIT after \d+ tries: is .*203\.0\.113\.20.* right, and does UDP get through\?/,
    ),
  ),
  row(PAIRS[0]!, 'UDP 4500 is blocked', lab =>
    unreachable(
      lab,
      true,
      /no answer to IKE_AUTH after \d+ tries, though IKE_SA_INIT was answered: UDP to .*:4500 must get through/,
    ),
  ),
]
