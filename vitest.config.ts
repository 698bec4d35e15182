import { configDefaults, defineConfig } from 'vitest/config'

/** Scenarios in which nothing but IKE, or what comes before it, is at stake: on one plane they say all they have to say. */
const WITHOUT_A_PLANE =
  '{certificates,check,dhcp,follow-up,hard-nats,hostile-mediation,listening,port-mapping,redirect,stun,stun-service}'
/** Faults that only the fast plane can have. */
const ITS_OWN = 'test/scenario/fast-plane.test.ts'

export default defineConfig({
  test: {
    setupFiles: ['test/setup.ts'],
    testTimeout: 120_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'portable',
          include: ['test/{core,plugins,kit,scenario,examples}/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ITS_OWN],
        },
      },
      {
        extends: true,
        test: {
          name: 'linux-fast',
          include: ['test/scenario/*.test.ts'],
          exclude: [...configDefaults.exclude, `test/scenario/${WITHOUT_A_PLANE}.test.ts`],
          env: { NATWEAVE_PLANE: 'linux-fast' },
        },
      },
    ],
  },
})
