import type { NatweaveEvent } from './contracts/natweave.ts'
import type { GuardSettings } from './contracts/settings.ts'
import type { ChildSa } from './ike/host.ts'

interface Window {
  readonly since: number
  /** Failures of the SA before this window. */
  readonly before: number
}

/** What a rise of failed integrity checks is told as; `rekey` is false while the last one for this reason is too near. */
export type Alarm = Omit<Extract<NatweaveEvent, { type: 'forged-packets' }>, 'at' | 'peer'>

/**
 * Notices when somebody sends packets with the SPI of a Child SA that are not the peer's: each costs an integrity check.
 * A new SPI, which an attacker off the path does not know, turns them into packets that cost next to nothing.
 */
export class IntegrityWatch {
  readonly #settings: GuardSettings
  /** By Child SA id. */
  readonly #windows = new Map<string, Window>()
  /** When a child, by `peer/name`, was last rekeyed for this. */
  readonly #rekeyed = new Map<string, number>()

  constructor(settings: GuardSettings) {
    this.#settings = settings
  }

  /**
   * @param total - failed checks since the SA was installed
   * @returns the alarm, once in a window
   */
  failed(
    peer: string,
    { id, settings, state }: Pick<ChildSa, 'id' | 'settings' | 'state'>,
    total: number,
    now: number,
  ): Alarm | undefined {
    const { failures, windowMs, pauseMs } = this.#settings
    if (failures === 0) return undefined
    let window = this.#windows.get(id)
    if (window === undefined || now - window.since >= windowMs) {
      window = { since: now, before: total - 1 }
      this.#windows.set(id, window)
    }
    // said at the moment the limit is reached; what comes after belongs to the same alarm
    if (total - window.before !== failures) return undefined
    const child = `${peer}/${settings.name}`
    const rekey = state === 'installed' && now - (this.#rekeyed.get(child) ?? -Infinity) >= pauseMs
    if (rekey) this.#rekeyed.set(child, now)
    return { type: 'forged-packets', child: settings.name, id, failures, windowMs, rekey }
  }

  /** The Child SA is gone. */
  forget({ id }: Pick<ChildSa, 'id'>): void {
    this.#windows.delete(id)
  }
}
