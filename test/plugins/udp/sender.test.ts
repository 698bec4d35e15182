import { expect, test } from 'vitest'
import type { Endpoint } from '../../../core/contracts/net.ts'
import { newPacket, type Packet } from '../../../core/contracts/packet.ts'
import type { Native } from '../../../plugins/udp/native.ts'
import { Sender } from '../../../plugins/udp/sender.ts'

/** Linux's numbers. */
const [EINTR, EIO, EAGAIN, EMSGSIZE] = [4, 5, 11, 90]
const REMOTE: Endpoint = { address: '192.0.2.1', port: 4500 }

/** A kernel that takes so many messages at a call, or fails it (negative); and what became of all that was added. */
function rig(answers: number[], cuts = false) {
  let errno = 0
  const asked: number[] = []
  const refused: string[] = []
  const native: Pick<Native, 'address' | 'errno' | 'setsockopt' | 'sendmmsg'> = {
    address: () => 0,
    errno: () => errno,
    setsockopt: () => (cuts ? 0 : -1),
    sendmmsg: (_fd, _messages, count) => {
      asked.push(count)
      const answer = answers.shift() ?? count
      errno = -answer
      return answer < 0 ? -1 : answer
    },
  }
  const sender = new Sender(native as Native, 7, ({ bytes, length, remote, df }, error) => {
    expect(bytes).toHaveLength(length)
    expect(remote).toBe(REMOTE)
    refused.push(`${error} ${bytes[0]} ${length}${df ? ' df' : ''}`)
  })
  return { sender, asked, refused }
}

const datagram = (mark: number, length: number): Packet => {
  const bytes = new Uint8Array(length + 2).fill(mark, 1)
  return { ...newPacket(0), bytes, start: 1, end: 1 + length, df: mark % 2 === 1 }
}

test('what is added in one turn goes by one call at its end', async () => {
  const { sender, asked, refused } = rig([])
  for (let i = 0; i < 5; i++) sender.add(datagram(i, 100), REMOTE)
  expect(asked).toEqual([])
  await Promise.resolve()
  expect(asked).toEqual([5])
  sender.flush()
  expect({ asked, refused }).toEqual({ asked: [5], refused: [] })
})

test('what is more than a batch, by number or by size, goes before the turn ends', () => {
  const { sender, asked } = rig([])
  for (let i = 0; i < 65; i++) sender.add(datagram(i, 100), REMOTE)
  expect(asked).toEqual([64])
  for (let i = 0; i < 3; i++) sender.add(datagram(i, 65_507), REMOTE)
  expect(asked).toEqual([64, 2])
  sender.flush()
  expect(asked).toEqual([64, 2, 2])
})

test.each([
  ['taken bit by bit', [2, 1, 2], [5, 3, 2], []],
  ['interrupted', [-EINTR], [5, 5], []],
  ['one is too big', [1, -EMSGSIZE], [5, 4, 3], ['EMSGSIZE 1 101 df']],
  ['no room: the rest must not overtake', [2, -EAGAIN], [5, 3], ['EAGAIN 2 102', 'EAGAIN 3 103 df', 'EAGAIN 4 104']],
])('%s', (_, answers, calls, lost) => {
  const { sender, asked, refused } = rig([...answers])
  for (let i = 0; i < 5; i++) sender.add(datagram(i, 100 + i), REMOTE)
  sender.flush()
  expect({ asked, refused }).toEqual({ asked: calls, refused: lost })
})

test('those of one size to one place go as one message, the last may be shorter', () => {
  const { sender, asked } = rig([], true)
  for (const length of [100, 100, 100, 60, 60, 100, 0, 0, 200]) sender.add(datagram(1, length), REMOTE)
  sender.add(datagram(1, 200), { ...REMOTE, port: 4501 })
  sender.flush()
  // 100 100 100 60 | 60 | 100 | nothing | nothing | 200 | 200 to another port
  expect(asked).toEqual([7])
})

test('what a kernel does not take as one goes one by one, and from then on all do', () => {
  const { sender, asked, refused } = rig([-EIO], true)
  for (let turn = 0; turn < 2; turn++) {
    for (let i = 0; i < 3; i++) sender.add(datagram(i, 100), REMOTE)
    sender.flush()
  }
  expect({ asked, refused }).toEqual({ asked: [1, 3, 3], refused: [] })
})

test('too big for the path is asked about one by one, and is no reason not to group', () => {
  const { sender, asked, refused } = rig([-EMSGSIZE, -EMSGSIZE, -EMSGSIZE, 1], true)
  for (let turn = 0; turn < 2; turn++) {
    for (const length of [104, 104, 102]) sender.add(datagram(2, length), REMOTE)
    sender.flush()
  }
  expect({ asked, refused }).toEqual({ asked: [1, 3, 2, 1, 1], refused: ['EMSGSIZE 2 104', 'EMSGSIZE 2 104'] })
})
