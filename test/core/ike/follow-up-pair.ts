import { expect } from 'vitest'
import type { CryptoProvider } from '../../../core/contracts/crypto.ts'
import { ChildExchange } from '../../../core/ike/create-child.ts'
import type { Exchange } from '../../../core/ike/exchange.ts'
import type { IkeSa } from '../../../core/ike/ike-sa.ts'
import { showProposal } from '../../../core/ike/proposal.ts'
import { suiteProposal } from '../../../core/ike/selection.ts'
import { combineProviders } from '../../../core/ike/suite.ts'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { anything, chart, child, type End, Pair, type PairOptions } from './pair.ts'

/** A pair of ends whose proposals have additional key exchanges, RFC 9370. */

/** What the usual set of plugins gives: OpenSSL first, noble for what it lacks. */
export const usual = combineProviders([nodeCryptoProvider, nobleProvider])
export const IKE = 'aes256gcm16-prfsha256-x25519-ke1_mlkem768'
export const ESP = 'aes256gcm16-x25519-ke1_mlkem768'
export const THREE = 'aes256gcm16-x25519-ke1_mlkem512-ke3_ecp256'

export interface Wish extends PairOptions {
  readonly ike?: readonly string[]
  readonly esp?: readonly string[]
  readonly espRight?: readonly string[]
  readonly fragmentSize?: number
}

const lan = (proposals: readonly string[], mirrored = false) => {
  const [here, there] = mirrored ? ['10.2.0.0', '10.1.0.0'] : ['10.1.0.0', '10.2.0.0']
  return { lan: child({ proposals, localTs: [anything(here!, 16)], remoteTs: [anything(there!, 16)] }) }
}

export function pair({
  ike = [IKE],
  esp = [ESP],
  espRight = esp,
  fragmentSize = 1_280,
  left,
  right,
  ...rest
}: Wish = {}): Pair {
  // patience enough for any pattern of losses
  const timers = { fragmentSize, retransmitTries: 8 }
  return new Pair({
    ...rest,
    left: { crypto: usual, timers, ...left },
    right: { crypto: usual, timers, ...right },
    sun: { proposals: ike, children: lan(esp) },
    moon: { proposals: ike, children: lan(espRight, true) },
  })
}

export const both = (p: Pair): [End, End] => [p.left, p.right]
export const rekeyChild = (end: End): ChildExchange => new ChildExchange(end.children[0]!.settings, end.children[0]!)
export const start = (p: Pair, end: End, exchange: Exchange): void => end.start(exchange, p.now)
/** What was said since, without message IDs. */
export const said = (end: End, from: number): string[] =>
  chart(end)
    .slice(from)
    .map(line => line.replace(/ \d+ \[/, ' ['))
export const suites = (p: Pair) => both(p).map(end => showProposal(suiteProposal(end.sa.channel!.suite)))
export const pending = (sa: IkeSa): number => sa.followUps.size

/** Exactly one IKE SA and one Child SA on both ends, mirrored, at rest. */
export function converged(p: Pair, hint = ''): void {
  const [left, right] = [p.left.children, p.right.children]
  expect([left.length, right.length], hint).toEqual([1, 1])
  expect(left[0]!.inbound, hint).toEqual(right[0]!.outbound)
  expect(left[0]!.outbound, hint).toEqual(right[0]!.inbound)
  expect([left[0]!.state, right[0]!.state], hint).toEqual(['installed', 'installed'])
  expect(p.left.sa.channel!.keys, hint).toEqual(p.right.sa.channel!.keys)
  expect([p.left.sa.session.busy, p.right.sa.session.busy], hint).toEqual([false, false])
  expect(both(p).map(end => pending(end.sa))).toEqual([0, 0])
}

/** A provider that hands each shared secret that it gives to `note` as well. */
export const noting = (provider: CryptoProvider, note: (secret: Uint8Array) => void): CryptoProvider => ({
  ...provider,
  keyExchange: (group, rng) => {
    const own = provider.keyExchange(group, rng)
    const shared = (peer: Uint8Array) => {
      const secret = own.shared(peer)
      note(secret)
      return secret
    }
    return { publicValue: own.publicValue, shared }
  },
})
export const isWiped = (secret: Uint8Array): boolean => secret.every(octet => octet === 0)
