// Runs before `npm start` and `npm test`: installs what package-lock.json names where that has not been done yet, so
// that both commands work on a fresh clone. No dependencies of its own, since there may be none.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

const root = new URL('.', import.meta.url)
const { engines } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'))
const wanted = engines.node.replace('>=', '')
if (process.versions.node.localeCompare(wanted, 'en', { numeric: true }) < 0) {
  console.error(`natweave needs Node ${wanted} or newer; this is ${process.versions.node}.`)
  process.exit(1)
}

if (!installed()) {
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

/** npm writes down what it has installed when it has finished; optional packages depend on the machine. */
function installed() {
  const read = path => JSON.parse(readFileSync(new URL(path, root), 'utf8')).packages
  try {
    const present = read('node_modules/.package-lock.json')
    return Object.entries(read('package-lock.json')).every(
      ([path, { version, optional }]) => path === '' || optional || present[path]?.version === version,
    )
  } catch {
    return false
  }
}
