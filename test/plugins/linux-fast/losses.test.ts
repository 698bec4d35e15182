import { expect, test } from 'vitest'
import { Leavings } from '../../../plugins/linux-fast/leavings.ts'
import { LOSS_WORDS, Losses } from '../../../plugins/linux-fast/losses.ts'
import { Control, type Report } from '../../../plugins/linux-fast/messages.ts'
import { packetOf } from './rig.ts'

test('what the main thread does not take in time is lost by the batch, and counted by the packet', () => {
  const control = new Int32Array(Control.WORDS + LOSS_WORDS)
  const losses = new Losses(control)
  const reports: Report[] = []
  const leavings = new Leavings(control, losses, report => reports.push(report))
  const batch = (packets: number): void => {
    for (let i = 0; i < packets; i++) leavings.add(packetOf(Uint8Array.of(i)), undefined)
    leavings.flush()
  }
  for (let i = 0; i < 16; i++) batch(3)
  expect([reports.length, losses.all()]).toEqual([16, {}])
  batch(3)
  batch(300) // three batches of its own
  expect([reports.length, losses.all()]).toEqual([16, { 'main-thread-busy': 303 }])
  Atomics.sub(control, Control.WAITING, 1)
  batch(2)
  expect([reports.length, losses.all()]).toEqual([17, { 'main-thread-busy': 303 }])
})
