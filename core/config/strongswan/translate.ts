import { parseProposal } from '../../ike/proposal.ts'
import { duration, remote as parseRemote, prefix, selector } from '../values.ts'
import { Authentication } from './authentication.ts'
import { reason } from './reasons.ts'
import type { Secrets } from './secrets.ts'
import { type Folders, isNo, isYes, type Note, type Section, splitList, type Value } from './tree.ts'

/** A natweave configuration as it is written down. */
export interface Written {
  peers: Record<string, Record<string, unknown>>
  pools?: Record<string, { addresses: string; dns?: string[] }>
}

export interface Translated {
  readonly config: Written
  readonly notes: readonly Note[]
}

/** strongSwan's connections as peers; everything that is not among them comes out as a note. */
export function translate(root: Section, secrets: Secrets, folders: Folders, notes: Note[]): Translated {
  return new Translation(root, secrets, folders, notes).result()
}

class Translation {
  readonly #root: Section
  readonly #secrets: Secrets
  readonly #folders: Folders
  readonly #notes: Note[]
  readonly #config: Written = { peers: {} }

  constructor(root: Section, secrets: Secrets, folders: Folders, notes: Note[]) {
    this.#root = root
    this.#secrets = secrets
    this.#folders = folders
    this.#notes = notes
  }

