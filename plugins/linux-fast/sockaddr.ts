import type { Endpoint } from '../../core/contracts/net.ts'
import { addressBytes, addressOfBytes } from '../../core/wire/index.ts'
import { SOCKADDR, Sys } from './libc.ts'

/** Writes a struct sockaddr_in or sockaddr_in6. @returns its octets */
export function writeName(view: DataView, at: number, { address, port }: Endpoint): number {
  const octets = addressBytes(address)
  const v4 = octets.length === 4
  for (let i = 0; i < SOCKADDR; i++) view.setUint8(at + i, 0)
  view.setUint16(at, v4 ? Sys.AF_INET : Sys.AF_INET6, true)
  view.setUint16(at + 2, port)
  for (let i = 0; i < octets.length; i++) view.setUint8(at + (v4 ? 4 : 8) + i, octets[i]!)
  return v4 ? 16 : SOCKADDR
}

export function readName(bytes: Uint8Array, view: DataView, at: number): Endpoint {
  const v4 = view.getUint16(at, true) === Sys.AF_INET
  return { address: addressOfBytes(bytes, at + (v4 ? 4 : 8), v4 ? 4 : 6), port: view.getUint16(at + 2) }
}
