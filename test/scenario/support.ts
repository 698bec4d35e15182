import { test } from 'vitest'

export * from './nodes.ts'
export * from './wire.ts'

/**
 * A test that tells its seed when it fails; `NATWEAVE_SEED` runs all scenarios with another one.
 *
 * @param seed - this one always, for scenarios that need a certain run of luck
 */
export function scenario(name: string, run: (seed: number) => Promise<void>, seed?: number): void {
  test(name, async () => {
    const chosen = seed ?? Number(process.env['NATWEAVE_SEED'] ?? 1)
    try {
      await run(chosen)
    } catch (error) {
      if (error instanceof Error) error.message += `\n(seed ${chosen})`
      throw error
    }
  })
}
