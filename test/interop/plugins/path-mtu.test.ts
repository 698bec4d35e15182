import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const run = promisify(execFile)

test('sockets tell what a datagram was too big for; it goes in fragments unless it must not', async () => {
  const child = fileURLToPath(new URL('./path-mtu-child.ts', import.meta.url))
  const script = `ip link set lo mtu 1280 up && exec '${process.execPath}' --import tsx '${child}'`
  const { stdout } = await run('unshare', ['-n', 'sh', '-c', script])
  const expected = ['127.0.0.1', '::1'].flatMap(address =>
    ['node:dgram', 'FFI'].map(how => ({
      address,
      how,
      told: [`${address} 1280`],
      got: [1_400, 1_100],
      failed: ['EMSGSIZE'],
    })),
  )
  const raw = ['127.0.0.1', '::1'].map(address => ({
    address,
    how: 'raw',
    told: [`${address} ${address} 1280`],
    sent: 1,
    sendErrors: { EMSGSIZE: 1 },
  }))
  expect(JSON.parse(stdout)).toEqual([...expected, ...raw])
})
