import { silentLog } from '../../../core/contracts/log.ts'
import { RawTransport } from '../../../plugins/raw/index.ts'

/** Run by raw.test.ts as root: gives up all privileges, then tries to open the transport and prints the error. */
process.setuid?.(65_534)
await new RawTransport({ watchMs: 0 }, silentLog)
  .open({ receive() {}, changed() {}, failed() {} })
  .catch(error => process.stdout.write(`${error.code} ${error.message}\n`))
