import type { SaStore } from '../../core/contracts/sa-store.ts'
import { UsageError } from '../../core/errors.ts'

/**
 * Keeps state in this process only. Values are held as JSON text: what is read is never the object that was written,
 * and what a durable store could not keep fails here too. Content survives `close`, as a restart in one process expects.
 */
export class MemoryStore implements SaStore {
  readonly name = 'memory'
  readonly #values = new Map<string, string>()

  async open(): Promise<void> {}

  async close(): Promise<void> {}

  async get(key: string): Promise<unknown> {
    const text = this.#values.get(key)
    return text === undefined ? undefined : JSON.parse(text)
  }

  /** @throws UsageError USAGE_VALUE when `value` has no JSON form */
  async set(key: string, value: unknown): Promise<void> {
    let text: string | undefined
    try {
      text = JSON.stringify(value)
    } catch (error) {
      throw new UsageError('USAGE_VALUE', `${key}: not JSON: ${String(error)}`, { cause: error })
    }
    if (text === undefined) throw new UsageError('USAGE_VALUE', `${key}: ${typeof value} has no JSON form`)
    this.#values.set(key, text)
  }

  async delete(key: string): Promise<void> {
    this.#values.delete(key)
  }

  async list(prefix: string): Promise<readonly (readonly [key: string, value: unknown])[]> {
    return [...this.#values]
      .filter(([key]) => key.startsWith(prefix))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, text]) => [key, JSON.parse(text)])
  }
}
