import { Canvas, type Pen, wrap } from './canvas.ts'
import { count, size } from './numbers.ts'
import type { Crossing, Stretch } from './sightings.ts'

/** Somebody a message passes: name over address. */
export interface Lifeline {
  readonly name: string
  readonly address: string
}

const TIME = 12

/**
 * A sequence chart: time runs down, messages go across. Each stretch of an arrow is labelled with the address that is
 * new there: the sender's until the last NAT, the receiver's behind it.
 *
 * @param payloads - what is in a message, by its title, from an end that can read it
 */
export function chart(
  lifelines: readonly Lifeline[],
  rows: readonly (Crossing | Stretch)[],
  payloads: ReadonlyMap<string, string>,
  pen: Pen,
): string[] {
  const { glyphs, width } = pen
  const canvas = new Canvas()
  const step = Math.floor((width - 5 - TIME) / (lifelines.length - 1))
  const xs = lifelines.map((_, index) => TIME + index * step)
  const right = xs.at(-1)!
  const centred = (x: number, y: number, text: string, ink: 'bold' | 'dim'): void =>
    canvas.put(Math.min(x - Math.floor(text.length / 2), width - text.length), y, text, ink)
  for (const [index, { name, address }] of lifelines.entries()) {
    centred(xs[index]!, 0, name, 'bold')
    centred(xs[index]!, 1, address, 'dim')
  }
  const rule = (): number => {
    const y = canvas.height
    for (const x of xs) canvas.put(x, y, glyphs.bar, 'dim')
    return y
  }
  const write = (y: number, text: string, rightwards: boolean, ink: 'bold' | 'dim'): void =>
    canvas.put(rightwards ? TIME + 2 : right - 1 - text.length, y, text, ink)
  rule()
  for (const row of rows) {
    const y = rule()
    const time = row.at.toFixed(1)
    canvas.put(TIME - 2 - time.length, y, time, 'dim')
    if (row.type === 'stretch') {
      rule()
      band(canvas, row, y, xs, pen)
      rule()
      continue
    }
    write(y, row.title, row.rightwards, 'bold')
    const inside = payloads.get(row.title)
    if (inside) for (const line of wrap(inside, right - TIME - 3)) write(rule(), line, row.rightwards, 'dim')
    arrow(canvas, row, rule(), xs, pen)
    rule()
  }
  return canvas.lines(pen)
}

function arrow(
  canvas: Canvas,
  { hops, rightwards }: Crossing,
  y: number,
  xs: readonly number[],
  { glyphs }: Pen,
): void {
  const { line, joins, arrows, no } = glyphs
  const lastHop = rightwards ? hops.length - 1 : 0
  for (const [index, hop] of hops.entries()) {
    const from = xs[index]!
    const length = xs[index + 1]! - from - 1
    if (hop === undefined) {
      canvas.put(rightwards ? from + 1 : from + length, y, no, 'bad')
      continue
    }
    canvas.put(from + 1, y, line.repeat(length), 'accent')
    const label = index === lastHop ? hop.to : hop.from
    canvas.put(from + 1 + Math.max(0, Math.floor((length - label.length) / 2)), y, label, 'plain')
  }
  const ends = hops.map(hop => hop !== undefined)
  for (let index = 1; index < xs.length - 1; index++)
    if (ends[index - 1] || ends[index]) canvas.put(xs[index]!, y, joins[2], 'accent')
  if (rightwards && ends[0]) canvas.put(xs[0]!, y, joins[0], 'accent')
  if (!rightwards && ends.at(-1)) canvas.put(xs.at(-1)!, y, joins[1], 'accent')
  if (!ends[lastHop]) return
  if (rightwards) canvas.put(xs.at(-1)! - 1, y, arrows[0], 'accent')
  else canvas.put(xs[0]! + 1, y, arrows[1], 'accent')
}

/** Two lines: how long, and how much each way. */
function band(canvas: Canvas, { right, left, at, until }: Stretch, y: number, xs: readonly number[], pen: Pen): void {
  const { glyphs } = pen
  const [from, to] = [xs[0]! + 1, xs.at(-1)!]
  const centred = (row: number, text: string): void =>
    canvas.put(from + Math.max(0, Math.floor((to - from - text.length) / 2)), row, text, 'good')
  const name = right.esp + left.esp > 0 ? 'ESP in UDP' : 'silence'
  canvas.put(from, y, glyphs.wave.repeat(to - from), 'good')
  centred(y, ` ${name} for ${((until - at) / 1000).toFixed(1)} s `)
  const kept = right.keepalives + left.keepalives
  const amounts = [
    right.esp > 0 ? `${glyphs.to} ${count(right.esp)} (${size(right.espOctets)})` : '',
    left.esp > 0 ? `${glyphs.back} ${count(left.esp)} (${size(left.espOctets)})` : '',
    kept > 0 ? `${count(kept)} keepalive${kept === 1 ? '' : 's'}` : '',
  ]
  centred(y + 1, amounts.filter(text => text !== '').join('   '))
}
