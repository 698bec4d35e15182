/** When a request is sent and given up over UDP, ms after it was first sent. */
export interface Timing {
  readonly sends: readonly number[]
  readonly fails: number
}

/**
 * RFC 8489 §6.2.1: waits that double, Rc transmissions, Rm × RTO after the last.
 *
 * @param rto - first wait, ms; below 500 only where the round trip is known
 */
export const rfc8489Timing = (rto = 500): Timing => {
  const sends = Array.from({ length: 7 }, (_, i) => rto * (2 ** i - 1))
  return { sends, fails: sends[6]! + 16 * rto }
}

/** RFC 3489 §9.3: quicker, because silence is an answer there. */
export const RFC3489_TIMING: Timing = { sends: [0, 100, 300, 700, 1500, 3100, 4700, 6300, 7900], fails: 9500 }
