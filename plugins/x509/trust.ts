import type { Judgement, Presented, Trust } from '../../core/contracts/credentials.ts'
import type { CertificateTrust, Identity, RawKeyTrust } from '../../core/contracts/settings.ts'
import { equalDn, formatDn, readDn } from '../../core/wire/index.ts'
import { type Certificate, parseCertificate } from './certificate.ts'
import { parseCrls, revocation } from './crl.ts'
import { publicKey, spkiOf, verifier } from './keys.ts'
import { derOf } from './pem.ts'

/** Certificates between a peer's own and a trusted one. */
const MAX_DEPTH = 8
/** Signatures that are verified for one handshake: what a peer sends may fit together in many ways. */
const MAX_VERIFICATIONS = 32

/** @throws Error saying which octets are wrong */
export function certificateTrust({ ca, crls, revocation: mode }: CertificateTrust): Trust {
  const anchors = ca.flatMap(octets => derOf(octets, 'CERTIFICATE', 'TRUSTED CERTIFICATE')).map(parseCertificate)
  const lists = crls.flatMap(parseCrls)
  return {
    authorities: anchors.filter(({ authority }) => authority).map(({ keyHash }) => keyHash),
    description: subjects(anchors),
    judge: (presented, identity, wall) => judge(presented, identity, wall),
  }

  function judge(presented: Presented, identity: Identity, wall: number): Judgement {
    const [first, ...others] = presented.certificates
    // who is known need not show it
    const own = first === undefined ? anchors.find(a => !a.authority && namesIt(a, identity)) : read(first)
    if (own === undefined)
      return no(
        first === undefined
          ? 'the peer sent no certificate: there, always send it'
          : 'the peer sent a certificate that cannot be read',
      )
    const chain = chainOf(
      own,
      anchors,
      others.flatMap(der => read(der) ?? []),
    )
    if (typeof chain === 'string') return no(chain)
    const reason = chain.flatMap((c, i) => fault(c, i, chain[i + 1], wall) ?? []).at(0)
    if (reason !== undefined) return no(reason)
    if (!namesIt(own, identity))
      return no(
        `the certificate of ${own.description} does not name ${show(identity)}, which the peer says it is, but ${own.identities.map(show).join(', ') || 'nobody'}: it needs that subjectAltName, or the peer another identity`,
      )
    try {
      return { ok: true, key: verifier(own.key, own.description), until: Math.min(...chain.map(c => c.until)) }
    } catch (error) {
      return no(`the certificate of ${own.description}: ${(error as Error).message}`)
    }
  }

  /** What is wrong with the one certificate at this place of a chain; `issuer` undefined for a trusted one. */
  function fault(c: Certificate, place: number, issuer: Certificate | undefined, wall: number): string | undefined {
    const who = `the certificate of ${c.description}`
    if (wall < c.from) return `${who} is not valid before ${day(c.from)}; is the clock of this host right?`
    if (wall > c.until) return `${who} has expired on ${day(c.until)}`
    if (place === 0 && c.unfit !== undefined) return `${who} ${c.unfit}`
    if (issuer === undefined) return undefined
    // the chain has been built of CAs; how many may stand below each counts too
    if (place > issuer.pathLength) return `${who} is too far below its CA: pathLenConstraint is ${issuer.pathLength}`
    const revoked = revocation(c, issuer, lists, mode === 'strict', wall)
    return revoked === undefined ? undefined : `${who} ${revoked}`
  }
}

/** From the peer's own certificate to a trusted one. @returns in words why there is none */
function chainOf(
  own: Certificate,
  anchors: readonly Certificate[],
  sent: readonly Certificate[],
): readonly Certificate[] | string {
  let left = MAX_VERIFICATIONS
  let top = own
  const issued = (c: Certificate, by: Certificate): boolean =>
    by.authority && c.issuer === by.subject && left-- > 0 && c.issuedBy(by)
  const extend = (chain: readonly Certificate[]): readonly Certificate[] | undefined => {
    const last = chain.at(-1)!
    const known = anchors.find(anchor => same(anchor, last))
    if (known !== undefined) return chain
    if (chain.length > MAX_DEPTH) return undefined
    top = last
    const anchor = anchors.find(by => issued(last, by))
    if (anchor !== undefined) return [...chain, anchor]
    for (const by of sent)
      if (!chain.some(c => same(c, by)) && issued(last, by)) {
        const found = extend([...chain, by])
        if (found !== undefined) return found
      }
    return undefined
  }
  const found = extend([own])
  if (found !== undefined) return found
  if (left <= 0) return 'the peer sent certificates that fit together in too many ways'
  const known = subjects(anchors)
  if (own.subject === own.issuer)
    return `the certificate of ${own.description} is self-signed and not trusted; trusted: ${known}`
  return `the certificate of ${own.description} leads to no trusted CA: ${top.issuerName} is not trusted, nor did the peer send a CA certificate between it and one that is; trusted: ${known}`
}

/** @throws Error saying which octets are wrong */
export function rawKeyTrust({ keys }: RawKeyTrust): Trust {
  const known = keys.flatMap(octets => derOf(octets, 'PUBLIC KEY')).map(der => publicKey(der))
  const verifiers = known.map(key => ({ spki: spkiOf(key), key: verifier(key, 'its public key') }))
  return {
    authorities: [],
    description: `${known.length} public key${known.length === 1 ? '' : 's'}`,
    judge({ rawKeys, certificates }) {
      const [sent] = rawKeys
      // what was not sent can only be the one that is configured
      const found = sent === undefined ? verifiers : verifiers.filter(({ spki }) => Buffer.from(spki).equals(sent))
      const [one, ...more] = found
      if (one === undefined) return no('the public key that the peer sent is none of those configured for it')
      if (more.length > 0)
        return no(
          `the peer sent no public key${certificates.length > 0 ? ', but a certificate' : ''}, and several are configured for it`,
        )
      return { ok: true, key: one.key }
    },
  }
}

const no = (why: string): Judgement => ({ ok: false, why })

const subjects = (anchors: readonly Certificate[]): string =>
  [...new Set(anchors.map(({ name }) => name))].join('; ') || 'none'

const same = (a: Certificate, b: Certificate): boolean => Buffer.from(a.der).equals(b.der)

function read(der: Uint8Array): Certificate | undefined {
  try {
    return parseCertificate(der.slice())
  } catch {
    return undefined
  }
}

function namesIt({ identities }: Certificate, { type, value }: Identity): boolean {
  const wanted = type === 'dn' ? readDn(Buffer.from(value, 'hex')) : undefined
  return identities.some(known => {
    if (known.type !== type) return false
    if (wanted !== undefined) return equalDn(readDn(Buffer.from(known.value, 'hex')), wanted)
    return known.value.toLowerCase() === value.toLowerCase()
  })
}

const dn = (name: string): string => formatDn(readDn(Buffer.from(name, 'hex')))

const show = ({ type, value }: Identity): string => (type === 'dn' ? dn(value) : value).replace(/[^\x20-\x7e]/g, '?')

const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10)
