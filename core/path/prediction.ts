/** Which port a NAT that maps every destination anew takes next, learned from the ports it took just before. */

/** Steps beyond this are chance, not counting. */
const MAX_STEP = 16
const PORTS = 65_536
/** Where NATs that count begin anew. */
const FIRST_PORT = 1_024

/**
 * The step of a NAT that counts.
 *
 * @param ports - outer ports of mappings made one after the other, at least two
 * @returns undefined when they do not go up in small steps: random, or preserved ones
 */
export function portStep(ports: readonly number[]): number | undefined {
  if (ports.length < 2) return undefined
  const steps = ports.slice(1).map((port, i) => (port - ports[i]! + PORTS) % PORTS)
  if (steps.some(step => step < 1 || step > MAX_STEP)) return undefined
  // somebody else behind the NAT may have taken one in between: the smallest is the NAT's own
  return Math.min(...steps)
}

/** The next `count` ports after `last`. */
export function predictPorts(last: number, step: number, count: number): number[] {
  const ports: number[] = []
  for (let port = last; ports.length < count; ) {
    port += step
    if (port >= PORTS) port -= PORTS - FIRST_PORT
    ports.push(port)
  }
  return ports
}
