import { hostname } from 'node:os'
import { z } from 'zod'
import { SIGNATURE_SCHEMES } from '../contracts/credentials.ts'
import { DEFAULT_FRAGMENT_SIZE, DEFAULT_GUARD, DEFAULT_RESUMPTION } from '../contracts/settings.ts'
import { parseProposal } from '../ike/proposal.ts'
import { facts, policy, rule } from './policy-schema.ts'
import {
  address,
  DURATION,
  duration,
  identity,
  identityPattern,
  ownIdentity,
  prefix,
  remote,
  SIZE,
  selector,
  size,
} from './values.ts'
import { name, text, word } from './word.ts'

/** The shape of a configuration file. What a value means is in values.ts; how it becomes Settings in parse.ts. */

const amount = (error: string) => z.union([z.string(), z.number().nonnegative(error)], { error })
const time = word(amount(DURATION), duration)
const octets = word(amount(SIZE), size)

const ikeProposal = word(text, value => {
  if (value !== 'default') parseProposal(value, 'ike')
  return value
})

/** Of ESP or AH: which of the two is right is known only beside `protocol`. */
function childProposal(value: string): string {
  if (value === 'default') return value
  try {
    parseProposal(value, 'ah')
  } catch {
    parseProposal(value, 'esp')
  }
  return value
}

/** A secret, or where it is. */
export const secret = z.union(
  [
    text.min(1, 'a secret of at least one character is wanted'),
    z.strictObject({ env: text.describe('Name of an environment variable that holds the secret') }),
    z.strictObject({ file: text.describe('File with the secret; relative to the configuration') }),
    z.strictObject({ hex: text.regex(/^([0-9a-f]{2})+$/i, 'hex octets are wanted') }),
    z.strictObject({ base64: z.base64('base64 is wanted') }),
  ],
  { error: 'a secret is wanted: text, { env: NAME }, { file: PATH }, { hex: … } or { base64: … }' },
)

/** Certificates, CRLs and public keys: no secrets, so any file will do. */
const material = z.union([text.min(1), z.strictObject({ file: text })], {
  error: 'PEM is wanted, or { file: PATH } of PEM or DER',
})
const materials = z.union([z.array(material), material], { error: 'PEM is wanted, { file: PATH }, or a list of these' })

const key = z.union([secret, z.strictObject({ uri: text.describe('A key that a plugin has: pkcs11:…') })], {
  error: 'a private key is wanted: PEM, { file: PATH }, { env: NAME }, { base64: … }, or { uri: NAME } of a plugin',
})

const method = z
  .string()
  .regex(
    /^(psk|certificate|raw|eap-[a-z][a-z0-9]*)$/,
    'psk, certificate, raw, or eap-METHOD such as eap-mschapv2 is wanted',
  )

const eap = z.strictObject({
  user: text.min(1).optional().describe('Who this host is in EAP, for the gateway'),
  password: secret.optional(),
  users: z.record(text, secret).optional().describe('Passwords by name, at the gateway'),
})

const trust = z.strictObject({
  ca: materials.optional().describe("Certificates of CAs, or the peer's own, that are trusted"),
  crl: materials.optional().describe('Certificates that their CAs have revoked'),
  revocation: z.enum(['relaxed', 'strict']).optional().describe('strict: nothing is good without a CRL up to date'),
  keys: materials.optional().describe('Public keys of the peer, for auth: raw'),
})

const selectors = z
  .array(word(text, selector))
  .min(1, 'at least one selector is wanted, such as 10.3.0.0/24 or dynamic')
  .default([selector('dynamic')])

const child = z.strictObject({
  local: selectors.describe('What this side protects; dynamic is its virtual or outer address'),
  remote: selectors.describe('What the peer protects'),
  mode: text.default('auto').describe('tunnel, transport, the name of a mode plugin, or auto'),
  protocol: z.enum(['esp', 'ah']).default('esp').describe('ah authenticates without encryption and passes no NAT'),
  proposals: z
    .array(word(text, childProposal))
    .default([])
    .describe('ESP proposals, best first: aes128gcm16-x25519, aes256gcm16-x25519-ke1_mlkem768; for ah: sha256-x25519'),
  ahAlign: z.literal([4, 8]).default(4).describe('Padding of AH over IPv4; Linux wants 8 where its SA lacks align4'),
  rekey: time.default(3_600_000).describe('Rekey after this time; 0 for never'),
  life: time.default(0).describe('Hard limit of the lifetime; 0 for a tenth more than rekey'),
  rekeyBytes: octets.optional().describe('Rekey after this many octets'),
  rekeyPackets: z.number().int().positive().optional().describe('Rekey after this many packets'),
  replayWindow: z.number().int().min(32).max(65_536).default(1_024),
  conflicts: z
    .union([z.enum(['refuse', 'flows']), z.strictObject({ map: text })], {
      error: 'refuse, flows or { map: POOL } is wanted',
    })
    .default('refuse')
    .describe(
      'When another peer has the same selectors: refuse; flows: tell them apart by who opened a flow; { map: POOL }: show this peer at addresses of that pool',
    ),
  start: z.enum(['connect', 'trap']).default('connect').describe('Negotiate with the IKE SA, or when traffic comes'),
})

