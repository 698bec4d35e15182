import { COLUMNS } from './columns.ts'
import { PROBLEMS, type Problem } from './problems.ts'
import type { Matrix, Verdict } from './run.ts'
import { cellOf } from './text.ts'

/** The matrix as documents: pages of Markdown, one page of HTML, a drawing. What they say was observed in the same run. */

const WORDS: Readonly<Record<Verdict, string>> = {
  cured: '✔ cured',
  'not-cured': '✘ not cured',
  'not-applicable': '– not applicable',
}

/** Files by name: `README.md` with the table, and a page for each problem. */
export function markdownPages(matrix: Matrix): ReadonlyMap<string, string> {
  const pages = new Map([['README.md', overview(matrix)]])
  for (const problem of PROBLEMS) pages.set(`${problem.name}.md`, page(problem, matrix))
  return pages
}

function overview(matrix: Matrix): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return lines([
    '# The eight problems, and what cures them',
    '',
    'What NAT breaks in IPsec (RFC 3715), each as a scenario on the virtual internet that fails first and is then tried with',
    'each cure alone and with what policy makes of all of them. Every cell was observed; its link leads to what was seen.',
    'A path that IKE-ME finds is a pair of UDP mappings, so its column has UDP encapsulation too; BEET is alone in its own.',
    '`natweave matrix problems --docs docs/scenarios` wrote these pages, and a test holds them to what it would write now.',
    '',
    row(['problem', ...COLUMNS.map(c => c.title)]),
    row(['---', ...COLUMNS.map(() => '---')]),
    ...PROBLEMS.map(({ name, title }) =>
      row([
        `[${title}](${name}.md)`,
        ...COLUMNS.map(c => {
          const { verdict, asExpected } = cellOf(matrix, name, c.name)
          return `[${WORDS[verdict]}](${name}.md#${c.name})${asExpected === false ? ' \\*' : ''}`
        }),
      ]),
    ),
    '',
    '\\* other than the literature says; the page of the problem tells why.',
  ])
}

function page({ name, title, story, differs }: Problem, matrix: Matrix): string {
  return lines([
    `# ${title.replace(/^… /, '')}`,
    '',
    story,
    ...(differs === undefined ? [] : ['', `**Other than the literature says.** ${differs}`]),
    ...COLUMNS.flatMap(column => {
      const { verdict, saw, trace } = cellOf(matrix, name, column.name)
      return [
        '',
        `## ${column.name}`,
        '',
        `${column.title}: **${WORDS[verdict]}**. Observed: ${saw}`,
        '',
        'On the public segment:',
        '',
        '```text',
        ...trace,
        '```',
      ]
    }),
  ])
}

const lines = (all: readonly string[]): string => `${all.join('\n')}\n`

const COLOUR: Readonly<Record<Verdict, string>> = {
  cured: '#2e7d32',
  'not-cured': '#c62828',
  'not-applicable': '#757575',
}

/** One page without scripts or anything from elsewhere. */
export function htmlPage(matrix: Matrix): string {
  const cell = (problem: string, column: string): string => {
    const { verdict, asExpected } = cellOf(matrix, problem, column)
    return `<td style="color:${COLOUR[verdict]}"><a href="#${problem}-${column}">${WORDS[verdict]}</a>${asExpected === false ? ' *' : ''}</td>`
  }
  const details = PROBLEMS.flatMap(({ name, title, story, differs }) => [
    `<h2>${escaped(title)}</h2><p>${escaped(story)}</p>`,
    ...(differs === undefined ? [] : [`<p><em>Other than the literature says.</em> ${escaped(differs)}</p>`]),
    ...COLUMNS.map(column => {
      const { saw, trace, verdict } = cellOf(matrix, name, column.name)
      return `<details id="${name}-${column.name}"><summary>${escaped(column.title)}: ${WORDS[verdict]}</summary><p>${escaped(saw)}</p><pre>${escaped(trace.join('\n'))}</pre></details>`
    }),
  ])
  return lines([
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>natweave: the eight problems</title>',
    '<style>body{font:16px/1.5 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em}td,th{padding:.3em .8em;text-align:left;border-bottom:1px solid #ddd}a{color:inherit}pre{overflow-x:auto}</style>',
    '<h1>The eight problems, and what cures them</h1>',
    `<table><tr><th>problem</th>${COLUMNS.map(c => `<th>${escaped(c.title)}</th>`).join('')}</tr>`,
    ...PROBLEMS.map(
      ({ name, title }) => `<tr><td>${escaped(title)}</td>${COLUMNS.map(c => cell(name, c.name)).join('')}</tr>`,
    ),
    '</table><p>* other than the literature says</p>',
    ...details,
    '</html>',
  ])
}

const LABEL_WIDTH = 560
const CELL = { width: 170, height: 34 } as const

/** A drawing of the table whose cells link to the pages that `markdownPages` makes. */
export function svgDrawing(matrix: Matrix): string {
  const width = LABEL_WIDTH + COLUMNS.length * CELL.width
  const height = (PROBLEMS.length + 1) * CELL.height + 10
  const text = (x: number, row: number, what: string, style = ''): string =>
    `<text x="${x}" y="${row * CELL.height + 23}"${style}>${escaped(what)}</text>`
  return lines([
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="15">`,
    '<title>The eight problems, and what cures them</title>',
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...COLUMNS.map((c, i) => text(LABEL_WIDTH + i * CELL.width, 0, c.title, ' font-weight="bold"')),
    ...PROBLEMS.flatMap(({ name, title }, row) => [
      `<path d="M8 ${(row + 1) * CELL.height}H${width - 8}" stroke="#ddd"/>`,
      text(8, row + 1, title),
      ...COLUMNS.map((c, i) => {
        const { verdict, asExpected } = cellOf(matrix, name, c.name)
        const mark = text(
          LABEL_WIDTH + i * CELL.width,
          row + 1,
          `${WORDS[verdict]}${asExpected === false ? ' *' : ''}`,
          ` fill="${COLOUR[verdict]}"`,
        )
        return `<a href="${name}.md#${c.name}">${mark}</a>`
      }),
    ]),
    '</svg>',
  ])
}

const escaped = (text: string): string => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/"/g, '&quot;')
