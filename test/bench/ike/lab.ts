import { Lab } from '../../interop/lab.ts'

/** A network of alice and moon for as long as `work` takes. */
export async function inLab<T>(work: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = new Lab(process.env.LAB_PREFIX ?? 'nwbench')
  try {
    await lab.up('direct')
    return await work(lab)
  } finally {
    await lab.close()
  }
}
