import { ADDRESS } from '../interop/lab.ts'
import type { TunnelConfig } from '../interop/party.ts'

/** The tunnel between alice and moon that is measured, the same for all products. */
export const config = (role: TunnelConfig['role']): TunnelConfig => ({
  role,
  ike: 'aes256gcm16-prfsha256-x25519',
  esp: 'aes128gcm16',
  gateway: ADDRESS.moon,
  dpdSeconds: 0,
  forceEncapsulation: true,
  mobike: false,
  raw: false,
  mode: 'tunnel',
  protocol: 'esp',
  protects: ADDRESS.moonLan,
  vendorId: false,
})
