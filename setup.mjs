// Runs before `npm start` and `npm test`: installs what package-lock.json names where that has not been done yet, so
// that both commands work on a fresh clone. No dependencies of its own, since there may be none.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'

const root = new URL('.', import.meta.url)
const { engines } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'))
const wanted = engines.node.replace('>=', '')
if (process.versions.node.localeCompare(wanted, 'en', { numeric: true }) < 0) {
  console.error(`natweave needs Node ${wanted} or newer; this is ${process.versions.node}.`)
  process.exit(1)
}

// npm writes this file when it has finished; an interrupted installation has none.
const installed = new URL('node_modules/.package-lock.json', root)
const lock = new URL('package-lock.json', root)
if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(lock).mtimeMs) {
  console.error('Installing the dependencies of package-lock.json …')
  const npm = process.env.npm_execpath?.endsWith('npm-cli.js') ? process.env.npm_execpath : undefined
  const args = ['ci', '--no-audit', '--no-fund']
  const options = { cwd: root, stdio: ['ignore', 2, 2] }
  const { status, error } = npm ? spawnSync(process.execPath, [npm, ...args], options) : spawnSync('npm', args, options)
  if (status !== 0) {
    console.error(`npm ci failed${error ? `: ${error.message}` : ''}. It needs the network, or a filled npm cache.`)
    process.exit(1)
  }
}
