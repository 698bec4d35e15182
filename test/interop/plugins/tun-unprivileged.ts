import { silentLog } from '../../../core/contracts/log.ts'
import { TunDevice } from '../../../plugins/tun/index.ts'

/** Run by tun.test.ts as root: gives up all privileges, then tries to open a device and prints the error. */
process.setuid?.(65_534)
await new TunDevice({}, silentLog)
  .open({ packet() {}, failed() {} })
  .catch(error => process.stdout.write(`${error.code} ${error.message}\n`))
