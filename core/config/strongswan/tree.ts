/** A strongSwan configuration as a tree that knows where each value stands, and which of them were made use of. */

export interface Place {
  readonly file: string
  /** From 1. */
  readonly line: number
}

export interface Value {
  readonly text: string
  readonly at: Place
  /** As the user knows it: `connections.gw.remote.id`, `conn gw: rightid`. */
  readonly name: string
}

/** What could not be carried over as it was. */
export interface Note {
  readonly at: Place
  /** The setting, as `Value.name` has it. */
  readonly setting: string
  readonly value: string
  /** `dropped`: nothing stands for it now; `changed`: something else does; `refused`: a whole connection or child is missing. */
  readonly kind: 'dropped' | 'changed' | 'refused'
  readonly why: string
}

/** Files by a pattern with `*` and `?`, relative to the file it stands in. */
export type Reader = (pattern: string, from: string) => readonly { readonly path: string; readonly text: string }[]

/** Where strongSwan keeps certificates and keys. */
export interface Folders {
  /** Whole paths of what is in `x509`, `x509ca`, `x509crl`, `private`, `rsa`, `ecdsa`, `pkcs8`. */
  list(folder: string): readonly string[]
  /** Whole path of a file that is named without a folder. */
  path(folder: string, file: string): string
}

export class Section {
  readonly name: string
  readonly at: Place
  readonly values = new Map<string, Value>()
  readonly sections = new Map<string, Section>()
  /** Absolute names of sections that this one inherits from. */
  readonly references: string[] = []
  readonly #taken = new Set<string>()

  constructor(name: string, at: Place) {
    this.name = name
    this.at = at
  }

  /** The value of a key, which counts as dealt with from now on. */
  take(key: string): Value | undefined {
    this.#taken.add(key)
    return this.values.get(key)
  }

  /** A value that is a list, split at commas. */
  list(key: string): string[] {
    return splitList(this.take(key)?.text ?? '')
  }

  section(key: string): Section | undefined {
    this.#taken.add(`${key} {`)
    return this.sections.get(key)
  }

  /** Sections whose names begin like this, in the order of the file: `local`, `local-1`. */
  sectionsLike(prefix: string): Section[] {
    return [...this.sections.keys()].filter(key => key.startsWith(prefix)).map(key => this.section(key)!)
  }

  /** Nothing in it needs a further word. */
  finish(): void {
    for (const key of this.values.keys()) this.#taken.add(key)
    for (const each of this.sectionsLike('')) each.finish()
  }

  /** What nobody took, in it and below, in the order of the file. */
  left(): Value[] {
    const own = [...this.values].filter(([key]) => !this.#taken.has(key)).map(([, value]) => value)
    const below = [...this.sections].flatMap(([key, section]) =>
      this.#taken.has(`${key} {`) ? section.left() : [{ text: '{ … }', at: section.at, name: section.name }],
    )
    return [...own, ...below]
  }
}

export const splitList = (text: string): string[] =>
  text
    .split(',')
    .map(item => item.trim())
    .filter(item => item !== '')

/** strongSwan's words for yes. */
export const isYes = (text: string | undefined): boolean => /^(yes|true|enabled|1)$/i.test(text ?? '')
export const isNo = (text: string | undefined): boolean => /^(no|false|disabled|0)$/i.test(text ?? '')