const peer = z.strictObject({
  remote: word(text, remote)
    .optional()
    .describe('Host name or address, :port where not 500; without it the peer can only call in'),
  localId: word(text, ownIdentity).optional(),
  remoteId: word(text, identityPattern).optional().describe('Who the peer must prove to be; * in it matches anything'),
  psk: secret.optional(),
  auth: z
    .union([method, z.strictObject({ local: method, remote: method })], {
      error: 'one of psk, certificate, raw, eap-METHOD is wanted, or { local: …, remote: … }',
    })
    .optional()
    .describe('How each side proves who it is; left out: psk where there is one, else certificate'),
  certificate: materials
    .optional()
    .describe("This host's certificate and intermediate CAs; left out: local.certificate"),
  key: key.optional().describe('Its private key; left out: local.key'),
  trust: trust.optional().describe('In place of the trust that holds for all'),
  eap: eap.optional().describe('For auth: eap-METHOD; a gateway has { local: certificate, remote: eap-mschapv2 }'),
  signatures: z
    .array(z.enum(SIGNATURE_SCHEMES))
    .min(1, 'at least one signature scheme is wanted')
    .optional()
    .describe('What may sign, on either side, best first; left out: everything but SHA-1'),
  ppk: z
    .strictObject({
      keys: z.record(text, secret).describe('Secret by PPK id; the first is used when this host calls'),
      required: z.boolean().default(true).describe('No connection without one of them'),
    })
    .optional()
    .describe('Post-quantum preshared keys, RFC 8784, mixed into the session keys'),
  proposals: z
    .array(ikeProposal)
    .default([])
    .describe('IKE proposals, best first: aes256gcm16-prfsha256-x25519, also with -ke1_mlkem768'),
  children: z.record(name, child).default({}),
  addresses: z
    .array(z.enum(['ipv4', 'ipv6']))
    .default([])
    .describe('Families of virtual addresses to ask the peer for'),
  pool: text.optional().describe('Pool to give the peer a virtual address from'),
  encapsulation: z.enum(['auto', 'force', 'never']).default('auto'),
  mobike: z.boolean().default(true).describe('Keep the tunnel when outer addresses change, RFC 4555'),
  start: z.enum(['connect', 'wait']).default('wait'),
  reconnect: z.boolean().default(true),
  dpd: time
    .default(30_000)
    .describe('Ask whether the peer is there after this long without a packet from it; 0 for never'),
  rekey: time.default(4 * 3_600_000),
  redirect: z.boolean().default(true).describe('Follow the peer where it redirects to, RFC 5685'),
  resumption: z
    .boolean()
    .default(true)
    .describe('Resume a session that was lost by a ticket of the responder, RFC 5723; ask for tickets, and give them'),
  childless: z
    .enum(['never', 'allow', 'prefer', 'force'])
    .default('allow')
    .describe(
      'IKE_AUTH without a Child SA, so that each gets its own key exchange: allow is for the peer, prefer for us too',
    ),
  reauth: time.default(0).describe('Authenticate anew after this time, make-before-break; 0 for never'),
  keepalive: z
    .union([z.literal('auto'), time], { error: `auto is wanted, or ${DURATION}` })
    .default('auto')
    .describe('NAT-keepalive interval; 0 for none; auto: as long as the NAT is known to remember, else 20 s'),
  unique: z
    .enum(['replace', 'keep', 'no', 'never'])
    .default('replace')
    .describe(
      'Of several IKE SAs with one identity: replace the older one, keep it and refuse the new one, or have both; never: the identity stands for many hosts',
    ),
  facts: facts.describe('What you know of the way to this peer: mediatorTrusted, or a word of your own'),
  options: z.record(text, z.unknown()).default({}).describe('What is meant for plugins, by their names'),
})

