/** In the order in which they are tried; `nat-pmp` also where a gateway answers PCP by it. */
export const PROTOCOLS = ['pcp', 'nat-pmp', 'upnp'] as const

export type MappingProtocol = (typeof PROTOCOLS)[number]

export const PROTOCOL_NAME = { pcp: 'PCP', 'nat-pmp': 'NAT-PMP', upnp: 'UPnP IGD' } as const satisfies Record<
  MappingProtocol,
  string
>
