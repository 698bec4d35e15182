import type { z } from 'zod'
import { ConfigError } from '../errors.ts'
import { nearest } from '../nearest.ts'
import { configSchema } from './schema.ts'

/** A finding of the schema library in our words: where, what was found, what is allowed. One problem a line. */
export function explain(issue: z.core.$ZodIssue, root: unknown): ConfigError[] {
  const { path } = issue
  const found = path.reduce<unknown>(
    (value, key) => (isMap(value) || Array.isArray(value) ? Reflect.get(value, key) : undefined),
    root,
  )
  const say = (problem: string): ConfigError[] => [new ConfigError(showPath(path), problem)]
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map(key => unknownKey(path, key))
    case 'invalid_key':
      return say('a name of letters, digits, dot, dash and underscore is wanted')
    case 'invalid_value':
      return say(wrongWord(found, issue.values.map(String), path))
    case 'invalid_union': {
      const known = keysAt(path)
      const strangers = isMap(found) ? Object.keys(found).filter(key => !known.includes(key)) : []
      if (strangers.length > 0) return strangers.map(key => unknownKey(path, key))
      // a mapping that is meant for one of the kinds, and wrong within
      const within = isMap(found)
        ? issue.errors.filter(issues =>
            issues.every(({ path: [key] }) => key !== undefined && Object.hasOwn(found, key)),
          )
        : []
      return within.length === 1
        ? within[0]!.flatMap(inner => explain({ ...inner, path: [...path, ...inner.path] }, root))
        : say(wanted(issue.message, found, path))
    }
    case 'invalid_type':
      return say(wanted(`${KINDS[issue.expected] ?? issue.expected} is wanted`, found, path))
    case 'too_small':
      return say(wanted(bound(issue, `at least ${issue.minimum}`), found, path))
    case 'too_big':
      return say(wanted(bound(issue, `at most ${issue.maximum}`), found, path))
    default:
      return say(wanted(issue.message, found, path))
  }
}

/** `no peer "mon"; known: moon, sun; did you mean "moon"?` */
export function unknownName(kind: string, name: string, known: readonly string[]): string {
  return `no ${kind} ${JSON.stringify(name)}; ${known.length === 0 ? `no ${kind} is configured` : `known: ${known.join(', ')}${hint(name, known)}`}`
}

/** `peers.moon.children.lan.remote[0]` */
const showPath = (keys: readonly PropertyKey[]): string =>
  keys.map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i === 0 ? '' : '.'}${String(key)}`)).join('')

function unknownKey(path: readonly PropertyKey[], key: string): ConfigError {
  const known = keysAt(path).filter(k => k !== '$schema')
  return new ConfigError(showPath([...path, key]), `unknown key; allowed: ${known.join(', ')}${hint(key, known)}`)
}

function wrongWord(found: unknown, allowed: readonly string[], path: readonly PropertyKey[]): string {
  const near = typeof found === 'string' ? hint(found, allowed) : ''
  return `${found === undefined ? 'is missing' : `found ${show(found, path)}`}; allowed: ${allowed.join(', ')}${near}`
}

const wanted = (what: string, found: unknown, path: readonly PropertyKey[]): string =>
  found === undefined ? `is missing; ${what}` : `${what}, found ${show(found, path)}`

function hint(word: string, known: readonly string[]): string {
  const near = nearest(word, known)
  return near === undefined ? '' : `; did you mean "${near}"?`
}

const KINDS: Readonly<Record<string, string>> = {
  object: 'a mapping',
  record: 'a mapping',
  array: 'a list',
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
}

/** A number out of bounds; of texts and lists the schema itself says what is wanted. */
const bound = ({ origin, message }: { readonly origin: string; readonly message: string }, limit: string): string =>
  origin === 'string' || origin === 'array' ? message : `a number of ${limit} is wanted`

/**
 * Mappings and lists by their kind only, and nothing that may be secret (pre-shared keys, whatever plugins take as
 * options): messages end up in logs and bug reports.
 */
function show(value: unknown, path: readonly PropertyKey[]): string {
  if (Array.isArray(value)) return 'a list'
  if (isMap(value)) return 'a mapping'
  if (SECRET.some(key => path.includes(key))) return KINDS[typeof value] ?? typeof value
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}

const SECRET = ['psk', 'key', 'eap', 'options', 'encryption', 'integrity'] as const

const isMap = (value: unknown): value is Readonly<Record<PropertyKey, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

interface Node {
  readonly properties?: Readonly<Record<string, Node>>
  readonly additionalProperties?: Node | boolean
  readonly items?: Node
  readonly anyOf?: readonly Node[]
}

/** The keys the schema knows at a place. */
function keysAt(path: readonly PropertyKey[]): string[] {
  const branches = (nodes: readonly Node[]): Node[] => nodes.flatMap(node => [node, ...branches(node.anyOf ?? [])])
  let nodes: readonly Node[] = [configSchema() as Node]
  for (const key of path)
    nodes = branches(nodes)
      .flatMap(n => (typeof key === 'number' ? n.items : (n.properties?.[String(key)] ?? n.additionalProperties)) ?? [])
      .filter((n): n is Node => typeof n === 'object')
  return [...new Set(branches(nodes).flatMap(n => Object.keys(n.properties ?? {})))]
}
