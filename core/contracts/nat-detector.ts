import type { KnownFacts } from './facts.ts'
import type { IkeTask } from './ike-task.ts'
import type { Service, ServiceContext } from './service.ts'

/** Finds out about NATs on the way and records what it found as facts. */
export interface NatDetector {
  readonly name: string
  /** The facts it can establish. */
  readonly finds: readonly (keyof KnownFacts | (string & {}))[]
  /** What it adds to and reads from IKE messages; fresh objects, called once per IKE SA. */
  tasks(): readonly IkeTask[]
  /** Called once per build: what asks the network itself (STUN, port mapping) rather than reading IKE messages. */
  serve?(context: ServiceContext): Service
}
