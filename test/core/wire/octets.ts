import { readFileSync } from 'node:fs'
import { expect } from 'vitest'
import { WireError } from '../../../core/errors.ts'

/** Octets from hexadecimal digits; blanks are for the reader. */
export const hex = (digits: string): Uint8Array => Uint8Array.from(Buffer.from(digits.replace(/[\s|]/g, ''), 'hex'))

export const toHex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex')

/** Runs `parse`; anything it throws must be a WireError. */
export function onlyWireError(parse: () => unknown): void {
  try {
    parse()
  } catch (error) {
    expect(error).toBeInstanceOf(WireError)
  }
}

export interface RecordedMessage {
  readonly n: number
  readonly raw: string
  readonly spiI: string
  readonly spiR: string
  readonly exchangeType: number
  readonly flags: number
  readonly messageId: number
  readonly encrypted: boolean
  readonly firstInner?: number
  readonly iv?: string
  readonly plaintext?: string
  readonly payloads: readonly {
    readonly type: number
    readonly name: string
    readonly body: string
    readonly notify?: number
    readonly data?: string
    readonly idType?: number
  }[]
}

export interface Recording {
  readonly hosts: Readonly<
    Record<
      string,
      { readonly messages: readonly RecordedMessage[]; readonly esp: readonly { readonly packet: string }[] }
    >
  >
}

export const RECORDINGS = ['rw-psk', 'rw-cert', 'modes', 'ike-me'] as const

export const recording = (name: (typeof RECORDINGS)[number]): Recording =>
  JSON.parse(
    readFileSync(new URL(`../../vectors/strongswan/${name}.vectors.json`, import.meta.url), 'utf8'),
  ) as Recording
