/** Numbers for people, without a locale, so that they are the same everywhere. */

/** `12 345` */
export const count = (value: number): string => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ' ')

/** `512 B`, `61 kB`, `2.1 MB`, decimal. */
export function size(octets: number): string {
  if (octets < 1000) return `${octets} B`
  if (octets < 1e6) return `${(octets / 1e3).toFixed(octets < 1e4 ? 1 : 0)} kB`
  return `${(octets / 1e6).toFixed(1)} MB`
}

/** `4.2 Mbit/s` */
export function rate(octets: number, ms: number): string {
  if (ms <= 0) return '0 bit/s'
  const kilobits = (octets * 8) / ms
  return kilobits < 1000 ? `${kilobits.toFixed(0)} kbit/s` : `${(kilobits / 1000).toFixed(1)} Mbit/s`
}

/** `142.5 ms` below a second, `12.3 s` above. */
export const duration = (ms: number): string => (ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(1)} s`)
