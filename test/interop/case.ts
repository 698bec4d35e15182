import type { Lab } from './lab.ts'

/** One thing to prove. It passes when `run` resolves; what it gives back is printed as the case's facts. */
export interface Case {
  /** `nat1/full-cone natweave→strongSwan` */
  readonly name: string
  /** What must be there beyond strongSwan and the lab. */
  readonly needs?: 'natweave'
  run(lab: Lab): Promise<readonly string[]>
}
