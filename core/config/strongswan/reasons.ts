/** Why a setting of strongSwan has no counterpart, by its name; the rest is simply not known. */
const REASONS: readonly (readonly [names: RegExp, why: string])[] = [
  [/^if_id_(in|out)$/, 'there are no XFRM interfaces: packets go through a TUN device of natweave'],
  [/^(set_)?mark(_in|_out)?(_sa)?$/, 'there are no packet marks; use `table` of the device and rules of the system'],
  [
    /^(updown|hostaccess|interface|leftupdown|rightupdown|leftfirewall|rightfirewall|lefthostaccess|righthostaccess)$/,
    'no script is run; routes are set by natweave, firewall rules are yours',
  ],
  [
    /^(policies|policies_fwd_out|installpolicy|reqid|priority|label|label_mode)$/,
    'it is about policies of the kernel, which natweave does not use',
  ],
  [/^(hw_offload|copy_df|copy_ecn|copy_dscp|dscp|ikedscp)$/, 'natweave does not offer the choice'],
  [/^tfc_padding$/, 'no TFC padding is sent'],
  [/^(ipcomp|compress)$/, 'IPComp is not supported'],
  [/^inactivity$/, 'Child SAs are not closed for being idle'],
  [/^(mediation|mediated_by|mediation_peer)$/, 'mediation is set up by plugin ike-me'],
  [/^(aggressive|pull|xauth_id|xauth|modeconfig|dpd_timeout|sha256_96|xauth_identity)$/, 'it belongs to IKEv1'],
  [
    /^(send_cert|send_certreq|leftsendcert|rightsendcert)$/,
    'natweave decides by itself which certificates it sends and asks for',
  ],
  [/^(over_time|rand_time)$/, 'natweave spreads rekeys by itself'],
  [/^(life_bytes|life_packets)$/, 'the hard limit follows from the soft one'],
  [
    /^(cert_policy|groups|aaa_id|ca_id|leftca|rightca|leftgroups|rightgroups|leftcertpolicy|rightcertpolicy)$/,
    'certificates are judged by CA, validity, revocation and identity alone',
  ],
  [/^(handle|slot|module|pin)$/, 'keys on tokens come from a plugin, by { uri: … }'],
  [/^(dpd_action|close_action)$/, 'natweave connects again (`reconnect`) or waits to be called'],
  [/^(nbns|dhcp|netmask|server|subnet|split_include|split_exclude)$/, 'peers are given addresses and DNS servers only'],
  [/^(crl_uris|ocsp_uris|cert_uri_base)$/, 'CRLs are read from files: `trust.crl`'],
]

/** @param setting - full name; its last part tells */
export function reason(setting: string): string {
  const key = setting.split(/[.:] ?/).at(-1)!
  return REASONS.find(([names]) => names.test(key))?.[1] ?? 'natweave has no such setting'
}
