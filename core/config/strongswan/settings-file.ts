import { ConfigError } from '../../errors.ts'
import { type Place, type Reader, Section } from './tree.ts'

/** The syntax of swanctl.conf and strongswan.conf: nested sections, references, includes, comments, quotes. */

const MAX_DEPTH = 20
const MAX_FILES = 1_000
const MAX_SECTIONS = 100_000

/**
 * Reads a file and all it includes; sections of one name are one section, and inherit what they refer to.
 *
 * @throws ConfigError with file and line of what cannot be read
 */
export function parseSettings(text: string, file: string, read: Reader): Section {
  const root = new Section('', { file, line: 1 })
  const parser = { read, files: 0 }
  new Parser(text, file, parser, 0).sections(root, true)
  return inherit(root, root, [], { made: 0 })
}

class Parser {
  readonly #text: string
  readonly #file: string
  readonly #shared: { readonly read: Reader; files: number }
  readonly #depth: number
  #at = 0
  #line = 1

  constructor(text: string, file: string, shared: { readonly read: Reader; files: number }, depth: number) {
    this.#text = text
    this.#file = file
    this.#shared = shared
    this.#depth = depth
  }

  /** Statements up to the end of the section, or of the file. */
  sections(into: Section, top: boolean, level = 0): void {
    for (;;) {
      this.#blank()
      const place = this.#place()
      if (this.#at >= this.#text.length) {
        if (!top) throw this.#wrong(into.at, `the section ${into.name} has no end; a } is missing`)
        return
      }
      if (this.#peek() === '}') {
        if (top) throw this.#wrong(place, 'a } too many')
        this.#at++
        return
      }
      const name = this.#name()
      if (name === '') throw this.#wrong(place, `a name is wanted, found ${JSON.stringify(this.#peek())}`)
      if (name === 'include' && /[ \t"]/.test(this.#peek())) this.#include(into, place)
      else this.#statement(into, name, place, level)
    }
  }

  #statement(into: Section, name: string, place: Place, level: number): void {
    const full = into.name === '' ? name : `${into.name}.${name}`
    this.#blank()
    const sign = this.#peek()
    this.#at++
    if (sign === '=') {
      into.values.set(name, { text: this.#value(), at: place, name: full })
      return
    }
    if (sign !== '{' && sign !== ':') throw this.#wrong(place, `= or { is wanted after ${name}`)
    if (level === MAX_DEPTH) throw this.#wrong(place, `sections more than ${MAX_DEPTH} deep`)
    const section = into.sections.get(name) ?? new Section(full, place)
    into.sections.set(name, section)
    if (sign === ':') section.references.push(...this.#references(place))
    this.sections(section, false, level + 1)
  }

  /** `: one, other.two {` */
  #references(place: Place): string[] {
    const names: string[] = []
    for (;;) {
      this.#blank()
      const name = this.#name()
      if (name === '') throw this.#wrong(place, 'the name of a section is wanted after :')
      names.push(name)
      this.#blank()
      const sign = this.#peek()
      this.#at++
      if (sign === '{') return names
      if (sign !== ',') throw this.#wrong(place, `, or { is wanted after ${name}`)
    }
  }

  #include(into: Section, place: Place): void {
    const pattern = this.#value()
    if (this.#depth === MAX_DEPTH) throw this.#wrong(place, `includes more than ${MAX_DEPTH} deep`)
    for (const { path, text } of this.#shared.read(pattern, this.#file)) {
      if (++this.#shared.files > MAX_FILES) throw this.#wrong(place, `more than ${MAX_FILES} files`)
      new Parser(text, path, this.#shared, this.#depth + 1).sections(into, true)
    }
  }

  /** Up to the end of the line; quotes keep what would end it. */
  #value(): string {
    let [value, kept] = ['', 0]
    for (; this.#at < this.#text.length; this.#at++) {
      const c = this.#peek()
      if (c === '\n' || c === '#' || c === '}') break
      if (c === '"') {
        value += this.#quoted()
        kept = value.length
      } else if (value !== '' || !/\s/.test(c)) value += c
    }
    return value.slice(0, kept) + value.slice(kept).trimEnd()
  }

  /** @returns what is between the quotes; stands on the closing one */
  #quoted(): string {
    const place = this.#place()
    let value = ''
    for (this.#at++; this.#at < this.#text.length; this.#at++) {
      const c = this.#peek()
      if (c === '"') return value
      if (c === '\n') this.#line++
      if (c !== '\\') value += c
      else {
        const next = this.#text[++this.#at] ?? ''
        // an escaped end of the line is none
        if (next === '\n') this.#line++
        else value += ESCAPES[next] ?? next
      }
    }
    throw this.#wrong(place, 'a closing " is missing')
  }

  #name(): string {
    const start = this.#at
    while (this.#at < this.#text.length && !/[\s{}=:,#"]/.test(this.#peek())) this.#at++
    return this.#text.slice(start, this.#at)
  }

  /** Past white space, ends of lines and comments. */
  #blank(): void {
    for (; this.#at < this.#text.length; this.#at++) {
      const c = this.#peek()
      if (c === '#') while (this.#at + 1 < this.#text.length && this.#text[this.#at + 1] !== '\n') this.#at++
      else if (c === '\n') this.#line++
      else if (!/\s/.test(c)) return
    }
  }

  #peek(): string {
    return this.#text[this.#at] ?? ''
  }

  #place(): Place {
    return { file: this.#file, line: this.#line }
  }

  #wrong({ file, line }: Place, problem: string): ConfigError {
    return new ConfigError(`${file}:${line}`, problem)
  }
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' }

/** A copy with everything in it that it refers to: its own values first, then those of the references in their order. */
function inherit(section: Section, root: Section, trail: readonly Section[], count: { made: number }): Section {
  if (trail.includes(section)) throw new ConfigError(place(section), `${section.name} inherits from itself`)
  if (++count.made > MAX_SECTIONS) throw new ConfigError(place(section), 'too much is inherited')
  const path = [...trail, section]
  const copy = new Section(section.name, section.at)
  for (const [key, value] of section.values) copy.values.set(key, value)
  for (const [key, below] of section.sections) copy.sections.set(key, inherit(below, root, path, count))
  for (const reference of section.references) {
    const found = find(root, reference)
    if (found === undefined)
      throw new ConfigError(place(section), `${section.name} inherits from ${reference}, which does not exist`)
    merge(copy, inherit(found, root, path, count))
  }
  // an empty value takes back what would be inherited
  for (const [key, { text }] of copy.values) if (text === '') copy.values.delete(key)
  return copy
}

function merge(into: Section, base: Section): void {
  for (const [key, value] of base.values) if (!into.values.has(key)) into.values.set(key, value)
  for (const [key, section] of base.sections) {
    const own = into.sections.get(key)
    if (own === undefined) into.sections.set(key, section)
    else merge(own, section)
  }
}

/** A section by its absolute name; names may have dots in them. */
function find(root: Section, name: string): Section | undefined {
  for (const [key, section] of root.sections) {
    if (name === key) return section
    const below = name.startsWith(`${key}.`) ? find(section, name.slice(key.length + 1)) : undefined
    if (below !== undefined) return below
  }
  return undefined
}

const place = ({ at }: Section): string => `${at.file}:${at.line}`
