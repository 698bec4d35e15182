/** A number under which USE_BEET_MODE is known, and to whom. */
export interface UseBeetMode {
  readonly notify: number
  /** Vendor ID by which both ends show in IKE_SA_INIT that this number means BEET to them; absent for a public number. */
  readonly vendorId?: Uint8Array
}

/** In use since 2006; of the private range, so strongSwan takes it only from its like. The vendor ID is MD5("strongSwan"). */
export const STRONGSWAN: UseBeetMode = {
  notify: 40_961,
  vendorId: Uint8Array.of(
    0x88,
    0x2f,
    0xe5,
    0x6d,
    0x6f,
    0xd2,
    0x0d,
    0xbc,
    0x22,
    0x51,
    0x61,
    0x3b,
    0x2e,
    0xbe,
    0x5b,
    0xeb,
  ),
}

/** Status types, RFC 7296 §3.10.1: below are errors, above there is nothing. */
const LEAST_STATUS = 16_384
const MOST = 65_535

export const isStatusType = (notify: number): boolean =>
  Number.isInteger(notify) && notify >= LEAST_STATUS && notify <= MOST

/** The IETF draft (ipsecme-ikev2-beet-mode) has no number yet, so any but strongSwan's is taken for a public one. */
export const entryOf = (notify: number, vendorId: boolean): UseBeetMode =>
  notify === STRONGSWAN.notify && vendorId ? STRONGSWAN : { notify }
