import type { GuardSettings } from './contracts/settings.ts'

interface Window {
  readonly since: number
  /** Failures of the SA before this window. */
  readonly before: number
}

/** What a rise of failed integrity checks calls for. */
export interface Alarm {
  readonly failures: number
  /** False while the last rekey for this reason is too near. */
  readonly rekey: boolean
}

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
   * @param id - of the Child SA
   * @param child - what stays the same when it is rekeyed
   * @param total - failed checks since it was installed
   * @returns the alarm, once in a window
   */
  failed(id: string, child: string, total: number, now: number): Alarm | undefined {
    const { failures, windowMs, pauseMs } = this.#settings
    if (failures === 0) return undefined
    let window = this.#windows.get(id)
    if (window === undefined || now - window.since >= windowMs) {
      window = { since: now, before: total - 1 }
      this.#windows.set(id, window)
    }
    // said at the moment the limit is reached; what comes after belongs to the same alarm
    if (total - window.before !== failures) return undefined
    const last = this.#rekeyed.get(child)
    const rekey = last === undefined || now - last >= pauseMs
    if (rekey) this.#rekeyed.set(child, now)
    return { failures, rekey }
  }

  /** The Child SA is gone. */
  forget(id: string): void {
    this.#windows.delete(id)
  }
}
