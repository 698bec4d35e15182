import { runDemo } from '../demo/index.ts'
import { guarded } from '../output.ts'

export interface DemoFlags {
  readonly seed: number
  readonly json: boolean
}

export default async function demo(this: unknown, { seed, json }: DemoFlags): Promise<void> {
  await guarded(json, out =>
    runDemo({ json, seed, colour: out.colours.isColorSupported, write: text => void process.stdout.write(text) }),
  )
}
