/** Whether an ICV stands at `at`, in time that does not depend on where they differ. */
export function equalAt(icv: Uint8Array, bytes: Uint8Array, at: number): boolean {
  let difference = 0
  for (let i = 0; i < icv.length; i++) difference |= icv[i]! ^ bytes[at + i]!
  return difference === 0
}
