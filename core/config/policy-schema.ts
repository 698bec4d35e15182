import { z } from 'zod'
import { bound, condition, prefix } from './values.ts'
import { name, text, word } from './word.ts'

/** The shape of `policy` and of what a user says of a peer for it. */

const factValue = z.union([z.boolean(), z.string(), z.number()], {
  error: 'the value of a fact is wanted: true, false, a text or a number',
})
export const facts = z.record(text, factValue).default({})
const CONDITION =
  'the value of a fact is wanted (true, false, a text, a number), a list of values, a comparison such as "> 1h", or { not: …, above: … }'
const someValues = z.union([factValue, z.array(factValue).min(1)]).transform(given => [given].flat())
const limit = word(z.union([z.string(), z.number()]), bound)
const wanted = z.union(
  [
    word(factValue, condition),
    z
      .array(factValue)
      .min(1)
      .transform(values => ({ in: values })),
    z.strictObject({
      in: someValues.optional(),
      not: someValues.optional(),
      above: limit.optional(),
      atLeast: limit.optional(),
      below: limit.optional(),
      atMost: limit.optional(),
    }),
  ],
  { error: CONDITION },
)

const ofSlot = z.union([text, z.array(text).min(1)]).optional()
/** By slot, or all in one list; afterwards a list whose entries may have their slot in front. */
const strategies = z
  .union([z.array(text), z.strictObject({ path: ofSlot, encap: ofSlot, mode: ofSlot })], {
    error:
      'a list of strategies is wanted, or a mapping such as { path: direct, encap: [udp-encap, none], mode: auto }',
  })
  .transform(given =>
    Array.isArray(given)
      ? given
      : Object.entries(given).flatMap(([slot, names]) => [names ?? []].flat().map(name => `${slot}:${name}`)),
  )
  .prefault([])

export const rule = z.strictObject({
  peers: z.array(text).default([]).describe('Peers, groups or patterns such as branch-* it speaks of; none for all'),
  when: z.record(text, wanted).default({}).describe('Facts that must hold'),
  use: strategies.describe('Only these strategies, in their slots; auto leaves a slot to policy'),
  prefer: strategies.describe('These first, best first'),
  avoid: strategies.describe('Never these'),
})

export const policy = z.strictObject({
  groups: z
    .record(name, z.array(text))
    .default({})
    .describe('Peers by a common name: names, or patterns such as branch-*'),
  facts: facts.describe('What you know of this host: mobile, transportCost, or a word of your own'),
  networks: z
    .record(name, z.array(word(text, prefix)))
    .default({})
    .describe('Names for networks, by the prefixes this host has its address from there'),
  rules: z.array(rule).default([]),
})
