/** Candidates, pairs, checklists and what helps against hard NATs: `natweave/path`, shared by all ways of hole punching. */
export * from './birthday.ts'
export * from './candidate.ts'
export { Checklist, type ChecklistIn, type ChecklistOptions, type ChecklistOut } from './checklist.ts'
export { Pacer } from './pacer.ts'
export { type CandidatePair, flowKey, formPairs, MAX_PAIRS } from './pairs.ts'
export * from './prediction.ts'
