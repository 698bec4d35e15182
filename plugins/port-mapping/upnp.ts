import type { Address } from '../../core/contracts/net.ts'
import { WireError } from '../../core/errors.ts'

/** The texts of UPnP: SSDP (UPnP Device Architecture 1.1 §1.3), device descriptions (§2.3) and SOAP actions (§3). */

export const SSDP_PORT = 1900
export const SSDP_GROUP = '239.255.255.250'

/** Version 2 of a device answers to 1 too (§1.3.2). */
const DEVICE = 'urn:schemas-upnp-org:device:InternetGatewayDevice:1'
const SERVICE = /^urn:schemas-upnp-org:service:(?:WANIPConnection:[12]|WANPPPConnection:1)$/
/** More than that no router has. */
const MAX_SERVICES = 4

/** @param host - the multicast group, or one device */
export const searchRequest = (host: Address): string =>
  `M-SEARCH * HTTP/1.1\r\nHOST: ${host}:${SSDP_PORT}\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: ${DEVICE}\r\n\r\n`

/** Port and path on a gateway: nothing a gateway says makes this host speak to anybody else. */
export interface Place {
  readonly port: number
  readonly path: string
}

/**
 * Where the description is, from the answer to a search.
 *
 * @param gateway - an IPv4 address
 * @returns undefined where it is not on the gateway itself, or not HTTP
 */
export function locationOf(answer: string, gateway: Address): Place | undefined {
  if (!answer.startsWith('HTTP/1.1 200')) return undefined
  const [, location] = /\r\nlocation:[ \t]*([^\r\n]+)/i.exec(answer) ?? []
  return location === undefined ? undefined : placeOf(location.trim(), `http://${gateway}/`, gateway)
}

/** A service that forwards ports. */
export interface Control extends Place {
  readonly service: string
}

/** The services of a description that forward ports and are on the gateway itself. @param at - the description's place */
export function controlsOf(description: string, gateway: Address, at: Place): readonly Control[] {
  const base = `http://${gateway}:${at.port}${at.path}`
  return description
    .split('<service>')
    .slice(1)
    .flatMap(text => {
      const service = textOf(text, 'serviceType')?.trim() ?? ''
      const url = textOf(text, 'controlURL')?.trim()
      const place = url === undefined || !SERVICE.test(service) ? undefined : placeOf(url, base, gateway)
      return place === undefined ? [] : [{ service, ...place }]
    })
    .slice(0, MAX_SERVICES)
}

function placeOf(url: string, base: string, gateway: Address): Place | undefined {
  if (!URL.canParse(url, base)) return undefined
  const { protocol, hostname, port, pathname, search } = new URL(url, base)
  if (protocol !== 'http:' || hostname !== gateway) return undefined
  return { port: port === '' ? 80 : Number(port), path: pathname + search }
}

/** @param args - texts that need no escaping: numbers, addresses, words */
export function actionBody(service: string, action: string, args: Readonly<Record<string, string | number>>): string {
  const inner = Object.entries(args).map(([name, value]) => `<${name}>${value}</${name}>`)
  return [
    '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ',
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>',
    `<u:${action} xmlns:u="${service}">${inner.join('')}</u:${action}>`,
    '</s:Body></s:Envelope>\r\n',
  ].join('')
}

/** A gateway's refusal of an action. */
export class UpnpRefusal extends Error {
  /** UPnP error code; 0 where it says none. */
  readonly code: number

  constructor(action: string, body: string) {
    const code = Number(/^\d{3}$/.exec(textOf(body, 'errorCode')?.trim() ?? '')?.[0] ?? 0)
    super(`${action}: UPnP error ${code}`)
    this.name = 'UpnpRefusal'
    this.code = code
  }
}

/** @throws WireError where the answer to GetExternalIPAddress has no IPv4 address */
export function externalAddress(body: string): Address {
  const text = textOf(body, 'NewExternalIPAddress')?.trim() ?? ''
  if (!/^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.|$)){4}$/.test(text)) throw new WireError('UPnP: no external address')
  return text.split('.').map(Number).join('.')
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

/** The text of the first element of this name, whatever its namespace prefix. */
const textOf = (xml: string, name: string): string | undefined =>
  new RegExp(`<(?:\\w{1,20}:)?${name}(?:\\s[^<>]*)?>([^<]*)<`)
    .exec(xml)?.[1]
    ?.replace(/&(amp|lt|gt|quot|apos);/g, (_, entity: string) => ENTITIES[entity]!)
