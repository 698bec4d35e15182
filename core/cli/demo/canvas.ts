import pc from 'picocolors'

/** How a run of characters looks; a terminal without colours shows all of them alike. */
export type Ink = 'plain' | 'dim' | 'bold' | 'good' | 'bad' | 'accent' | 'warm'

/** Characters of drawings; the ASCII set has the same widths. */
export interface Glyphs {
  readonly line: string
  readonly bar: string
  readonly corners: readonly [topLeft: string, topRight: string, bottomLeft: string, bottomRight: string]
  /** Line meeting a box or lifeline: from the right side, left side, both, from below. */
  readonly joins: readonly [right: string, left: string, cross: string, down: string]
  readonly up: string
  readonly arrows: readonly [right: string, left: string]
  readonly wave: string
  readonly dot: string
  readonly to: string
  readonly back: string
  readonly both: string
  readonly won: string
  readonly lost: string
  readonly yes: string
  readonly no: string
  readonly dash: string
  readonly more: string
  /** Eighths of a cell, from nothing to full. */
  readonly levels: readonly string[]
}

const UNICODE: Glyphs = {
  line: '─',
  bar: '│',
  corners: ['╭', '╮', '╰', '╯'],
  joins: ['├', '┤', '┼', '┬'],
  up: '┴',
  arrows: ['▶', '◀'],
  wave: '╌',
  dot: '·',
  to: '→',
  back: '←',
  both: '⇄',
  won: '●',
  lost: '○',
  yes: '✔',
  no: '✘',
  dash: '—',
  more: '…',
  levels: [...' ▁▂▃▄▅▆▇█'],
}

const ASCII: Glyphs = {
  line: '-',
  bar: '|',
  corners: ['+', '+', '+', '+'],
  joins: ['+', '+', '+', '+'],
  up: '+',
  arrows: ['>', '<'],
  wave: '~',
  dot: '.',
  to: '>',
  back: '<',
  both: '=',
  won: '*',
  lost: 'o',
  yes: '+',
  no: 'x',
  dash: '-',
  more: '~',
  levels: [...' ..::==##'],
}

/** What text is drawn with: characters, colours, and the columns there are. */
export interface Pen {
  readonly glyphs: Glyphs
  readonly width: number
  paint(text: string, ink: Ink): string
}

export interface PenOptions {
  readonly unicode: boolean
  readonly colour: boolean
  /** Columns of the terminal; drawings need 80 and use at most 100. */
  readonly columns: number | undefined
}

export function pen({ unicode, colour, columns = 80 }: PenOptions): Pen {
  const c = pc.createColors(colour)
  const inks: Record<Ink, (text: string) => string> = {
    plain: text => text,
    dim: c.dim,
    bold: c.bold,
    good: c.green,
    bad: c.red,
    accent: c.cyan,
    warm: c.yellow,
  }
  return {
    glyphs: unicode ? UNICODE : ASCII,
    width: Math.min(100, Math.max(80, columns)),
    paint: (text, ink) => (text === '' ? '' : inks[ink](text)),
  }
}

/** True when the terminal takes UTF-8: the locale says so, or says nothing and the terminal is no bare console. */
export function speaksUtf8(env: Readonly<Record<string, string | undefined>>): boolean {
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG
  if (locale !== undefined && locale !== '') return /utf-?8/i.test(locale)
  return env.TERM !== 'dumb' && env.TERM !== 'linux'
}

interface Cell {
  readonly char: string
  readonly ink: Ink
}

/** A grid of characters to draw on, so that alignment never depends on colours. Grows downwards. */
export class Canvas {
  readonly #rows: (Cell | undefined)[][] = []

  /** Writes `text`, one cell per code point, over what was there. */
  put(x: number, y: number, text: string, ink: Ink = 'plain'): void {
    while (this.#rows.length <= y) this.#rows.push([])
    const row = this.#rows[y]!
    let at = x
    for (const char of text) row[at++] = { char, ink }
  }

  get height(): number {
    return this.#rows.length
  }

  /** Rows as text, nothing trailing; neighbours of one ink are painted together. */
  lines({ paint }: Pen): string[] {
    return this.#rows.map(row => {
      let line = ''
      let run = ''
      let ink: Ink = 'plain'
      for (let at = 0; at < row.length; at++) {
        const cell = row[at] ?? { char: ' ', ink: 'plain' }
        if (cell.ink !== ink) {
          line += paint(run, ink)
          run = ''
          ink = cell.ink
        }
        run += cell.char
      }
      return line + paint(run, ink)
    })
  }
}

/** Breaks text at spaces into lines of at most `width` characters; longer words stay whole. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}
