import type { JudgedPlan } from '../../contracts/natweave.ts'
import { type Pen, wrap } from './canvas.ts'
import { count, duration, rate, size } from './numbers.ts'
import type { Association, BulkResult, DemoResult, Eavesdropper, PingResult, SeenFact } from './result.ts'

/** The demo's text, one function a section: measured values in, lines out. */

const LABEL = 12

export function heading(text: string, { glyphs, width, paint }: Pen): string[] {
  const rest = glyphs.line.repeat(Math.max(0, width - text.length - 6))
  return ['', `${paint(`  ${glyphs.line}${glyphs.line}`, 'dim')} ${paint(text, 'bold')} ${paint(rest, 'dim')}`, '']
}

/** A label and its value; what does not fit goes on below, aligned. */
function entry(label: string, value: string, { width, paint }: Pen): string[] {
  return wrap(value, width - LABEL - 4).map(
    (line, index) => `  ${paint((index === 0 ? label : '').padEnd(LABEL), 'dim')}  ${line}`,
  )
}

export function facts(seen: readonly SeenFact[], { glyphs, width, paint }: Pen): string[] {
  const names = Math.max(...seen.map(({ name, value }) => `${name} = ${value}`.length), 0)
  return seen.flatMap(({ at, by, name, value, source }) => {
    const what = `${name} = ${value}`.padEnd(names)
    const head = `${at.toFixed(1).padStart(10)}  ${by.padEnd(5)}  `
    const indent = ' '.repeat(head.length + names + 2)
    const lines = wrap(`${glyphs.dash} ${source}`, width - indent.length)
    const first = `${paint(head, 'dim')}${paint(what, value === true ? 'accent' : 'plain')}  ${paint(lines[0]!, 'dim')}`
    return [first, ...lines.slice(1).map(line => `${indent}  ${paint(line, 'dim')}`)]
  })
}

export function plans(judged: readonly JudgedPlan[], { glyphs, width, paint }: Pen): string[] {
  return judged.flatMap(({ plan, usable, reasons }, index) => {
    const chosen = index === 0 && usable
    const mark = chosen ? paint(glyphs.won, 'good') : paint(glyphs.lost, usable ? 'warm' : 'bad')
    const name = `${plan.path} + ${plan.encap} + ${plan.mode}`
    const verdict = chosen ? 'chosen' : usable ? 'possible' : 'unusable'
    const why = wrap(reasons.join('; '), width - 6)
    return [
      `  ${mark} ${paint(name, chosen ? 'bold' : 'plain')}  ${paint(verdict, chosen ? 'good' : 'dim')}`,
      ...why.map(line => `      ${paint(line, 'dim')}`),
    ]
  })
}

export function association(sa: Association, pen: Pen): string[] {
  const { to, both } = pen.glyphs
  const [local, remote] = sa.selectors
  return [
    ...entry('IKE SA', `${sa.ikeSuite}`, pen),
    ...entry('', `SPIs ${sa.ikeSpis.join(' / ')}`, pen),
    ...entry('', `${sa.local} ${both} ${sa.remote}`, pen),
    ...entry('Child SA', `ESP in ${sa.mode} mode, ${sa.encap}, ${sa.espSuite}`, pen),
    ...entry('', `SPIs in ${sa.espSpis[0]}, out ${sa.espSpis[1]}`, pen),
    ...entry('', `${local.join(', ')} ${both} ${remote.join(', ')}`, pen),
    ...entry('virtual IP', `${sa.virtualAddresses.join(', ')} ${to} alice`, pen),
  ]
}

export function ping({ from, to, sent, received, rtts }: PingResult, { glyphs, paint }: Pen): string[] {
  const slowest = Math.max(...rtts, 1)
  const rows = rtts.map((rtt, index) => {
    const bar = glyphs.levels.at(-1)!.repeat(Math.max(1, Math.round((rtt / slowest) * 24)))
    return `  ${paint(`${index + 1}`.padStart(4), 'dim')}  ${rtt.toFixed(1).padStart(7)} ms  ${paint(bar, 'accent')}`
  })
  const mean = rtts.reduce((a, b) => a + b, 0) / Math.max(1, rtts.length)
  const spread =
    rtts.length === 0
      ? ''
      : `, ${Math.min(...rtts).toFixed(1)} / ${mean.toFixed(1)} / ${slowest.toFixed(1)} ms (min / mean / max)`
  const verdict = paint(`${received} of ${sent} answered`, received === sent ? 'good' : 'bad')
  return [`  ${from} ${glyphs.to} ${to}`, ...rows, `  ${verdict}${spread}`]
}

export function bulk(result: BulkResult, pen: Pen): string[] {
  const { glyphs, paint } = pen
  const { bytes, durationMs, realMs, loss, retransmissions, digest, intact, curve } = result
  const percent = `${(loss * 100).toFixed(0)} % loss each way`
  const seal = intact ? paint('equal at both ends', 'good') : paint('not equal', 'bad')
  return [
    ...entry('sent', `${size(bytes)} at ${percent}, ${count(retransmissions)} TCP segments sent again`, pen),
    ...entry(
      'took',
      `${duration(durationMs)}, ${rate(bytes, durationMs)}; simulated in ${(realMs / 1000).toFixed(1)} s real`,
      pen,
    ),
    ...entry('over time', '', pen).map(line => line + paint(sparkline(curve, glyphs.levels), 'accent')),
    `  ${paint('SHA-256'.padEnd(LABEL), 'dim')}  ${digest.slice(0, 32)}${glyphs.more} ${seal}`,
  ]
}

/** One character a value, as high as its share of the greatest. */
export function sparkline(values: readonly number[], levels: readonly string[]): string {
  const top = Math.max(...values, 1)
  const steps = levels.length - 1
  return values.map(value => levels[value <= 0 ? 0 : Math.max(1, Math.round((value / top) * steps))]).join('')
}

export function eavesdropper({ esp, espOctets, ike, keepalive, clear }: Eavesdropper, { paint }: Pen): string[] {
  const row = (value: number, text: string, ink: 'good' | 'bad' | 'plain'): string =>
    `  ${paint(count(value).padStart(8), ink)}  ${text}`
  return [
    row(esp, `ESP-in-UDP packets, ${size(espOctets)} of ciphertext`, 'plain'),
    row(ike, 'IKE messages', 'plain'),
    row(keepalive, 'NAT-keepalives of one octet: the mapping outlives an idle minute', 'plain'),
    row(clear, 'packets in the clear', clear === 0 ? 'good' : 'bad'),
  ]
}

/** The one line that says how it went. */
export function summary(result: DemoResult, { glyphs, paint }: Pen): string {
  const { ok, failures, roundTrips, upMs, ping, bulk, eavesdropper, simulatedMs, realMs } = result
  const time = `simulated ${(simulatedMs / 1000).toFixed(1)} s in ${(realMs / 1000).toFixed(1)} s real`
  if (!ok) return `${paint(glyphs.no, 'bad')} ${failures.join('; ')} ${glyphs.dash} ${time}`
  const parts = [
    `tunnel up in ${roundTrips} round trips (virtual ${(upMs ?? 0).toFixed(0)} ms)`,
    ping && `${ping.received}/${ping.sent} pings`,
    bulk && `${size(bulk.bytes)} intact`,
    `${eavesdropper.clear} packets in the clear`,
  ]
  return `${paint(glyphs.yes, 'good')} ${parts.filter(part => part !== undefined).join(', ')} ${glyphs.dash} ${time}`
}
