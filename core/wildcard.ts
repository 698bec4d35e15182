/**
 * Whether a text fits a pattern in which `*` stands for any run of characters. Linear in both lengths for one `*`, and never
 * exponential: no regular expression is made of foreign text.
 */
export function matchesWildcard(text: string, pattern: string): boolean {
  const parts = pattern.split('*')
  const first = parts[0]!
  if (parts.length === 1) return text === pattern
  const last = parts[parts.length - 1]!
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false
  let at = first.length
  const limit = text.length - last.length
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at)
    if (found < 0 || found + part.length > limit) return false
    at = found + part.length
  }
  return true
}
