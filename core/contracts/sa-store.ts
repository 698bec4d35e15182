/**
 * State that must outlive a process: address leases, what worked on which network, registrations. Values are JSON;
 * SA keys never go in. Keys are `kind/name`.
 */
export interface SaStore {
  readonly name: string
  open(): Promise<void>
  close(): Promise<void>
  get(key: string): Promise<unknown>
  set(key: string, value: unknown): Promise<void>
  delete(key: string): Promise<void>
  list(prefix: string): Promise<readonly (readonly [key: string, value: unknown])[]>
}
