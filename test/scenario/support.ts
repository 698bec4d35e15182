import { test } from 'vitest'

export * from './nodes.ts'
export * from './wire.ts'

/**
 * A test that tells its seed when it fails; `NATWEAVE_SEED` runs all scenarios with another one.
 *
 * @param seed - for scenarios that need a certain run of luck
 */
export function scenario(name: string, run: (seed: number) => Promise<void>, seed = 1): void {
  test(name, async () => {
    const chosen = Number(process.env['NATWEAVE_SEED'] ?? seed)
    try {
      await run(chosen)
    } catch (error) {
      if (error instanceof Error) error.message += `\n(seed ${chosen})`
      throw error
    }
  })
}