  result(): Translated {
    for (const pool of this.#root.section('pools')?.sectionsLike('') ?? []) this.#pool(pool)
    for (const connection of this.#root.section('connections')?.sectionsLike('') ?? []) this.#connection(connection)
    this.#root.section('secrets')
    const authorities = this.#root.section('authorities')
    for (const value of [...(authorities?.left() ?? [])])
      this.#note(value, 'dropped', 'CAs are named by `trust` of a peer')
    // any other section at the top is there to be inherited from
    for (const value of this.#root.left()) if (value.text !== '{ … }') this.#note(value, 'dropped')
    return { config: this.#config, notes: this.#sorted() }
  }

  #sorted(): Note[] {
    const once = new Map(this.#notes.map(note => [`${note.at.file}:${note.at.line}:${note.setting}:${note.why}`, note]))
    return [...once.values()].sort((a, b) =>
      a.at.file === b.at.file ? a.at.line - b.at.line : a.at.file < b.at.file ? -1 : 1,
    )
  }

  #note(value: Value | undefined, kind: Note['kind'], why?: string): void {
    if (value === undefined) return
    this.#notes.push({ at: value.at, setting: value.name, value: value.text, kind, why: why ?? reason(value.name) })
  }

  #refuse(section: Section, why: string): void {
    const { at, name } = section
    this.#notes.push({ at, setting: name, value: '{ … }', kind: 'refused', why })
    section.finish()
  }

  #connection(section: Section): void {
    const name = plainName(section.name.replace(/^connections\./, ''))
    if (section.take('version')?.text === '1') return this.#refuse(section, 'IKEv1 is not supported')
    const notes = (value: Value | undefined, kind: Note['kind'], why?: string) => this.#note(value, kind, why)
    const authentication = new Authentication(section, this.#secrets, this.#folders, notes)
    const refusal = authentication.refusal
    if (refusal !== undefined) return this.#refuse(section, refusal)
    const peer: Record<string, unknown> = { ...this.#remote(section), ...authentication.settings() }
    const proposals = this.#proposals(section.take('proposals'), 'ike')
    if (proposals.length > 0) peer['proposals'] = proposals
    this.#addresses(section, peer, name)
    if (isYes(section.take('encap')?.text)) peer['encapsulation'] = 'force'
    if (isNo(section.take('mobike')?.text)) peer['mobike'] = false
    this.#time(section, 'dpd_delay', peer, 'dpd')
    this.#time(section, 'rekey_time', peer, 'rekey')
    this.#time(section, 'reauth_time', peer, 'reauth')
    const tries = section.take('keyingtries')
    if (tries?.text === '0' || tries?.text === '%forever') peer['reconnect'] = true
    else this.#note(tries, 'changed', 'natweave tries again for ever where `reconnect` is true, else once')
    const unique = section.take('unique')
    if (unique !== undefined && ['no', 'never', 'keep', 'replace'].includes(unique.text)) peer['unique'] = unique.text
    else if (isYes(unique?.text)) peer['unique'] = 'replace'
    else this.#note(unique, 'dropped')
    const childless = section.take('childless')
    if (childless !== undefined && ['allow', 'prefer', 'force', 'never'].includes(childless.text))
      peer['childless'] = childless.text
    else this.#note(childless, 'dropped')
    const fragmentation = section.take('fragmentation')
    if (isNo(fragmentation?.text))
      this.#note(fragmentation, 'dropped', 'write ike.fragmentSize: 0, which holds for all peers')
    else if (fragmentation?.text === 'force') this.#note(fragmentation, 'dropped', 'what fits is sent whole')

    const children: Record<string, unknown> = {}
    for (const child of section.section('children')?.sectionsLike('') ?? []) {
      const made = this.#child(child, peer)
      if (made !== undefined) children[plainName(child.name.split('.children.').at(-1)!)] = made
    }
    for (const value of section.left()) this.#note(value, 'dropped')
    if (Object.keys(children).length === 0) return this.#refuse(section, 'there is no child that natweave could have')
    peer['children'] = children
    this.#config.peers[name] = peer
  }

  #remote(section: Section): Record<string, unknown> {
    const value = section.take('remote_addrs')
    const port = section.take('remote_port')
    const local = section.take('local_addrs')
    if (local !== undefined && !splitList(local.text).every(one => /^%any|^0\.0\.0\.0$|^::$/.test(one)))
      this.#note(local, 'dropped', 'natweave uses all local addresses; `listen.addresses` picks some, for all peers')
    this.#note(section.take('local_port'), 'dropped', '`listen.ports` holds for all peers')
    const [first, ...others] = splitList(value?.text ?? '').filter(
      one => !/^(%any|0\.0\.0\.0(\/0)?|::(\/0)?)/.test(one),
    )
    if (first === undefined) return {}
    if (others.length > 0) this.#note(value, 'changed', `natweave calls one address: ${first}`)
    const ported =
      port === undefined || port.text === '500'
        ? first
        : first.includes(':')
          ? `[${first}]:${port.text}`
          : `${first}:${port.text}`
    try {
      parseRemote(ported)
      return { remote: ported }
    } catch (error) {
      this.#note(value, 'dropped', `${(error as Error).message}; without \`remote\` the peer can only call in`)
      return {}
    }
  }

  #addresses(section: Section, peer: Record<string, unknown>, name: string): void {
    const vips = section.take('vips')
    const families = new Set<string>()
    for (const vip of splitList(vips?.text ?? '')) {
      families.add(vip.includes(':') ? 'ipv6' : 'ipv4')
      if (!/^(0\.0\.0\.0|::)$/.test(vip)) this.#note(vips, 'changed', 'natweave asks for any address of that family')
    }
    if (families.size > 0) peer['addresses'] = [...families]
    const pools = section.take('pools')
    const [pool, ...more] = splitList(pools?.text ?? '')
    if (more.length > 0) this.#note(pools, 'changed', `one pool is used: ${pool}`)
    if (pool !== undefined && this.#config.pools?.[plainName(pool)] !== undefined) peer['pool'] = plainName(pool)
    else if (pool !== undefined) this.#note(pools, 'dropped', `there is no pool ${pool} that natweave could have`)
    const own = section.take('pool_addrs')
    if (own !== undefined && this.#addPool(name, own, [])) peer['pool'] = name
  }

  #pool(section: Section): void {
    const addrs = section.take('addrs')
    const dns = section.list('dns')
    const name = plainName(section.name.replace(/^pools\./, ''))
    if (addrs === undefined) this.#refuse(section, 'a pool without addresses')
    else this.#addPool(name, addrs, dns)
    for (const value of section.left()) this.#note(value, 'dropped')
  }

  #addPool(name: string, addrs: Value, dns: string[]): boolean {
    const [first = '', ...more] = splitList(addrs.text)
    try {
      prefix(first)
    } catch {
      this.#note(addrs, 'dropped', 'a pool of natweave is a prefix, such as 10.9.0.0/24')
      return false
    }
    if (more.length > 0) this.#note(addrs, 'changed', `a pool of natweave is one prefix: ${first}`)
    this.#config.pools ??= {}
    this.#config.pools[name] = { addresses: first, ...(dns.length > 0 && { dns }) }
    return true
  }

  #child(section: Section, peer: Record<string, unknown>): Record<string, unknown> | undefined {
    const mode = section.take('mode')
    if (mode !== undefined && !['tunnel', 'transport', 'beet'].includes(mode.text)) {
      this.#refuse(section, `mode ${mode.text}: there are no policies that let pass or drop`)
      return undefined
    }
    const child: Record<string, unknown> = mode === undefined ? { mode: 'tunnel' } : { mode: mode.text }
    for (const side of ['local', 'remote'] as const) {
      const list = this.#selectors(section.take(`${side}_ts`))
      if (list !== undefined && list.length === 0) {
        this.#refuse(section, `none of the ${side} traffic selectors is a prefix`)
        return undefined
      }
      if (list !== undefined && !(list.length === 1 && list[0] === 'dynamic')) child[side] = list
    }
    const esp = this.#proposals(section.take('esp_proposals'), 'esp')
    const ah = this.#proposals(section.take('ah_proposals'), 'ah')
    if (ah.length > 0) Object.assign(child, { protocol: 'ah', proposals: ah })
    else if (esp.length > 0) child['proposals'] = esp
    this.#time(section, 'rekey_time', child, 'rekey')
    this.#time(section, 'life_time', child, 'life')
    const bytes = section.take('rekey_bytes')
    if (bytes !== undefined && Number(bytes.text) > 0) child['rekeyBytes'] = Number(bytes.text)
    const packets = section.take('rekey_packets')
    if (packets !== undefined && Number(packets.text) > 0) child['rekeyPackets'] = Number(packets.text)
    const window = section.take('replay_window')
    if (window !== undefined && Number(window.text) >= 32) child['replayWindow'] = Number(window.text)
    else this.#note(window, 'changed', 'the least is 32')
    const start = section.take('start_action')
    const wanted = (start?.text ?? 'none').split('|')
    if (wanted.includes('start')) peer['start'] = 'connect'
    if (wanted.includes('trap')) child['start'] = 'trap'
    for (const key of ['dpd_action', 'close_action']) {
      const action = section.take(key)
      if (action === undefined || /^(none|clear|no)$/.test(action.text)) continue
      if (/^(restart|start)$/.test(action.text)) peer['reconnect'] = true
      else this.#note(action, 'changed', 'natweave connects again where `reconnect` is true')
    }
    for (const value of section.left()) if (!isDefault(value)) this.#note(value, 'dropped')
    section.finish()
    return child
  }

