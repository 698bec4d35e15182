import { ConfigError } from '../../errors.ts'
import { type Note, type Reader, Section, splitList, type Value } from './tree.ts'

/** ipsec.conf and ipsec.secrets, put into the words of swanctl.conf: each `conn` is a connection with one child. */

const MAX_FILES = 1_000
const MAX_ALSO = 50

/** Whether a file is an ipsec.conf rather than a swanctl.conf. */
export const isIpsecConf = (text: string): boolean =>
  /^(config[ \t]+setup|conn[ \t]+\S+|ca[ \t]+\S+)[ \t]*(#.*)?$/m.test(text)

/** @throws ConfigError with file and line of what cannot be read */
export function parseIpsecConf(text: string, file: string, read: Reader, notes: Note[]): Section {
  const blocks: Block[] = []
  readBlocks(text, file, read, blocks, { files: 0 })
  const root = new Section('', { file, line: 1 })
  const connections = sub(root, 'connections')
  const conns = blocks.filter(({ kind }) => kind === 'conn')
  for (const { kind, values, at } of blocks)
    if (kind !== 'conn')
      for (const value of values.values())
        notes.push({
          at: value.at,
          setting: value.name,
          value: value.text,
          kind: 'dropped',
          why:
            kind === 'ca'
              ? 'CAs are named by `trust` of a peer'
              : `natweave has no ${at.file === '' ? '' : 'daemon '}setting of this name`,
        })
  for (const block of conns)
    if (block.name !== '%default' && !(block.values.get('auto')?.text === 'ignore'))
      connection(sub(connections, block.name, block.at), effective(block, conns, []), notes)
  mergeTwins(connections)
  return root
}

interface Block {
  readonly kind: string
  readonly name: string
  readonly at: Value['at']
  readonly values: Map<string, Value>
  readonly also: string[]
}

function readBlocks(text: string, file: string, read: Reader, blocks: Block[], count: { files: number }): void {
  let block: Block | undefined
  for (const [i, raw] of text.split(/\r?\n/).entries()) {
    const at = { file, line: i + 1 }
    const line = withoutComment(raw)
    if (line.trim() === '') continue
    const [, include] = /^include\s+(\S+)/.exec(line) ?? []
    const [, kind, name] = /^(config|conn|ca)\s+(\S+)\s*$/.exec(line) ?? []
    const [, key, value] = /^\s+([\w-]+)\s*=\s*(.*)$/.exec(line) ?? []
    if (include !== undefined)
      for (const found of read(include, file)) {
        if (++count.files > MAX_FILES) throw new ConfigError(`${file}:${at.line}`, `more than ${MAX_FILES} files`)
        readBlocks(found.text, found.path, read, blocks, count)
      }
    else if (kind !== undefined && name !== undefined) {
      block = { kind, name, at, values: new Map(), also: [] }
      blocks.push(block)
    } else if (key !== undefined && block !== undefined) {
      const [, quoted] = /^"(.*)"$/.exec(value!.trim()) ?? []
      const set = { text: quoted ?? value!.trim(), at, name: `${block.kind} ${block.name}: ${key}` }
      if (key === 'also') block.also.push(set.text)
      else block.values.set(key.toLowerCase(), set)
    } else if (!/^version\s/.test(line))
      throw new ConfigError(
        `${file}:${at.line}`,
        'config setup, conn NAME, ca NAME, or an indented key=value is wanted',
      )
  }
}

/** A # in quotes begins no comment. */
const withoutComment = (line: string): string => /^((?:[^"#]|"[^"]*")*)/.exec(line)![1]!

/** Own values, then those of `also` in their order, then those of %default. */
function effective(block: Block, all: readonly Block[], trail: readonly Block[]): Map<string, Value> {
  if (trail.includes(block) || trail.length > MAX_ALSO)
    throw new ConfigError(`${block.at.file}:${block.at.line}`, `conn ${block.name} includes itself by also=`)
  const values = new Map(block.values)
  const inherit = (more: ReadonlyMap<string, Value>) => {
    for (const [key, value] of more) if (!values.has(key)) values.set(key, value)
  }
  for (const name of block.also) {
    const found = all.find(other => other.name === name)
    if (found === undefined)
      throw new ConfigError(`${block.at.file}:${block.at.line}`, `conn ${block.name}: there is no conn ${name} (also=)`)
    inherit(effective(found, all, [...trail, block]))
  }
  if (trail.length === 0) for (const { name, values: defaults } of all) if (name === '%default') inherit(defaults)
  return values
}

/** Same meaning, other name: at the connection, at its child, and at either end. */
const CONNECTION: Readonly<Record<string, string>> = {
  ike: 'proposals',
  mobike: 'mobike',
  dpddelay: 'dpd_delay',
  dpdtimeout: 'dpd_timeout',
  keyingtries: 'keyingtries',
  fragmentation: 'fragmentation',
  forceencaps: 'encap',
  aggressive: 'aggressive',
  ikedscp: 'dscp',
}
const CHILD: Readonly<Record<string, string>> = {
  esp: 'esp_proposals',
  ah: 'ah_proposals',
  closeaction: 'close_action',
  dpdaction: 'dpd_action',
  inactivity: 'inactivity',
  reqid: 'reqid',
  mark: 'mark',
  mark_in: 'mark_in',
  mark_out: 'mark_out',
  replay_window: 'replay_window',
  tfc: 'tfc_padding',
  lifebytes: 'life_bytes',
  lifepackets: 'life_packets',
}

function connection(section: Section, values: ReadonlyMap<string, Value>, notes: Note[]): void {
  const child = sub(
    sub(section, 'children'),
    section.name
      .split(' ')
      .at(-1)!
      .replace(/^connections\./, ''),
  )
  const left = new Map(values)
  const take = (key: string): Value | undefined => {
    const value = left.get(key)
    left.delete(key)
    return value
  }
  const put = (into: Section, key: string, value: Value | undefined, text = value?.text) => {
    if (value !== undefined && text !== undefined) into.values.set(key, { ...value, text })
  }
  const note = (value: Value | undefined, kind: Note['kind'], why: string) => {
    if (value !== undefined) notes.push({ at: value.at, setting: value.name, value: value.text, kind, why })
  }
  for (const [key, name] of Object.entries(CONNECTION)) put(section, name, take(key))
  for (const [key, name] of Object.entries(CHILD)) put(child, name, take(key))
  for (const name of ['proposals', 'esp_proposals', 'ah_proposals']) {
    const at = name === 'proposals' ? section : child
    const value = at.values.get(name)
    // strict or not, natweave accepts what is written down
    put(at, name, value, value?.text.replace(/!$/, ''))
  }
  const exchange = take('keyexchange')
  if (exchange?.text === 'ikev1') put(section, 'version', exchange, '1')
  const type = take('type')
  put(child, 'mode', type, type?.text === 'passthrough' ? 'pass' : type?.text)
  const auto = take('auto')
  put(child, 'start_action', auto, { start: 'start', route: 'trap' }[auto?.text ?? ''] ?? 'none')
  const uniqueness = take('uniqueids')
  put(section, 'unique', uniqueness)

  const rekey = take('rekey')
  const reauth = take('reauth')
  const ikeLifetime = take('ikelifetime')
  const reauthenticates = reauth?.text !== 'no'
  put(section, reauthenticates ? 'reauth_time' : 'rekey_time', ikeLifetime)
  put(child, 'life_time', take('lifetime') ?? take('keylife') ?? take('salifetime'))
  const margin = take('margintime') ?? take('rekeymargin')
  note(margin, 'changed', 'natweave rekeys at nine tenths of a lifetime')
  note(take('rekeyfuzz'), 'changed', 'natweave spreads rekeys by itself')
  if (rekey?.text === 'no') {
    put(section, 'rekey_time', rekey, '0')
    put(child, 'rekey_time', rekey, '0')
  }

  const both = take('authby')
  const ends = [end(take, 'left', both), end(take, 'right', both)] as const
  const [local] = ends.map((values, i) => fill(sub(section, i === 0 ? 'local' : 'remote'), values))
  const eap = take('eap_identity')
  put(local!, 'eap_id', eap)
  const address = (side: 'left' | 'right', to: string) => {
    const value = take(side)
    if (value !== undefined && value.text !== '%any' && value.text !== '%defaultroute') put(section, to, value)
  }
  address('left', 'local_addrs')
  address('right', 'remote_addrs')
  put(section, 'local_port', take('leftikeport'))
  put(section, 'remote_port', take('rightikeport'))
  selectors(child, 'local_ts', take('leftsubnet'), take('leftprotoport'), put)
  selectors(child, 'remote_ts', take('rightsubnet'), take('rightprotoport'), put)
  const asked = take('leftsourceip')
  if (asked !== undefined)
    put(
      section,
      'vips',
      asked,
      splitList(asked.text.replaceAll(/%config4?\b/g, '0.0.0.0').replaceAll('%config6', '::')).join(','),
    )
  const given = take('rightsourceip')
  if (given !== undefined) {
    if (given.text.startsWith('%config')) note(given, 'dropped', 'every pool is given by name')
    else put(section, 'pool_addrs', given)
  }
  for (const value of left.values()) section.values.set(`ipsec.conf ${value.name}`, value)
}

/** Authentication of one end. */
function end(
  take: (key: string) => Value | undefined,
  side: 'left' | 'right',
  both: Value | undefined,
): ReadonlyMap<string, Value> {
  const values = new Map<string, Value>()
  const put = (key: string, value: Value | undefined, text = value?.text) => {
    if (value !== undefined && text !== undefined) values.set(key, { ...value, text })
  }
  const auth = take(`${side}auth`) ?? both
  const word =
    auth?.text === 'secret' ? 'psk' : /^(rsasig|ecdsasig|pubkey)$/.test(auth?.text ?? '') ? 'pubkey' : auth?.text
  put('auth', auth, word)
  put('id', take(`${side}id`))
  put('certs', take(`${side}cert`))
  put('ca_id', take(`${side}ca`))
  const key = take(`${side}sigkey`) ?? take(`${side}rsasigkey`)
  put('pubkeys', key)
  return values
}

function fill(section: Section, values: ReadonlyMap<string, Value>): Section {
  for (const [key, value] of values) section.values.set(key, value)
  return section
}

/** A subnet without, and a protocol and port that are written apart. */
function selectors(
  child: Section,
  name: string,
  subnet: Value | undefined,
  protoport: Value | undefined,
  put: (into: Section, key: string, value: Value, text: string) => void,
): void {
  const value = subnet ?? protoport
  if (value === undefined) return
  const suffix = protoport === undefined ? '' : `[${protoport.text.replace(/\/%any$/, '')}]`
  const ranges = subnet === undefined ? ['dynamic'] : splitList(subnet.text)
  put(
    child,
    name,
    value,
    ranges.map(range => (range.includes('[') ? range : `${range.replace('%dynamic', 'dynamic')}${suffix}`)).join(','),
  )
}

/** Conns that differ in their Child SA only are one IKE SA for strongSwan, and one peer here. */
function mergeTwins(connections: Section): void {
  const first = new Map<string, Section>()
  for (const [name, section] of connections.sections) {
    const sides = ['local', 'remote'].map(side => values(section.sections.get(side)!))
    const key = JSON.stringify([values(section), ...sides])
    const twin = first.get(key)
    if (twin === undefined) first.set(key, section)
    else {
      for (const [child, value] of section.sections.get('children')!.sections)
        twin.sections.get('children')!.sections.set(child, value)
      connections.sections.delete(name)
    }
  }
}

const values = (section: Section): readonly (readonly [string, string])[] =>
  [...section.values].map(([key, { text }]) => [key, text] as const).sort(([a], [b]) => (a < b ? -1 : 1))

function sub(parent: Section, name: string, at = parent.at): Section {
  const section = new Section(parent.name === '' ? name : `${parent.name}.${name}`, at)
  parent.sections.set(name, section)
  return section
}

/** Secrets of ipsec.secrets, as the section `secrets` of a swanctl.conf. */
export function parseIpsecSecrets(text: string, file: string): Section {
  const root = new Section('secrets', { file, line: 1 })
  for (const [i, raw] of text.split(/\r?\n/).entries()) {
    const at = { file, line: i + 1 }
    const [, owners, kind, value] =
      /^(|.*\s):\s*(PSK|RSA|ECDSA|BLISS|PKCS8|P12|EAP|XAUTH|NTLM|PIN|PPK)\s+(.*)$/.exec(withoutComment(raw)) ?? []
    if (kind === undefined) continue
    const prefix =
      { PSK: 'ike', PPK: 'ppk', EAP: 'eap', XAUTH: 'xauth', NTLM: 'ntlm', PIN: 'token', P12: 'pkcs12' }[kind] ??
      'private'
    const section = sub(root, `${prefix}-${i + 1}`, at)
    const name = `ipsec.secrets line ${i + 1}`
    for (const [n, id] of (owners ?? '').trim().split(/\s+/).entries())
      if (id !== '' && id !== '%any') section.values.set(`id-${n}`, { text: id.replace(/^"(.*)"$/, '$1'), at, name })
    const [, quoted, word] = /^(?:"([^"]*)"|(\S+))/.exec(value!.trim()) ?? []
    const secret = prefix === 'private' || prefix === 'pkcs12' ? 'file' : 'secret'
    section.values.set(secret, { text: quoted ?? word ?? '', at, name })
  }
  return root
}
