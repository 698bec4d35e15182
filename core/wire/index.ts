/** Codecs of everything natweave puts on the wire: `natweave/wire`. */
export * from './address.ts'
export * from './ah.ts'
export * from './channel-data.ts'
export * from './checksum.ts'
export * from './codec.ts'
export { type DnAttribute, equalDn, formatDn, parseDn, readDn, writeDn } from './dn.ts'
export * from './eap.ts'
export * from './esp.ts'
export * from './fields.ts'
export * from './icmp.ts'
export * from './ike.ts'
export * from './ike-numbers.ts'
export {
  type AddressSelector,
  type Configuration,
  type ConfigurationAttribute,
  type Delete,
  type FragmentPayload,
  type Identification,
  type InnerPayload,
  identification,
  type Notify,
  notifyOf,
  type Payload,
  type PayloadOf,
  type ProtectedPayload,
  payloadNumber,
  payloadOf,
  type TrafficSelector,
  type UnknownPayload,
  type UnknownSelector,
} from './ike-payloads.ts'
export * from './ike-proposal.ts'
export * from './ip.ts'
export * from './ip-numbers.ts'
export * from './mss.ts'
export * from './natt.ts'
export * from './stun.ts'
export {
  type ChangeRequest,
  type ErrorCode,
  type IcmpReport,
  type PasswordAlgorithmChoice,
  type StunAttribute,
  type StunAttributeName,
  type StunValue,
  stunAttributeNumber,
  type TransportAddress,
  type UnknownAttribute,
} from './stun-attributes.ts'
export * from './stun-credentials.ts'
export * from './stun-numbers.ts'
export * from './tcp.ts'
export * from './udp.ts'