  /** @returns undefined where nothing is said */
  #selectors(value: Value | undefined): string[] | undefined {
    if (value === undefined) return undefined
    return splitList(value.text).filter(text => {
      try {
        selector(text)
        return true
      } catch (error) {
        this.#note(value, 'dropped', `${text}: ${(error as Error).message}`)
        return false
      }
    })
  }

  #proposals(value: Value | undefined, protocol: 'ike' | 'esp' | 'ah'): string[] {
    return splitList(value?.text ?? '').filter(text => {
      try {
        if (text !== 'default') parseProposal(text, protocol)
        return true
      } catch (error) {
        this.#note(value, 'dropped', (error as Error).message)
        return false
      }
    })
  }

  /** strongSwan's `30`, `30s`, `5m`, `4h`, `1d` are natweave's too. */
  #time(section: Section, key: string, into: Record<string, unknown>, name: string): void {
    const value = section.take(key)
    if (value === undefined) return
    try {
      duration(value.text)
      into[name] = /^\d+$/.test(value.text) ? Number(value.text) : value.text
    } catch (error) {
      this.#note(value, 'dropped', (error as Error).message)
    }
  }
}

/** What strongSwan does anyway, or natweave. */
const isDefault = ({ name, text }: Value): boolean =>
  (/\.(policies|installpolicy)$/.test(name) && isYes(text)) ||
  (/\.(ipcomp|hostaccess|hw_offload)$/.test(name) && isNo(text))

/** Names in natweave have letters, digits, dots, dashes and underscores. */
const plainName = (name: string): string => name.replace(/[^a-z0-9_.-]/gi, '-').replace(/^[^a-z0-9]+/i, '') || 'unnamed'
