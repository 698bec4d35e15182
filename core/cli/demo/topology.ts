import { Canvas, type Pen, wrap } from './canvas.ts'
import type { Place, Topology } from './result.ts'

const MARGIN = 2

/** The places as boxes in a row, joined by lines; the public segment, in the middle, is a wavy one. */
export function picture({ row, behind, notes }: Topology, pen: Pen): string[] {
  const { glyphs, width } = pen
  const canvas = new Canvas()
  const inner = row.map(widest)
  const gap = Math.max(2, Math.floor((width - MARGIN - sum(inner) - 4 * row.length) / Math.max(1, row.length - 1)))
  const depth = Math.max(...row.map(place => place.notes.length)) + 1
  let x = MARGIN
  for (const [index, place] of row.entries()) {
    const size = inner[index]! + 4
    box(canvas, x, 0, inner[index]!, depth, place, pen)
    if (index > 0) {
      canvas.put(x, 1, glyphs.joins[1], 'dim')
      const wide = index === row.length / 2
      canvas.put(x - gap, 1, (wide ? glyphs.wave : glyphs.line).repeat(gap), wide ? 'warm' : 'dim')
    }
    if (index < row.length - 1) canvas.put(x + size - 1, 1, glyphs.joins[0], 'dim')
    x += size + gap
  }
  // the one behind hangs below the last of the row
  const below = depth + 2
  const size = widest(behind)
  const right = x - gap
  const left = right - size - 4
  // near the right corner, where no name stands
  const middle = right - 3
  canvas.put(middle, below - 1, glyphs.joins[3], 'dim')
  box(canvas, left, below, size, behind.notes.length + 1, behind, pen)
  canvas.put(middle, below, glyphs.up, 'dim')
  const room = left - MARGIN - 2
  const lines = notes.flatMap(note =>
    wrap(note, room - 2).map((line, index) => (index === 0 ? `${glyphs.dot} ${line}` : `  ${line}`)),
  )
  for (const [index, line] of lines.entries()) canvas.put(MARGIN, below + index, line, 'dim')
  return canvas.lines(pen)
}

const widest = ({ name, address, notes }: Place): number =>
  Math.max(name.length + 1, address.length, ...notes.map(note => note.length))

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)

function box(canvas: Canvas, x: number, y: number, inner: number, depth: number, place: Place, { glyphs }: Pen): void {
  const [topLeft, topRight, bottomLeft, bottomRight] = glyphs.corners
  const right = x + inner + 3
  canvas.put(x, y, topLeft + glyphs.line.repeat(inner + 2) + topRight, 'dim')
  canvas.put(x + 2, y, ` ${place.name} `, 'bold')
  for (let row = 1; row <= depth; row++) {
    canvas.put(x, y + row, glyphs.bar, 'dim')
    canvas.put(right, y + row, glyphs.bar, 'dim')
  }
  canvas.put(x + 2, y + 1, place.address, 'accent')
  for (const [index, note] of place.notes.entries()) canvas.put(x + 2, y + 2 + index, note, 'plain')
  canvas.put(x, y + depth + 1, bottomLeft + glyphs.line.repeat(inner + 2) + bottomRight, 'dim')
}
