import { readFileSync } from 'node:fs'
import { createColors } from 'picocolors'
import { beforeAll, describe, expect, test } from 'vitest'
import { COLUMNS } from '../../../../core/cli/matrix/columns.ts'
import { htmlPage, markdownPages, svgDrawing } from '../../../../core/cli/matrix/pages.ts'
import { PROBLEMS } from '../../../../core/cli/matrix/problems.ts'
import { type Matrix, runProblems } from '../../../../core/cli/matrix/run.ts'
import { cellOf, renderCell, renderMatrix } from '../../../../core/cli/matrix/text.ts'
import type { Output } from '../../../../core/cli/output.ts'

/** All of it from one live run; `natweave matrix problems` is this run. */

const DOCS = new URL('../../../../docs/scenarios/', import.meta.url)
const out: Output = { colours: createColors(false), terminal: false, line() {}, json() {}, complain() {} }
let matrix: Matrix

beforeAll(async () => {
  matrix = await runProblems(1)
}, 240_000)

describe('what was observed', () => {
  for (const { name, curable } of PROBLEMS) {
    test(`${name}: fails without a cure, as the literature says`, () => {
      // integrity-only ESP is no problem but what takes the place of one
      const want = name === 'integrity-only' ? 'cured' : 'not-cured'
      expect(cellOf(matrix, name, 'none').verdict).toBe(want)
    })

    test(`${name}: ${curable ? 'cured' : 'not cured'} by what policy chooses`, () => {
      expect(cellOf(matrix, name, 'policy')).toMatchObject({ verdict: curable ? 'cured' : 'not-cured' })
    })
  }

  test('where it differs from the literature, the page of the problem tells why', () => {
    for (const { asExpected, problem } of matrix.cells)
      if (asExpected === false) expect(PROBLEMS.find(p => p.name === problem)?.differs).toBeDefined()
    const differing = matrix.cells.filter(c => c.asExpected === false).map(c => `${c.problem}/${c.column}`)
    expect(differing).toEqual(['overlapping-hosts/beet', 'non-udp-tcp/beet'])
  })

  test('failures are those the problems are about', () => {
    const saw = (problem: string, column: string) => cellOf(matrix, problem, column).saw
    expect(saw('ah-integrity', 'none')).toMatch(/0 of 3 pings.*dropped for integrity/)
    expect(saw('ah-integrity', 'udp-encap')).toContain('AH covers the outer addresses')
    expect(saw('checksums', 'none')).toMatch(/3 of 3 pings, no datagram, nothing by TCP, \d+ wrong checksums/)
    expect(saw('address-identities', 'none')).toContain('PEER_AUTH_FAILED')
    expect(saw('fixed-ike-ports', 'none')).toContain('bob: PEER_UNREACHABLE')
    expect(saw('overlapping-tunnels', 'udp-encap')).toContain('already belong to an SA of alice.example')
    expect(saw('overlapping-hosts', 'udp-encap')).toContain('already belong to an SA of alice.example')
    expect(saw('non-udp-tcp', 'none')).toContain('0 of 3 pings')
    expect(saw('mapping-timeouts', 'none')).toContain('after 10 silent minutes: 0 of 3 pings')
    expect(saw('inbound', 'none')).toContain('PEER_UNREACHABLE')
    expect(saw('integrity-only', 'policy')).toMatch(/^direct\+udp-encap\+beet: 3 of 3 pings/)
  })
})

test('another seed has the same verdicts', async () => {
  const other = await runProblems(7)
  expect(other.cells.map(c => c.verdict)).toEqual(matrix.cells.map(c => c.verdict))
}, 240_000)

/** After a change: `npm run docs`. */
test('the pages in docs/scenarios say what the run says', () => {
  for (const [name, text] of markdownPages(matrix)) expect(readFileSync(new URL(name, DOCS), 'utf8'), name).toBe(text)
  expect(readFileSync(new URL('matrix.svg', DOCS), 'utf8')).toBe(svgDrawing(matrix))
})

test('a table, a cell, a page of HTML', () => {
  const lines = renderMatrix(matrix, out)
  expect(lines.slice(1, 1 + PROBLEMS.length).every(line => (line.match(/[✔✘–]/g) ?? []).length >= COLUMNS.length)).toBe(
    true,
  )
  expect(renderCell(cellOf(matrix, 'checksums', 'none'), out).join('\n')).toContain('ESP')
  const html = htmlPage(matrix)
  for (const { problem, column } of matrix.cells) {
    expect(html).toContain(`href="#${problem}-${column}"`)
    expect(html).toContain(`<details id="${problem}-${column}">`)
  }
  expect(html).not.toMatch(/<script|https?:\/\//)
})
