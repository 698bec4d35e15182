import { getU16, Icmp, Icmpv6, type IpInfo, IpProtocol } from '../wire/index.ts'

/** Most flows remembered for one owner: nobody can crowd out the others. */
const MAX_FLOWS = 4_096
/** After this long without a packet a flow may become another owner's, ms; identifiers of echos repeat more than ports. */
const IDLE_MS = 300_000
const ECHO_IDLE_MS = 30_000

interface Binding {
  readonly owner: string
  /** Monotonic ms of its last packet. */
  at: number
}

/**
 * Whose each inner flow is, where SAs of several owners have the same selectors (two clients behind one NAT in transport
 * mode, RFC 3948 §5.2): what a client opened goes back to that client, and no other can send in it.
 */
export class FlowOwners {
  readonly #bindings = new Map<string, Binding>()
  readonly #byOwner = new Map<string, Set<string>>()

  /** The owner of an outgoing packet's flow; undefined when nobody has opened it. */
  ownerOf(bytes: Uint8Array, info: IpInfo, now: number): string | undefined {
    const binding = this.#bindings.get(flowKey(bytes, info, false))
    if (binding === undefined) return undefined
    binding.at = now
    return binding.owner
  }

  /**
   * A packet of this owner: its flow is the owner's from now on.
   * @param inbound - false: a packet of this host opens the flow
   * @returns false when the flow is another's
   */
  claim(bytes: Uint8Array, info: IpInfo, inbound: boolean, owner: string, now: number): boolean {
    const key = flowKey(bytes, info, inbound)
    const binding = this.#bindings.get(key)
    if (binding !== undefined && binding.owner !== owner) {
      if (now - binding.at < (echoId(bytes, info) === undefined ? IDLE_MS : ECHO_IDLE_MS)) return false
      this.#byOwner.get(binding.owner)?.delete(key)
    }
    if (binding?.owner === owner) {
      binding.at = now
      return true
    }
    this.#bindings.set(key, { owner, at: now })
    let own = this.#byOwner.get(owner)
    if (own === undefined) {
      own = new Set()
      this.#byOwner.set(owner, own)
    }
    own.add(key)
    if (own.size > MAX_FLOWS) this.#forgetFlow(own.values().next().value!, own)
    return true
  }

  /** The owner has no SA any more. */
  forget(owner: string): void {
    const own = this.#byOwner.get(owner)
    for (const key of own ?? []) this.#forgetFlow(key, own!)
    this.#byOwner.delete(owner)
  }

  #forgetFlow(key: string, own: Set<string>): void {
    this.#bindings.delete(key)
    own.delete(key)
  }
}

/** One flow from this host's side, in whichever direction the packet goes; an ICMP echo is known by its identifier. */
function flowKey(bytes: Uint8Array, info: IpInfo, inbound: boolean): string {
  const { protocol, sourceAt, destinationAt, addressLength } = info
  const echo = echoId(bytes, info)
  const [sourcePort, destinationPort] = echo === undefined ? [info.sourcePort, info.destinationPort] : [echo, echo]
  const source = `${bytes.subarray(sourceAt, sourceAt + addressLength).join('.')}/${sourcePort}`
  const destination = `${bytes.subarray(destinationAt, destinationAt + addressLength).join('.')}/${destinationPort}`
  return inbound ? `${protocol} ${destination} ${source}` : `${protocol} ${source} ${destination}`
}

function echoId(bytes: Uint8Array, { protocol, upperAt, end, fragmentOffset }: IpInfo): number | undefined {
  if (protocol !== IpProtocol.ICMP && protocol !== IpProtocol.ICMPV6) return undefined
  if (fragmentOffset > 0 || end < upperAt + 8) return undefined
  const type = bytes[upperAt]!
  const echo =
    protocol === IpProtocol.ICMP
      ? type === Icmp.ECHO || type === Icmp.ECHO_REPLY
      : type === Icmpv6.ECHO_REQUEST || type === Icmpv6.ECHO_REPLY
  return echo ? getU16(bytes, upperAt + 4) : undefined
}
