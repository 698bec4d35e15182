import 'reflect-metadata'
import { PemConverter } from '@peculiar/x509'

/** Octets of a file as the DER inside: PEM with one or several blocks, or DER itself. */
export interface Block {
  /** `CERTIFICATE`, `PUBLIC KEY`; empty for DER. */
  readonly label: string
  readonly der: Uint8Array
}

/** @throws Error when there is nothing in it, or a block is broken */
export function blocks(octets: Uint8Array): Block[] {
  const text = new TextDecoder('latin1').decode(octets)
  if (!text.includes('-----BEGIN')) {
    if (octets[0] !== 0x30) throw new Error('neither PEM nor DER')
    return [{ label: '', der: octets }]
  }
  const found = PemConverter.decodeWithHeaders(text).map(({ type, rawData }) => ({
    label: type,
    der: new Uint8Array(rawData),
  }))
  if (found.length === 0) throw new Error('PEM without a whole block')
  return found
}

/** All blocks of one kind. @throws Error when there are none, or others among them */
export function derOf(octets: Uint8Array, ...labels: readonly string[]): Uint8Array[] {
  return blocks(octets).map(({ label, der }) => {
    if (label !== '' && !labels.includes(label)) throw new Error(`${label} is found where ${labels[0]} is wanted`)
    return der
  })
}
