import { readFileSync } from 'node:fs'
import type { Payload } from '../../../core/wire/index.ts'

export const hex = (octets: string): Uint8Array => new Uint8Array(Buffer.from(octets, 'hex'))
export const text = (octets: Uint8Array): string => Buffer.from(octets).toString('hex')
export const spi = (octets: string): bigint => BigInt(`0x${octets}`)

/** The parts of test/vectors/strongswan/NAME.vectors.json that tests of keys and protection read. */
export interface Recording {
  readonly hosts: Readonly<Record<'alice' | 'moon', RecordedHost>>
}

interface RecordedHost {
  readonly ikeSas: readonly (Readonly<
    Record<'dhSecret' | 'SKEYSEED' | 'SK_d' | 'SK_ei' | 'SK_er' | 'SK_pi' | 'SK_pr', string>
  > & { readonly SK_ai?: string; readonly SK_ar?: string })[]
  readonly authentication: readonly { readonly name: string; readonly value: string }[]
  readonly childSas: readonly Readonly<Record<'encryption_initiator_key' | 'encryption_responder_key', string>>[]
  readonly messages: readonly {
    readonly raw: string
    readonly encrypted: boolean
    readonly initiator: boolean
    readonly iv?: string
    readonly plaintext?: string
    readonly payloads: readonly { readonly type: number; readonly name: string; readonly body: string }[]
  }[]
}

export const strongswan = (name: string): Recording =>
  JSON.parse(readFileSync(new URL(`../../vectors/strongswan/${name}.vectors.json`, import.meta.url), 'utf8'))

/** The first payload of a type, which a recording is known to have. */
export function find<T extends Payload['type']>(payloads: readonly Payload[], type: T): Extract<Payload, { type: T }> {
  return payloads.find(p => p.type === type) as Extract<Payload, { type: T }>
}
