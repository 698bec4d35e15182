import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/{core,plugins,kit,scenario,examples}/**/*.test.ts'],
    setupFiles: ['test/setup.ts'],
    testTimeout: 120_000,
  },
})
