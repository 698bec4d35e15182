import { loadConfig } from '../../core/config/index.ts'
import { createNatweave, DEVICE, type Natweave, TRANSPORT } from '../../core/index.ts'
import { eapMschapv2, memory, nodeCrypto, udpEncap, x509 } from '../../plugins/index.ts'
import type { Host, VirtualInternet } from '../kit/index.ts'

/**
 * A configuration file runs on a virtual host.
 *
 * @param names - addresses by name: there is no DNS on the virtual internet
 */
export async function virtualNode(
  net: VirtualInternet,
  host: Host,
  file: string,
  {
    names = {},
    env = {},
  }: { readonly names?: Readonly<Record<string, string>>; readonly env?: Record<string, string> },
): Promise<Natweave> {
  const { settings } = await loadConfig({ file, env })
  const peers = Object.fromEntries(
    Object.entries(settings.peers).map(([name, peer]) => [
      name,
      peer.remote === undefined ? peer : { ...peer, remote: names[peer.remote]! },
    ]),
  )
  const transport = host.transport()
  const device = host.device()
  const epoch = Date.now()
  const { clock } = net
  const natweave: Natweave = createNatweave({
    plugins: [
      nodeCrypto(),
      udpEncap(),
      memory(),
      x509(),
      eapMschapv2(),
      {
        name: 'virtual-host',
        api: 1,
        register: container => {
          container.register(TRANSPORT, { useValue: transport })
          container.register(DEVICE, { useValue: device })
        },
      },
    ],
    settings: { ...settings, peers },
    // the certificates are valid from today on
    clock: { now: () => clock.now(), wall: () => epoch + clock.now(), schedule: (at, run) => clock.schedule(at, run) },
    rng: net.rng(host.name),
  })
  await natweave.start()
  await net.settle()
  return natweave
}
