import type { CryptoProvider, HashName } from '../../../core/contracts/crypto.ts'
import type { Fact } from '../../../core/contracts/facts.ts'
import type { IkeSaView, IkeTask, IncomingMessage } from '../../../core/contracts/ike-task.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { PeerError, UsageError } from '../../../core/errors.ts'
import { ExchangeType, NotifyType, type Payload } from '../../../core/wire/index.ts'
import { SeededRng } from '../rng.ts'
import { check, isKebabCase, quiet } from './check.ts'

/** IKE tasks in an IKE SA that exists in the suite only: both sides of IKE_SA_INIT, and whatever strangers may send. */

const LENGTHS: Readonly<Record<HashName, number>> = { md5: 16, sha1: 20, sha256: 32, sha384: 48, sha512: 64 }

const unsupported = (): never => {
  throw new UsageError('USAGE_UNSUPPORTED_TRANSFORM', 'the contract suite has no real cryptography')
}

/** Tells octets apart and protects nothing: enough for tasks that hash what they send. */
export const toyCrypto: CryptoProvider = {
  name: 'toy',
  supports: () => false,
  hash: (name, ...data) => new SeededRng(data.map(part => part.join()).join('/')).bytes(LENGTHS[name]),
  prf: unsupported,
  aead: unsupported,
  cipher: unsupported,
  mac: unsupported,
  keyExchange: unsupported,
}

/** One end of an IKE SA as tasks see it. */
export class TaskSide implements IkeSaView {
  readonly initiator: boolean
  readonly initiatorSpi = 0x1122334455667788n
  responderSpi = 0n
  readonly line = '1122334455667788'
  readonly peer: string | undefined
  readonly crypto: CryptoProvider
  readonly rng: SeededRng
  readonly facts: Record<string, Fact> = {}
  readonly #tasks: readonly IkeTask[]

  constructor(tasks: readonly IkeTask[], initiator: boolean, crypto: CryptoProvider = toyCrypto) {
    this.#tasks = tasks
    this.initiator = initiator
    this.peer = initiator ? 'peer' : undefined
    this.crypto = crypto
    this.rng = new SeededRng(`tasks ${initiator}`)
  }

  learn(name: string, value: string | number | boolean, source: string): void {
    check(source !== '', `a source for the fact ${name}`)
    this.facts[name] = { value, source, at: 0 }
  }

  /** @returns what the tasks added */
  build(exchange: number, response: boolean, flow: Flow, request?: IncomingMessage): Payload[] {
    const first: Payload = { type: 'Nonce', data: new Uint8Array(32) }
    const payloads: Payload[] = [first]
    const message = { exchange, response, messageId: 0, flow, payloads, ...(request !== undefined && { request }) }
    for (const task of this.#tasks) quiet(`${task.name}.build`, () => task.build?.(message, this, 0))
    check(payloads[0] === first, 'tasks to add payloads and to leave those of others alone')
    return payloads
  }

  /** A task may refuse a message with PeerError, and fail in no other way. */
  process(message: IncomingMessage): void {
    for (const task of this.#tasks)
      try {
        task.process?.(message, this, 0)
      } catch (error) {
        check(error instanceof PeerError, `${task.name}.process to throw PeerError or nothing, not ${String(error)}`)
      }
  }
}

export interface TaskExchangeOptions {
  /** Whether a NAT before the initiator gives it another address and port. Default false. */
  readonly nat?: boolean
  /** Real cryptography, for tasks that need more than hashes. */
  readonly crypto?: CryptoProvider
  /** What the responder runs; default: the same. Empty for a peer that knows nothing of the tasks. */
  readonly responder?: readonly IkeTask[]
}

const UDP = 17
const INITIATOR = { address: '192.0.2.1', port: 500 }
const TRANSLATED = { address: '198.51.100.77', port: 31_337 }
const RESPONDER = { address: '203.0.113.20', port: 500 }

/** Runs IKE_SA_INIT between two ends that do nothing but these tasks. @returns both, with the facts they learned */
export function runInit(
  make: () => readonly IkeTask[],
  { nat = false, crypto, responder = make() }: TaskExchangeOptions = {},
): { readonly initiator: TaskSide; readonly responder: TaskSide } {
  const one = new TaskSide(make(), true, crypto)
  const two = new TaskSide(responder, false, crypto)
  const here: Flow = { protocol: UDP, local: INITIATOR, remote: RESPONDER }
  const there: Flow = { protocol: UDP, local: RESPONDER, remote: nat ? TRANSLATED : INITIATOR }
  const exchange = ExchangeType.IKE_SA_INIT
  const request = { exchange, response: false, messageId: 0, flow: there, payloads: one.build(exchange, false, here) }
  two.process(request)
  one.responderSpi = two.responderSpi = 0x99aabbccddeeff00n
  const payloads = two.build(exchange, true, there, request)
  one.process({ exchange, response: true, messageId: 0, flow: here, payloads })
  return { initiator: one, responder: two }
}

/** What every set of tasks must stand, whoever made it. */
export function checkTasks(make: () => readonly IkeTask[], crypto?: CryptoProvider): void {
  const [first, second] = [make(), make()]
  for (const task of first) {
    check(isKebabCase(task.name), `kebab-case task names, not "${task.name}"`)
    check(!second.includes(task), `fresh objects of each call; ${task.name} came twice`)
  }
  const options = crypto === undefined ? {} : { crypto }
  for (const nat of [false, true]) {
    runInit(make, { ...options, nat })
    runInit(make, { ...options, nat, responder: [] })
  }
  strangers(make, crypto)
}

/** Payloads that parse and mean nothing. */
function strangers(make: () => readonly IkeTask[], crypto: CryptoProvider | undefined): void {
  const rng = new SeededRng('strange payloads')
  const flow: Flow = { protocol: UDP, local: INITIATOR, remote: RESPONDER }
  const ours =
    make().length === 0 ? [] : new TaskSide(make(), true, crypto).build(ExchangeType.IKE_SA_INIT, false, flow)
  const notifies = [
    ...Object.values(NotifyType),
    ...ours.flatMap(p => (p.type === 'N' ? [p.notify] : [])),
    40_960 + rng.below(24_000),
  ]
  for (const exchange of [...Object.values(ExchangeType), 240])
    for (const initiator of [true, false]) {
      const side = new TaskSide(make(), initiator, crypto)
      for (let round = 0; round < 8; round++) {
        const payloads: Payload[] = notifies.map(notify => ({
          type: 'N',
          protocol: 0,
          spi: new Uint8Array(0),
          notify,
          data: rng.bytes(rng.below(40)),
        }))
        payloads.push({ type: 'V', data: rng.bytes(rng.below(20)) })
        side.process({ exchange, response: initiator, messageId: round, flow, payloads })
        side.process({ exchange, response: initiator, messageId: round, flow, payloads: [] })
        side.build(exchange, !initiator, flow)
      }
    }
}
