/** ESP of Child SAs: the portable data plane and the parts it is made of. */
export { EspOpener, EspSealer, stripTrailer } from './esp.ts'
export { Transport } from './modes/transport.ts'
export { Tunnel } from './modes/tunnel.ts'
export { espOverhead, type Framing, innerMtu } from './overhead.ts'
export { PortablePlane, type PortablePlaneOptions } from './portable-plane.ts'
export { ReplayWindow } from './replay.ts'
export { SelectorPair } from './selector.ts'
export { type EspTransform, espTransform, icvLength, refusesSuite } from './transforms.ts'
