import type { EspSuite } from '../contracts/data-plane.ts'
import type { ManualKeys, ManualSettings } from '../contracts/settings.ts'
import { parseProposal } from '../ike/proposal.ts'
import { espSuite } from '../ike/selection.ts'
import { type KeymatLengths, keymatLengths } from '../ike/suite.ts'
import { Encr, ProtocolId, TransformType } from '../wire/index.ts'
import type { ParsedConfig, SecretInput } from './schema.ts'

/** Static SAs: what a configuration says of them, checked for what would not be safe or could not work. */

type ParsedManual = ParsedConfig['manual'][string]
type ParsedDirection = ParsedManual['in']

export interface ManualSources {
  /** The octets of a secret; problems with it go to `fail`. */
  readonly octets: (secret: SecretInput, fail: (problem: string) => void) => Uint8Array
  /** @param at - key below the SA, such as `in.integrity`; empty for the SA itself */
  readonly fail: (at: string, problem: string) => void
}

const NO_ENCAPSULATION =
  'manual keys go without encapsulation (none): ESP in UDP is negotiated by IKE, which finds the NAT and keeps its mapping (RFC 3948 §1); make it a peer instead'
/** RFC 8221 §3. */
const CBC_OR_NULL = [Encr.ENCR_NULL, Encr.ENCR_AES_CBC] as readonly number[]

/** @returns undefined where `fail` has been told why */
export function resolveManual(name: string, manual: ParsedManual, { octets, fail }: ManualSources) {
  let sound = true
  const complain = (at: string, problem: string): void => {
    sound = false
    fail(at, problem)
  }
  if (manual.encapsulation !== 'none') complain('encapsulation', NO_ENCAPSULATION)
  if (manual.local.includes(':') !== manual.remote.includes(':'))
    complain('remote', `${manual.remote} is of another family than local ${manual.local}`)
  if (manual.replayWindow > 0 && manual.replayWindow < 32)
    complain('replayWindow', 'at least 32 is wanted, or 0: numbers start anew with every start, keys do not')
  const suite = suiteOf(manual, problem => complain('algorithms', problem))
  if (suite === undefined) return undefined
  if (suite.esn && manual.replayWindow === 0)
    complain('algorithms', 'esn needs a replayWindow (RFC 4303 §3.4.3), by which the receiver knows the high half')
  const lengths = keymatLengths(suite)
  const keys = (side: 'in' | 'out'): ManualKeys => ({
    spi: manual[side].spi,
    encr: key(manual[side], 'encryption', lengths, octets, problem => complain(`${side}.encryption`, problem)),
    integ: key(manual[side], 'integrity', lengths, octets, problem => complain(`${side}.integrity`, problem)),
  })
  const { local, remote, mode, selectors, replayWindow, ahAlign } = manual
  const settings: ManualSettings = {
    name,
    local,
    remote,
    mode,
    suite,
    inbound: keys('in'),
    outbound: keys('out'),
    localTs: selectors.local,
    remoteTs: selectors.remote,
    replayWindow,
    ahAlign,
  }
  return sound ? settings : undefined
}

function suiteOf({ algorithms, protocol }: ParsedManual, fail: (problem: string) => void): EspSuite | undefined {
  try {
    const { transforms } = parseProposal(algorithms, protocol)
    if (new Set(transforms.map(t => t.type)).size < transforms.length)
      throw new Error(`one algorithm of each kind is wanted, found "${algorithms}"`)
    if (transforms.some(t => t.type === TransformType.KE)) throw new Error('key exchange methods are for IKE')
    const suite = espSuite({ protocol: protocol === 'ah' ? ProtocolId.AH : ProtocolId.ESP, transforms })!
    if (!CBC_OR_NULL.includes(suite.encr))
      throw new Error(
        `"${algorithms}" counts its nonces, which would start anew under the same key with every start and give the key away (RFC 8221 §3); manual keys take aes128-sha256, aes256-sha256 or null-sha256`,
      )
    return suite
  } catch (error) {
    fail((error as Error).message)
    return undefined
  }
}

function key(
  direction: ParsedDirection,
  kind: 'encryption' | 'integrity',
  lengths: KeymatLengths,
  octets: ManualSources['octets'],
  fail: (problem: string) => void,
): Uint8Array {
  const wanted = kind === 'encryption' ? lengths.encr : lengths.integ
  const secret = direction[kind]
  const nothing = new Uint8Array(0)
  if (secret === undefined) {
    if (wanted > 0) fail(`a key of ${wanted} octets is wanted, such as { hex: ${'00'.repeat(4)}… }`)
    return nothing
  }
  if (wanted === 0) {
    fail(`the algorithms have no ${kind} key`)
    return nothing
  }
  let unreadable = false
  const found = octets(secret, problem => {
    unreadable = true
    fail(problem)
  })
  if (unreadable || found.length === wanted) return found
  const written = fromHexText(found)
  if (written?.length === wanted) return written
  fail(`a key of ${wanted} octets is wanted, found ${(written ?? found).length}`)
  return nothing
}

/** Files and variables hold keys as `ip xfrm` writes them: 0x… */
function fromHexText(octets: Uint8Array): Uint8Array | undefined {
  const [, digits] = /^(?:0x)?((?:[0-9a-f]{2})+)$/i.exec(new TextDecoder('latin1').decode(octets).trim()) ?? []
  return digits === undefined ? undefined : Uint8Array.from(Buffer.from(digits, 'hex'))
}
