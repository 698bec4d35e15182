import { createSocket } from 'node:dgram'
import { request } from 'node:http'
import type { Address } from '../../core/contracts/net.ts'
import type { MapRequest } from './pcp.ts'
import {
  actionBody,
  type Control,
  controlsOf,
  externalAddress,
  locationOf,
  type Place,
  SSDP_GROUP,
  SSDP_PORT,
  searchRequest,
  UpnpRefusal,
} from './upnp.ts'

/** What a description or an answer may have. */
const MAX_BODY = 1 << 18
/** Outer ports that are tried where the wanted one is another host's. */
const MAX_CONFLICTS = 3
const CONFLICT = 718
const ONLY_PERMANENT = 725
const DESCRIPTION = 'natweave'

/** What a gateway forwards: its outer address and port. */
export interface Forwarded {
  readonly address: Address
  readonly port: number
}

/** A gateway's service that forwards ports (UPnP WANIPConnection:1 §2.4), asked from one local address. */
export class Igd {
  readonly #gateway: Address
  readonly #local: Address
  readonly #control: Control

  private constructor(gateway: Address, local: Address, control: Control) {
    this.#gateway = gateway
    this.#local = local
    this.#control = control
  }

  /**
   * Finds it by SSDP. Only what the gateway itself says counts, and only about itself.
   *
   * @throws Error naming what is missing; the signal's reason
   */
  static async find(gateway: Address, local: Address, signal: AbortSignal): Promise<Igd> {
    const at = await search(gateway, local, signal)
    const description = await http(gateway, local, { ...at, method: 'GET' }, signal)
    if (description.status !== 200) throw new Error(`its description: HTTP status ${description.status}`)
    for (const control of controlsOf(description.body, gateway, at)) {
      const igd = new Igd(gateway, local, control)
      // of several the one that is connected
      if (await igd.#address(signal).catch(() => undefined)) return igd
      signal.throwIfAborted()
    }
    throw new Error('it has no connection that forwards ports')
  }

  /** @throws UpnpRefusal, Error, the signal's reason */
  async map({ internalPort, external, lifetime, nonce }: MapRequest, signal: AbortSignal): Promise<Forwarded> {
    const address = await this.#address(signal)
    // any port will do in place of a taken one; the nonce is as random as any
    const others = Array.from({ length: MAX_CONFLICTS }, (_, i) => 49_152 + ((nonce[i]! << 6) | (nonce[i + 3]! & 63)))
    for (const port of [external.port, ...others]) {
      try {
        await this.#add(port, internalPort, lifetime, signal)
        return { address, port }
      } catch (error) {
        if (!(error instanceof UpnpRefusal && error.code === CONFLICT)) throw error
      }
    }
    throw new Error('the ports that were tried are all taken')
  }

  /** @throws UpnpRefusal, Error, the signal's reason */
  async unmap(externalPort: number, signal: AbortSignal): Promise<void> {
    const args = { NewRemoteHost: '', NewExternalPort: externalPort, NewProtocol: 'UDP' }
    await this.#run('DeletePortMapping', args, signal)
  }

  async #add(externalPort: number, internalPort: number, lifetime: number, signal: AbortSignal): Promise<void> {
    const args = {
      NewRemoteHost: '',
      NewExternalPort: externalPort,
      NewProtocol: 'UDP',
      NewInternalPort: internalPort,
      NewInternalClient: this.#local,
      NewEnabled: 1,
      NewPortMappingDescription: DESCRIPTION,
      NewLeaseDuration: lifetime,
    }
    try {
      await this.#run('AddPortMapping', args, signal)
    } catch (error) {
      if (!(error instanceof UpnpRefusal && error.code === ONLY_PERMANENT)) throw error
      await this.#run('AddPortMapping', { ...args, NewLeaseDuration: 0 }, signal)
    }
  }

  async #address(signal: AbortSignal): Promise<Address> {
    return externalAddress(await this.#run('GetExternalIPAddress', {}, signal))
  }

  async #run(action: string, args: Readonly<Record<string, string | number>>, signal: AbortSignal): Promise<string> {
    const { service } = this.#control
    const send = { ...this.#control, method: 'POST', action: `"${service}#${action}"` } as const
    const { status, body } = await http(
      this.#gateway,
      this.#local,
      { ...send, body: actionBody(service, action, args) },
      signal,
    )
    if (status === 200) return body
    throw status === 500 ? new UpnpRefusal(action, body) : new Error(`${action}: HTTP status ${status}`)
  }
}

/** Asks the group, as all devices hear it, and the gateway alone, as UPnP 1.1 has it and multicast filters let through. */
function search(gateway: Address, local: Address, signal: AbortSignal): Promise<Place> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4')
    const end = (settle: () => void): void => {
      signal.removeEventListener('abort', abort)
      socket.removeAllListeners('message')
      socket.close()
      settle()
    }
    const abort = (): void => end(() => reject(signal.reason as Error))
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort)
    socket.once('error', error => end(() => reject(error)))
    socket.on('message', (bytes, { address }) => {
      const place = address === gateway ? locationOf(bytes.toString('latin1'), gateway) : undefined
      if (place !== undefined) end(() => resolve(place))
    })
    socket.bind({ address: local, port: 0 }, () => {
      try {
        socket.setMulticastInterface(local)
      } catch (error) {
        return end(() => reject(error as Error))
      }
      for (const host of [SSDP_GROUP, gateway]) socket.send(searchRequest(host), SSDP_PORT, host, () => {})
    })
  })
}

interface HttpRequest extends Place {
  readonly method: 'GET' | 'POST'
  readonly action?: string
  readonly body?: string
}

/** One request to the gateway itself; redirections are answers like others. */
function http(
  gateway: Address,
  local: Address,
  { port, path, method, action, body = '' }: HttpRequest,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const soap = action !== undefined && { 'content-type': 'text/xml; charset="utf-8"', soapaction: action }
    const headers = { ...soap, 'content-length': Buffer.byteLength(body), connection: 'close' }
    const options = { host: gateway, localAddress: local, port, path, method, headers, signal, agent: false }
    const sent = request(options, response => {
      const chunks: Buffer[] = []
      let length = 0
      response.on('data', (chunk: Buffer) => {
        length += chunk.length
        if (length > MAX_BODY) sent.destroy(new Error(`an answer of more than ${MAX_BODY} octets`))
        else chunks.push(chunk)
      })
      response.once('error', reject)
      response.once('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
      )
    })
    sent.once('error', reject)
    sent.end(body)
  })
}
