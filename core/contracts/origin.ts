/** How to make an object again in another thread, where only data can go. */
export interface Origin {
  /** URL of a module, `import.meta.url`. */
  readonly module: string
  /** Its export: a function that makes the object of `data`, or gives it. */
  readonly name: string
  /** What structuredClone copies. */
  readonly data?: unknown
}

/** Makes the object that `origin` describes. @throws whatever the module or its function throws */
export async function remake<T>({ module, name, data }: Origin): Promise<T> {
  const exports = (await import(module)) as Readonly<Record<string, (data: unknown) => T>>
  return exports[name]!(data)
}
