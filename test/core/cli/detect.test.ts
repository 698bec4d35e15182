import { createColors } from 'picocolors'
import { describe, expect, test } from 'vitest'
import { renderDetection } from '../../../core/cli/render-detection.ts'
import type { Report } from '../../../plugins/stun/index.ts'
import { nats, topologies } from '../../kit/index.ts'
import { detect, detected, serveStun } from '../../scenario/stun-support.ts'

const SERVER = { address: '203.0.113.30', port: 3478 }

function rendered(report: Report, terminal = false): string {
  const unused = (): void => {}
  return renderDetection(report, {
    colours: createColors(false),
    terminal,
    line: unused,
    json: unused,
    complain: unused,
  })
    .map(line => line.trimEnd())
    .join('\n')
}

describe('natweave detect prints', () => {
  test('verdicts, their rules, what it means, and the evidence', () => {
    const { net, alice, stun } = topologies.nat1({ seed: 1, nata: 'sequentialSymmetric' })
    serveStun(net, stun)
    const report = detected(net, detect(net, alice, '10.1.0.5', { server: SERVER, lifetimes: [0, 15_000] }))
    const text = rendered(report)
    expect(text.startsWith('STUN server 203.0.113.30:3478: 10.1.0.5:40000 is seen as 198.51.100.1:1024\n\n')).toBe(true)
    for (const line of [
      '    NAT           symmetric                   100.0%  test I: 198.51.100.1:1024 is not the local 10.1.0.5:40000; test I′ to another address: 198.51.100.1:1028 [I, II, I′]',
      '    mapping       address-and-port-dependent  100.0%  towards each address and port: another one [I, mapping-address, I′]',
      '    hairpinning   unknown                             nothing came in, which the filter alone explains [hairpin, hairpin-back]',
      '    port step     1                           100.0%  outer ports are 1 apart [I, mapping-port, mapping-address, I′]',
      '    idle mapping  lives 15 s                  100.0%  alive after 15 s [alive-15]',
      'Hole punching reaches peers without a NAT or behind full or restricted cones; others need prediction or a relay.',
      '  II: answer from another address and port (203.0.113.30:3478): no answer, 4 requests',
      '  I′: mapped address (203.0.113.31:3479): 198.51.100.1:1028, answered from 203.0.113.31:3479 in 24 ms, 1 request',
    ])
      expect(text.split('\n')).toContain(line)
  })

  test('on a terminal no evidence a second time; UDP blocked', () => {
    const { net, alice, stun } = topologies.nat1({ seed: 1, nata: { ...nats.symmetric, blockUdp: true } })
    serveStun(net, stun)
    const report = detected(net, detect(net, alice, '10.1.0.5', { server: SERVER }))
    expect(rendered(report, true)).toBe(`STUN server 203.0.113.30:3478: 10.1.0.5:40000 is seen as nothing

    NAT  udp blocked  99.8%  test I: no answer [I]

No UDP gets through to this server: peers are reached over TCP, or not at all.`)
  })
})
