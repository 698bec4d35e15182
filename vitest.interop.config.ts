import { defineConfig } from 'vitest/config'

/** Tests that need privileges or foreign programs; one file at a time, since they share the machine's network. */
export default defineConfig({
  test: {
    include: ['test/interop/**/*.test.ts'],
    setupFiles: ['test/setup.ts'],
    testTimeout: 120_000,
    hookTimeout: 60_000,
    fileParallelism: false,
  },
})
