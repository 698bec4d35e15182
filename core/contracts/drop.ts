/** Why a packet went no further; counted by this name, shown by status. */
export const DROPS = [
  'malformed',
  'no-policy',
  'no-sa',
  'unknown-spi',
  'replay',
  'integrity',
  'padding',
  'dummy',
  'next-header',
  'selector',
  'conflict',
  'inner-malformed',
  'fragment',
  'too-big',
  'hard-lifetime',
  'sequence-exhausted',
  'encapsulation',
  'not-encodable',
] as const
export type Drop = (typeof DROPS)[number]