const direction = z.strictObject({
  spi: z.number().int().min(256).max(0xffff_ffff).describe('As ip xfrm has it: 0x1001'),
  encryption: secret.optional().describe('Key of the cipher'),
  integrity: secret.optional().describe('Key of the integrity algorithm'),
})

const manual = z.strictObject({
  local: word(text, address).describe('Outer address of this host'),
  remote: word(text, address).describe('Outer address of the other end'),
  protocol: z.enum(['esp', 'ah']).default('esp'),
  mode: text.default('tunnel').describe('tunnel, transport, or the name of a mode plugin'),
  algorithms: text.describe('One of each kind: aes256-sha256, null-sha256; for ah: sha256'),
  in: direction.describe('What the other end sends with'),
  out: direction.describe('What this host sends with'),
  selectors: z.strictObject({ local: selectors, remote: selectors }).prefault({}),
  encapsulation: text.default('none').describe('none: there is no UDP encapsulation without IKE'),
  replayWindow: z.number().int().min(0).max(65_536).default(0),
  ahAlign: z.literal([4, 8]).default(4),
})

const pool = z
  .strictObject({
    addresses: word(text, prefix).optional(),
    dhcp: z
      .strictObject({
        servers: z.array(word(text, address)).min(1).max(4).describe('Addresses of the DHCP servers'),
        relay: word(text, address).describe(
          'Address of this host in their network, which they answer to and choose by',
        ),
      })
      .optional()
      .describe('Lease addresses from DHCP servers in place of giving those of a prefix'),
    dns: z.array(word(text, address)).default([]).describe('DNS servers to tell; with dhcp: in place of theirs'),
  })
  .refine(({ addresses, dhcp }) => (addresses === undefined) !== (dhcp === undefined), {
    error: 'either addresses, such as 10.9.0.0/24, or dhcp: { servers: [10.3.0.1], relay: 10.3.0.254 } is wanted',
  })
  .refine(({ dhcp }) => dhcp === undefined || ![dhcp.relay, ...dhcp.servers].some(a => a.includes(':')), {
    error: 'leases by DHCP are for IPv4: servers and relay are IPv4 addresses',
    path: ['dhcp'],
  })

const plugin = z.union([text, z.strictObject({ use: text, options: z.record(text, z.unknown()).default({}) })], {
  error: 'a plugin is wanted: its name or path, or { use: NAME, options: { … } }',
})

const port = z.number().int().min(0).max(65_535)

