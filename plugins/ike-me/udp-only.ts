import type { ServiceOut } from '../../core/contracts/service.ts'

/** The hole is one for UDP: that no NAT was seen, as with IPv6, does not mean that a firewall lets ESP in. */
export const udpOnly = (peer: string, at: number): ServiceOut => ({
  type: 'fact',
  peer,
  name: 'forceEncapsulation',
  fact: { value: true, source: 'ike-me: what was punched is a hole for UDP', at },
})
