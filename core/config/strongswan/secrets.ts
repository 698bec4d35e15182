import type { Section } from './tree.ts'

/** A secret as natweave writes it. */
export type Written = string | { readonly hex: string } | { readonly base64: string }

interface Shared {
  readonly ids: readonly string[]
  readonly secret: Written
}

/** Shared secrets of a swanctl.conf or an ipsec.secrets. */
export class Secrets {
  readonly #keys: readonly Shared[]
  readonly #ppks: readonly Shared[]
  readonly #passwords: readonly Shared[]
  /** Files of private keys that are named. */
  readonly privateKeys: readonly string[]

  constructor(section: Section | undefined) {
    const shared = (prefix: string) =>
      (section?.sectionsLike(prefix) ?? []).flatMap(each => {
        const secret = each.take('secret')
        const ids = [...each.values.keys()].filter(key => key.startsWith('id')).map(key => each.take(key)!.text)
        return secret === undefined ? [] : [{ ids, secret: written(secret.text) }]
      })
    this.#keys = shared('ike')
    this.#ppks = shared('ppk')
    this.#passwords = shared('eap')
    this.privateKeys = (section?.sectionsLike('private') ?? []).flatMap(each => each.take('file')?.text ?? [])
  }

  /** The key of two ends, as strongSwan picks it: whose owners fit best. */
  psk(local: string | undefined, remote: string | undefined): Written | undefined {
    const scored = this.#keys.map(({ ids, secret }) => {
      const owns = (id: string | undefined) => id !== undefined && ids.includes(id)
      const score = ids.length === 0 ? 1 : (owns(remote) ? 4 : 0) + (owns(local) ? 2 : 0)
      return { score, secret }
    })
    return scored.filter(({ score }) => score > 0).sort((a, b) => b.score - a.score)[0]?.secret
  }

  /** Passwords by the names that have them. */
  passwords(): Readonly<Record<string, Written>> {
    return Object.fromEntries(this.#passwords.flatMap(({ ids, secret }) => ids.map(id => [id, secret])))
  }

  /** @param id - undefined: all that there are, since a responder takes what the peer names */
  ppks(id: string | undefined): readonly { readonly id: string; readonly secret: Written }[] {
    return this.#ppks.flatMap(({ ids, secret }) =>
      ids.filter(own => id === undefined || own === id).map(own => ({ id: own, secret })),
    )
  }
}

/** `0x` begins hex, `0s` base64. */
function written(text: string): Written {
  const [, hex] = /^0x([0-9a-f]+)$/i.exec(text) ?? []
  if (hex !== undefined) return { hex: hex.length % 2 === 0 ? hex : `0${hex}` }
  const [, base64] = /^0s([a-z0-9+/]+=*)$/i.exec(text) ?? []
  return base64 === undefined ? text : { base64 }
}