export const schema = z.strictObject({
  $schema: text.optional(),
  local: z
    .strictObject({
      id: word(text, ownIdentity).optional(),
      certificate: materials.optional(),
      key: key.optional(),
    })
    .prefault({}),
  trust: trust.prefault({}).describe('Whom to believe about certificates, for all peers'),
  listen: z
    .strictObject({
      addresses: z.array(word(text, address)).optional().describe('Local addresses to use; all when left out'),
      ports: z.strictObject({ ike: port.optional(), natt: port.optional() }).prefault({}),
      exclude: z.array(text).optional().describe('Interfaces (eth1, docker*) or prefixes to leave alone'),
    })
    .prefault({}),
  device: z
    .union(
      [
        z.literal(false),
        z.strictObject({
          name: text.optional(),
          mtu: z
            .number()
            .int()
            .min(576)
            .max(65_535)
            .optional()
            .describe('Octets of the largest inner packet, 1400 when left out; a narrower path lowers it for its peer'),
          clampMss: z
            .boolean()
            .default(true)
            .describe('Lower the MSS in SYN packets of TCP to what fits the tunnel, in both directions'),
          table: z.number().int().positive().optional(),
          threads: z
            .literal([1, 2])
            .optional()
            .describe(
              'That move packets between the device and the network; absent: 2 from four processors on, else 1',
            ),
        }),
      ],
      { error: 'false is wanted, or a mapping such as { name: nw0, mtu: 1400 }' },
    )
    .prefault({})
    .describe('The TUN device; false for none'),
  stun: z
    .strictObject({
      servers: z.array(text).default([]).describe('HOST[:PORT] of STUN servers, best first'),
      interval: time.default(25_000).describe('Between two requests, which also keep the mapping of port 4500 alive'),
      classify: z.boolean().default(true).describe('Find out what kind of NAT it is'),
      serve: z.array(text).default([]).describe('ADDRESS:PORT to serve at: one, or two that differ in both'),
    })
    .prefault({})
    .describe('Asking STUN servers for the address that others see, and being one'),
  plugins: z.array(plugin).optional().describe('What to load, in this order, in place of the usual set'),
  pools: z.record(name, pool).default({}),
  peers: z.record(name, peer).default({}),
  manual: z.record(name, manual).default({}).describe('Static SAs with keys of their own, for labs'),
  policy: policy.prefault({}),
  ike: z
    .strictObject({
      retransmit: z
        .strictObject({
          timeout: time.default(2_000),
          base: z.number().min(1).max(4).default(1.8),
          tries: z.number().int().min(1).max(20).default(5),
        })
        .prefault({}),
      cookieThreshold: z.number().int().min(0).default(32).describe('Half-open SAs above which a COOKIE is demanded'),
      halfOpenLimit: z
        .number()
        .int()
        .min(1)
        .default(1_000)
        .describe('Half-open SAs above which IKE_SA_INIT is dropped'),
      halfOpenPerSource: z.number().int().min(1).default(250).describe('The same for one address, or /64 of IPv6'),
      halfOpenTimeout: time.default(30_000),
      fragmentSize: z
        .union([z.literal(0), z.number().int().min(256).max(65_535)], {
          error: 'octets of an IP datagram are wanted, from 256 to 65535, or 0 for no fragmentation',
        })
        .default(DEFAULT_FRAGMENT_SIZE)
        .describe('Largest IP datagram with an IKE message in it; larger ones go in fragments (RFC 7383); 0: never'),
      tickets: z
        .strictObject({
          lifetime: time
            .default(DEFAULT_RESUMPTION.lifetimeMs)
            .describe('How long a ticket that this host gives is good, and its key used; 0: none are given'),
          key: secret
            .optional()
            .describe('Shared by hosts that take the tickets of each other, and kept when they restart'),
        })
        .prefault({})
        .describe('By which initiators resume sessions, RFC 5723'),
    })
    .prefault({}),
  guard: z
    .strictObject({
      failures: z
        .number()
        .int()
        .min(0)
        .default(DEFAULT_GUARD.failures)
        .describe('Failed integrity checks on a Child SA that have it rekeyed to a new SPI; 0 for never'),
      window: time.default(DEFAULT_GUARD.windowMs).describe('… within this time'),
      pause: time.default(DEFAULT_GUARD.pauseMs).describe('… but not again before this time is over'),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
      format: z.enum(['auto', 'pretty', 'json']).default('auto'),
    })
    .prefault({}),
})

/** Of a configuration that may be wrong in places: the parts that are right in themselves, undefined for the others. */
export const soundParts = z
  .object({
    local: schema.shape.local.catch({}),
    trust: trust.catch({}),
    pools: z.record(text, z.unknown()).catch({}),
    peers: z.record(text, peer.optional().catch(undefined)).catch({}),
    manual: z.record(text, manual.optional().catch(undefined)).catch({}),
    policy: z
      .object({
        groups: policy.shape.groups.catch({}),
        rules: z.array(rule.optional().catch(undefined)).catch([]),
      })
      .catch({ groups: {}, rules: [] }),
  })
  .catch({ local: {}, trust: {}, pools: {}, peers: {}, manual: {}, policy: { groups: {}, rules: [] } })
/** The same of the secrets alone: a peer's may be right where the peer is not. */
export const soundSecrets = z
  .object({
    peers: z.record(text, z.object({ psk: secret.optional() }).optional().catch(undefined)).catch({}),
    ike: z.object({ tickets: z.object({ key: secret.optional() }) }).catch({ tickets: {} }),
  })
  .catch({ peers: {}, ike: { tickets: {} } })
export type SoundParts = z.output<typeof soundParts>

/** What a user writes. */
export type ConfigInput = z.input<typeof schema>
export type ParsedConfig = z.output<typeof schema>
export type SecretInput = z.output<typeof secret>
export type KeyInput = z.output<typeof key>
export type MaterialInput = z.output<typeof materials>

/** This host's name is its identity where the configuration gives none. */
export const defaultIdentity = () => identity(hostname())

/** The schema for editors, JSON Schema 2020-12. */
export function configSchema(): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
  return { $schema, title: 'natweave configuration', ...rest }
}
