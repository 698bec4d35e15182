import type { NatweaveEvent, PeerStatus, Status } from '../../contracts/natweave.ts'
import { ask, defaultSocket } from '../control.ts'
import { guarded, type Output } from '../output.ts'
import { renderEvent, renderStatus } from '../render.ts'

/** Commands that talk to a running instance. */

export interface TalkFlags {
  readonly socket?: string
  readonly json: boolean
}

const socketOf = (flags: TalkFlags): string => flags.socket ?? defaultSocket()

/** Shows what happens with one peer, with the time since the command began. */
function progress(flags: TalkFlags, out: Output, peer: string): (event: NatweaveEvent) => void {
  const start = performance.now()
  return event => {
    if (event.peer !== peer || flags.json) return
    const text = renderEvent(event, out.colours)
    if (text !== undefined)
      out.line(`${out.colours.dim(`${(performance.now() - start).toFixed(0).padStart(6)} ms`)}  ${text}`)
  }
}

export async function connect(this: unknown, flags: TalkFlags, peer: string): Promise<void> {
  await guarded(flags.json, async out => {
    const status = (await ask(socketOf(flags), 'connect', [peer], progress(flags, out, peer))) as PeerStatus
    if (flags.json) out.json(status)
    else
      out.line(
        out.colours.green(
          `${peer} is connected${status.virtualAddresses.length === 0 ? '' : ` as ${status.virtualAddresses.join(', ')}`}`,
        ),
      )
  })
}

export async function disconnect(this: unknown, flags: TalkFlags, peer: string): Promise<void> {
  await guarded(flags.json, async out => {
    await ask(socketOf(flags), 'disconnect', [peer], progress(flags, out, peer))
    if (flags.json) out.json({ peer, state: 'idle' })
    else out.line(`${peer} is disconnected`)
  })
}

export async function rekey(
  this: unknown,
  flags: TalkFlags & { readonly child?: string },
  peer: string,
): Promise<void> {
  await guarded(flags.json, async out => {
    const { child } = flags
    await ask(socketOf(flags), 'rekey', child === undefined ? [peer] : [peer, child], progress(flags, out, peer))
    if (flags.json) out.json({ peer, child: child ?? null, rekeyed: true })
    else out.line(`${child === undefined ? `the IKE SA with ${peer}` : `${peer}/${child}`} has new keys`)
  })
}

export async function status(this: unknown, flags: TalkFlags): Promise<void> {
  await guarded(flags.json, async out => {
    const found = (await ask(socketOf(flags), 'status', [])) as Status
    if (flags.json) out.json(found)
    else for (const line of renderStatus(found, out)) out.line(line)
  })
}

export async function down(this: unknown, flags: TalkFlags): Promise<void> {
  await guarded(flags.json, async out => {
    const { pid } = (await ask(socketOf(flags), 'down', [])) as { pid: number }
    await ended(pid)
    if (flags.json) out.json({ pid, state: 'stopped' })
    else out.line('natweave is down')
  })
}

/** Peers get their DELETE before the process goes; the command returns when it has. */
async function ended(pid: number): Promise<void> {
  for (let i = 0; i < 100; i++) {
    try {
      process.kill(pid, 0)
    } catch {
      return // no such process: it is gone
    }
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}
