import type { Figure } from './measure.ts'

const number = new Intl.NumberFormat('en', { maximumSignificantDigits: 4 })

/** What a figure is compared with, as multiples of the slowest beside it. */
function ratio(figure: Figure, all: readonly Figure[]): string {
  const beside = all.filter(f => f.compare !== undefined && f.compare === figure.compare)
  if (beside.length < 2) return ''
  return `${(figure.value / Math.min(...beside.map(f => f.value))).toFixed(2)}×`
}

/** A line for each figure: what is compared, whose it is, value, unit, ratio. */
export const rowsOf = (figures: readonly Figure[]): string[][] =>
  figures.map((figure, i) => {
    const repeated = figure.compare !== undefined && figures[i - 1]?.compare === figure.compare
    return [
      repeated ? '' : (figure.compare ?? ''),
      figure.what,
      number.format(figure.value),
      figure.unit,
      ratio(figure, figures),
    ]
  })

/** Columns as wide as their widest cell, numbers at the right. */
export function table(figures: readonly Figure[]): string {
  const rows = rowsOf(figures)
  const widths = [0, 1, 2, 3, 4].map(column => Math.max(...rows.map(row => row[column]!.length)))
  const cell = (text: string, column: number): string =>
    column === 2 || column === 4 ? text.padStart(widths[column]!) : text.padEnd(widths[column]!)
  return rows.map(row => `  ${row.map(cell).join('  ')}`.trimEnd()).join('\n')
}
