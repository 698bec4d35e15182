/**
 * A configuration as a program: types and completion by `defineConfig`, and values that are computed. natweave finds it
 * by its name in the working folder; `natweave up --config examples/natweave.config.ts` takes it from here. Outside this
 * repository the import reads 'natweave/config'.
 */
import { defineConfig } from '../core/config/index.ts'

/** Branch offices are alike but for a number. */
const branch = (number: number) => ({
  remote: `branch${number}.example.org`,
  remoteId: `branch${number}.example.org`,
  psk: { env: `BRANCH${number}_PSK` },
  start: 'connect' as const,
  children: { site: { local: ['10.3.0.0/16'], remote: [`10.${100 + number}.0.0/16`] } },
})

export default defineConfig({
  local: { id: 'gw.example.org' },
  // a plugin by its path here, by its package name where it is installed; the usual set has to be named then
  plugins: [
    'node-crypto',
    'noble',
    'udp',
    'tun',
    'memory',
    'udp-encap',
    { use: './plugin/index.ts', options: { tenant: 7 } },
  ],
  peers: Object.fromEntries([1, 2, 3].map(number => [`branch${number}`, branch(number)])),
  policy: { rules: [{ peers: ['branch3'], prefer: ['marked-tunnel'] }] },
})
