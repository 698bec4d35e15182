import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Flow } from '../../../core/contracts/net.ts'
import { NotifyType, notifyOf, parseIke, parsePayloads, serializePayloads } from '../../../core/wire/index.ts'
import { checkRequest, checkResponse, connectAuth, isAuthentic, readCheck } from '../../../plugins/ike-me/check.ts'
import { callbackPayloads, connectPayloads, offerOf, readConnect } from '../../../plugins/ike-me/connect.ts'
import { decodeEndpoint, encodeEndpoint } from '../../../plugins/ike-me/endpoint.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/provider.ts'
import { hex, toHex } from '../../core/wire/octets.ts'

/** What strongSwan sent, read and written again. */

interface Run {
  readonly name: string
  readonly connects: readonly {
    readonly src: string
    readonly response: boolean
    readonly firstInner: number
    readonly plaintext: string
    readonly summary: string
  }[]
  readonly checks: readonly { readonly src: string; readonly dst: string; readonly raw: string }[]
  readonly connectAuth: readonly { readonly input: string; readonly sha1: string }[]
}

const { runs } = JSON.parse(readFileSync(new URL('../../vectors/ike-me/exchanges.json', import.meta.url), 'utf8')) as {
  readonly runs: readonly Run[]
}

const crypto = nodeCryptoProvider
const endpoint = (text: string) => {
  const [address = '', port = ''] = text.split(':')
  return { address, port: Number(port) }
}
const flow = (src: string, dst: string): Flow => ({ protocol: 17, local: endpoint(dst), remote: endpoint(src) })
const marked = (raw: string): Uint8Array => hex(`00000000${raw}`)

for (const run of runs)
  describe(run.name, () => {
    const requests = run.connects.filter(c => !c.response)
    const said = requests.map(c => ({ ...c, connect: readConnect(parsePayloads(c.firstInner, hex(c.plaintext))) }))
    /** Keys by connect ID, requester's first. */
    const keys = (id: Uint8Array): Uint8Array[] => {
      const own = said.filter(s => s.connect.id !== undefined && toHex(s.connect.id) === toHex(id))
      return [...new Set(own.map(s => toHex(s.connect.key!)))].map(hex)
    }

    test('every ME_CONNECT request is understood, and made again octet by octet', () => {
      expect(said.length).toBeGreaterThanOrEqual(4)
      for (const { connect, plaintext, firstInner, src } of said) {
        const offer = offerOf(connect)
        if (offer === undefined) {
          expect([connect.callback, connect.endpoints]).toEqual([true, []])
          expect(serializePayloads(callbackPayloads(connect.who!))).toEqual({
            first: firstInner,
            bytes: hex(plaintext),
          })
          continue
        }
        const flag = connect.callback ? 'callback' : connect.response ? 'response' : undefined
        const made = serializePayloads(connectPayloads(connect.who!, offer, flag))
        // the server puts its copy of ME_RESPONSE in front
        const fromServer = src.startsWith('203.0.113.10') && flag === 'response'
        if (fromServer) expect([...made.bytes].sort()).toEqual([...hex(plaintext)].sort())
        else expect(toHex(made.bytes)).toBe(plaintext)
      }
    })

    test('every endpoint', () => {
      for (const { firstInner, plaintext } of requests)
        for (const p of parsePayloads(firstInner, hex(plaintext)))
          if (p.type === 'N' && p.notify === NotifyType.ME_ENDPOINT)
            expect(toHex(encodeEndpoint(decodeEndpoint(p.data)!))).toBe(toHex(p.data))
    })

    test('every ME_CONNECTAUTH', () => {
      expect(run.connectAuth.length).toBeGreaterThanOrEqual(4)
      for (const { input, sha1 } of run.connectAuth) {
        const octets = hex(input)
        const number = new DataView(octets.buffer).getUint32(0)
        const endpointLength = octets.length - 4 - 4 - 16
        const made = connectAuth(
          crypto,
          number,
          octets.subarray(4, 8),
          octets.subarray(8, 8 + endpointLength),
          octets.subarray(8 + endpointLength),
        )
        expect(toHex(made)).toBe(sha1)
      }
    })

    test('every check verifies with exactly one of the two keys, and is made again octet by octet', () => {
      expect(run.checks.length).toBeGreaterThanOrEqual(4)
      for (const { src, dst, raw } of run.checks) {
        const check = readCheck(marked(raw), flow(src, dst))!
        const fitting = keys(check.id).filter(key => isAuthentic(crypto, check, key))
        expect(fitting).toHaveLength(1)
        const own = { id: check.id, key: fitting[0]! }
        const made = check.response
          ? checkResponse(crypto, { ...flow(src, dst), remote: check.seen! }, check, own)
          : checkRequest(crypto, flow(src, dst), check.number, own)
        expect(toHex(made)).toBe(`00000000${raw}`)
      }
    })

    test('one octet changed, and it does not verify', () => {
      const { src, dst, raw } = run.checks[0]!
      const id = notifyOf(parseIke(hex(raw)).payloads, NotifyType.ME_CONNECTID)!.data
      // message ID, connect ID, endpoint, digest
      for (const [from, to] of [
        [20, 24],
        [36, 40],
        [48, 56],
        [64, 84],
      ] as const)
        for (let at = from; at < to; at++) {
          const forged = marked(raw)
          forged[4 + at]! ^= 1
          const check = readCheck(forged, flow(src, dst))
          expect(check !== undefined && keys(id).some(key => isAuthentic(crypto, check, key)), `octet ${at}`).toBe(
            false,
          )
        }
    })
  })
