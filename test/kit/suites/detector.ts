import type { CryptoProvider } from '../../../core/contracts/crypto.ts'
import type { NatDetector } from '../../../core/contracts/nat-detector.ts'
import { NAT_DETECTOR, type Plugin } from '../../../core/contracts/plugin.ts'
import { check, isKebabCase, partsOf, type SuiteRunner, same } from './check.ts'
import { checkTasks, runInit } from './tasks.ts'

export interface DetectorSuiteOptions extends SuiteRunner {
  /** For tasks that need real cryptography; hashes work without. */
  readonly crypto?: CryptoProvider
  /** What the initiator knows after IKE_SA_INIT with a peer that runs the same detector, and a NAT before itself or none. */
  readonly learns?: {
    readonly nat?: Readonly<Record<string, unknown>>
    readonly noNat?: Readonly<Record<string, unknown>>
  }
}

/** What every `NatDetector` must do. @param make - a detector, or a plugin that registers some */
export function detectorSuite(
  make: () => NatDetector | Plugin,
  { test, crypto, learns = {} }: DetectorSuiteOptions,
): void {
  const options = crypto === undefined ? {} : { crypto }
  const detectors = (): readonly NatDetector[] => {
    const found = partsOf(make(), NAT_DETECTOR)
    check(found.length > 0, 'the plugin to register a detector')
    return found
  }

  test('detector: has a name and says which facts it finds', () => {
    for (const { name, finds } of detectors()) {
      check(isKebabCase(name), `a kebab-case name, not "${name}"`)
      check(finds.length > 0 && finds.every(fact => /^[a-z]\w*$/i.test(fact)), `${name}.finds to name facts`)
      check(new Set(finds).size === finds.length, `${name}.finds to name each fact once`)
    }
  })

  test('detector: tasks are fresh for each IKE SA and stand whatever a peer sends', () => {
    for (const detector of detectors()) checkTasks(() => detector.tasks(), crypto)
  })

  test('detector: learns what it says it finds, nothing else', () => {
    for (const detector of detectors())
      for (const nat of [false, true]) {
        const { initiator, responder } = runInit(() => detector.tasks(), { ...options, nat })
        for (const side of [initiator, responder])
          for (const fact of Object.keys(side.facts))
            check(detector.finds.includes(fact), `${detector.name} to declare ${fact} in finds`)
      }
  })

  for (const [nat, wanted] of [[true, learns.nat] as const, [false, learns.noNat] as const])
    if (wanted !== undefined)
      test(`detector: ${nat ? 'sees' : 'does not invent'} a NAT`, () => {
        const tasks = () => detectors().flatMap(detector => detector.tasks())
        const { initiator } = runInit(tasks, { ...options, nat })
        for (const [fact, value] of Object.entries(wanted)) same(initiator.facts[fact]?.value, value, fact)
      })
}
