import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parse as parseYaml } from 'yaml'
import { parseConfig } from '../../../../core/config/index.ts'
import { importStrongswan } from '../../../../core/config/strongswan/index.ts'

/** Whole configurations, as people have them. */

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'natweave-import-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const put = (files: Readonly<Record<string, string>>): void => {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
}
const run = (file: string) => {
  const imported = importStrongswan(join(folder, file))
  const notes = imported.notes.map(
    ({ at, setting, kind }) => `${at.file.slice(folder.length + 1)}:${at.line} ${setting} ${kind}`,
  )
  return { ...imported, notes, why: imported.notes.map(({ why }) => why).join('\n') }
}
const sources = { env: { OFFICE_PSK: 'x' }, readFile: () => Uint8Array.of(1) }

describe('swanctl.conf', () => {
  test('a road warrior with everything natweave has too: nothing is left behind', () => {
    put({
      'swanctl.conf': `# laptop
connections {
  office {
    version = 2
    remote_addrs = gw.example.org
    vips = 0.0.0.0, ::
    proposals = aes256gcm16-prfsha384-x25519-ke1_mlkem768, aes256-sha256-modp2048
    encap = yes
    mobike = no
    dpd_delay = 30s
    rekey_time = 3h
    reauth_time = 1d
    keyingtries = 0
    fragmentation = yes
    ppk_id = office-ppk
    ppk_required = yes
    local {
      auth = psk
      id = alice@example.org
    }
    remote {
      auth = psk
      id = gw.example.org
    }
    children {
      intranet {
        remote_ts = 10.3.0.0/16, "10.7.0.9[tcp/631]"
        esp_proposals = aes128gcm16-x25519-ke1_mlkem768, aes128gcm16-x25519
        start_action = start
        dpd_action = restart
        rekey_time = 1h
        life_time = 70m
        rekey_bytes = 500000000
        replay_window = 64
      }
    }
  }
}
secrets {
  ike-office { id = gw.example.org
    secret = "correct horse #1" }
  ike-any { secret = 0x0a1b }
  ppk-office { id = office-ppk
    secret = 0sbW9vbg== }
}
`,
    })
    const { config, notes, problems, yaml } = run('swanctl.conf')
    expect([notes, problems]).toEqual([[], []])
    expect(config).toEqual({
      peers: {
        office: {
          remote: 'gw.example.org',
          localId: 'alice@example.org',
          remoteId: 'gw.example.org',
          psk: 'correct horse #1',
          ppk: { keys: { 'office-ppk': { base64: 'bW9vbg==' } }, required: true },
          proposals: ['aes256gcm16-prfsha384-x25519-ke1_mlkem768', 'aes256-sha256-modp2048'],
          addresses: ['ipv4', 'ipv6'],
          encapsulation: 'force',
          mobike: false,
          dpd: '30s',
          rekey: '3h',
          reauth: '1d',
          reconnect: true,
          start: 'connect',
          children: {
            intranet: {
              mode: 'tunnel',
              remote: ['10.3.0.0/16', '10.7.0.9[tcp/631]'],
              proposals: ['aes128gcm16-x25519-ke1_mlkem768', 'aes128gcm16-x25519'],
              rekey: '1h',
              life: '70m',
              rekeyBytes: 500_000_000,
              replayWindow: 64,
            },
          },
        },
      },
    })
    expect(parseYaml(yaml)).toEqual(config)
    expect(parseConfig(parseYaml(yaml), sources).settings.peers['office']?.remote).toBe('gw.example.org')
  })

  test('a gateway: templates, includes, certificates, pools', () => {
    put({
      'swanctl.conf': 'include conf.d/*.conf\ninclude secrets/main.conf\n',
      'conf.d/10-base.conf': `base {
  version = 2
  proposals = aes256-sha256-ecp256
  local { certs = moon-cert.pem
    id = "C=CH, O=Example, CN=moon" }
  remote { auth = pubkey
    id = *@example.org
    revocation = strict }
  children { net { esp_proposals = aes128gcm16 } }
}`,
      'conf.d/20-clients.conf': `connections {
  rw : base {
    pools = rw4, rw6
    if_id_in = 42
    children {
      net : base.children.net { local_ts = 10.3.0.0/24
        updown = /usr/lib/updown }
      bypass { mode = pass
        local_ts = 192.168.0.0/16 }
    }
  }
}
pools { rw4 { addrs = 10.9.0.0/24
    dns = 10.3.0.53
    nbns = 10.3.0.54 }
  rw6 { addrs = 2001:db8::/64 } }`,
      'conf.d/notes.txt': 'this { is not read',
      'secrets/main.conf': 'secrets { private-moon { file = moon-key.pem } }',
      'x509ca/ca.pem': '',
      'x509crl/ca.crl': '',
    })
    const { config, notes, problems, why } = run('swanctl.conf')
    expect(config).toEqual({
      pools: { rw4: { addresses: '10.9.0.0/24', dns: ['10.3.0.53'] }, rw6: { addresses: '2001:db8::/64' } },
      peers: {
        rw: {
          localId: 'C=CH, O=Example, CN=moon',
          remoteId: '*@example.org',
          certificate: { file: join(folder, 'x509/moon-cert.pem') },
          key: { file: join(folder, 'private/moon-key.pem') },
          trust: {
            ca: [{ file: join(folder, 'x509ca/ca.pem') }],
            crl: [{ file: join(folder, 'x509crl/ca.crl') }],
            revocation: 'strict',
          },
          proposals: ['aes256-sha256-ecp256'],
          pool: 'rw4',
          children: { net: { mode: 'tunnel', local: ['10.3.0.0/24'], proposals: ['aes128gcm16'] } },
        },
      },
    })
    expect(problems).toEqual([])
    expect(notes).toEqual([
      'conf.d/20-clients.conf:3 connections.rw.pools changed',
      'conf.d/20-clients.conf:4 connections.rw.if_id_in dropped',
      'conf.d/20-clients.conf:7 connections.rw.children.net.updown dropped',
      'conf.d/20-clients.conf:8 connections.rw.children.bypass refused',
      'conf.d/20-clients.conf:15 pools.rw4.nbns dropped',
    ])
    expect(why).toMatch(/XFRM/)
  })

  test('EAP-MSCHAPv2, as client and as gateway', () => {
    put({
      'swanctl.conf': `connections {
  home { remote_addrs = gw.example.org
    local { auth = eap-mschapv2
      eap_id = alice }
    remote { id = gw.example.org
      cacerts = ca.pem }
    children { net { } } }
  rw { local { certs = gw.pem }
    remote { auth = eap-mschapv2
      eap_id = %any }
    children { net { } } }
}
secrets { eap-alice { id = alice
    secret = hush }
  eap-bob { id = bob
    secret = hash }
  private-gw { file = gw.pem } }
`,
    })
    const { config, notes, problems } = run('swanctl.conf')
    expect(config.peers).toMatchObject({
      home: {
        auth: { local: 'eap-mschapv2', remote: 'certificate' },
        eap: { user: 'alice', password: 'hush' },
        trust: { ca: [{ file: join(folder, 'x509ca/ca.pem') }] },
      },
      rw: {
        auth: { local: 'certificate', remote: 'eap-mschapv2' },
        eap: { users: { alice: 'hush', bob: 'hash' } },
        key: { file: join(folder, 'private/gw.pem') },
      },
    })
    expect([notes, problems]).toEqual([[], []])
  })

  test('EAP-TLS, as client and as gateway, and with nothing else; childless', () => {
    put({
      'x509ca/ca.pem': '',
      'swanctl.conf': `connections {
  home { remote_addrs = gw.example.org
    childless = force
    local { auth = eap-tls
      id = alice@example.org
      eap_id = alice@example.org
      certs = alice.pem }
    remote { id = gw.example.org }
    children { net { } } }
  rw { local { certs = gw.pem
      id = gw.example.org }
    remote { auth = eap-tls
      eap_id = %any }
    children { net { } } }
  only { local { auth = eap-tls
      eap_id = somebody
      certs = gw.pem }
    remote { auth = eap-tls
      id = alice@example.org
      aaa_id = radius.example.org }
    children { net { } } }
}
secrets { private-gw { file = gw.pem }
  private-alice { file = alice.pem } }
`,
    })
    const { config, notes, why } = run('swanctl.conf')
    const trust = { ca: [{ file: join(folder, 'x509ca/ca.pem') }] }
    expect(config.peers).toMatchObject({
      home: {
        auth: { local: 'eap-tls', remote: 'certificate' },
        certificate: { file: join(folder, 'x509/alice.pem') },
        key: { file: join(folder, 'private/alice.pem') },
        childless: 'force',
        trust,
      },
      rw: {
        auth: { local: 'certificate', remote: 'eap-tls' },
        key: { file: join(folder, 'private/gw.pem') },
        trust,
      },
      only: { auth: 'eap-tls', certificate: { file: join(folder, 'x509/gw.pem') }, trust },
    })
    expect(notes).toEqual([
      'swanctl.conf:16 connections.only.local.eap_id changed',
      'swanctl.conf:20 connections.only.remote.aaa_id dropped',
    ])
    expect(why).toMatch(/`localId`.*\n.*measured by `remoteId`/)
    expect(() => parseConfig(config, sources)).not.toThrow()
  })

  test('what natweave cannot do is refused as a whole, with the reason', () => {
    put({
      'swanctl.conf': `connections {
  old { version = 1
    children { net { } } }
  eap { remote_addrs = gw
    local { auth = eap-aka }
    children { net { } } }
  twice { local-1 { auth = pubkey }
    local-2 { auth = psk }
    children { net { } } }
  empty { remote_addrs = gw }
}`,
    })
    const { config, notes, why } = run('swanctl.conf')
    expect(config).toEqual({ peers: {} })
    expect(notes.filter(note => note.endsWith('refused')).map(note => note.split(' ')[1])).toEqual([
      'connections.old',
      'connections.eap',
      'connections.twice',
      'connections.empty',
    ])
    expect(why).toMatch(/IKEv1.*\n.*eap-aka.*\n.*rounds/s)
  })

  test('each value that is lost is told once, with its line', () => {
    put({
      'swanctl.conf': `connections {
  a {
    local_addrs = 192.0.2.1
    remote_addrs = gw1.example.org, gw2.example.org
    remote_port = 4500
    proposals = aes256-sha256-x25519, 3des-sha1-modp1024
    dpd_timeout = 150s
    frobnicate = yes
    local { auth = psk }
    remote { auth = psk }
    children {
      n { remote_ts = 10.0.0.1-10.0.0.9, 10.1.0.0/16
        mark_in = 42
        replay_window = 0
        policies = yes }
    }
  }
}
authorities { x { cacert = x.pem } }
strange = 1
`,
    })
    const { config, notes, problems } = run('swanctl.conf')
    expect(notes).toEqual([
      'swanctl.conf:2 connections.a changed',
      'swanctl.conf:2 connections.a changed',
      'swanctl.conf:3 connections.a.local_addrs dropped',
      'swanctl.conf:4 connections.a.remote_addrs changed',
      'swanctl.conf:6 connections.a.proposals dropped',
      'swanctl.conf:7 connections.a.dpd_timeout dropped',
      'swanctl.conf:8 connections.a.frobnicate dropped',
      'swanctl.conf:12 connections.a.children.n.remote_ts dropped',
      'swanctl.conf:13 connections.a.children.n.mark_in dropped',
      'swanctl.conf:14 connections.a.children.n.replay_window changed',
      'swanctl.conf:19 authorities.x dropped',
      'swanctl.conf:20 strange dropped',
    ])
    expect(config.peers['a']).toMatchObject({
      remote: 'gw1.example.org:4500',
      psk: { env: 'A_PSK' },
      proposals: ['aes256-sha256-x25519'],
      children: { n: { remote: ['10.1.0.0/16'] } },
    })
    expect(problems).toEqual([])
  })
})

describe('ipsec.conf', () => {
  test('defaults, also=, includes, secrets; conns of one IKE SA become one peer', () => {
    put({
      'ipsec.conf': `# ipsec.conf
version 2
config setup
    uniqueids=no
    charondebug="ike 2, knl 1"

conn %default
    keyexchange=ikev2
    ike=aes256-sha256-modp2048!
    esp=aes128gcm16!
    dpdaction=restart
    dpddelay=30s
    authby=secret

conn gw
    left=%defaultroute
    leftid=@alice.example.org
    leftsourceip=%config
    right=203.0.113.20
    rightid=@moon.example.org
    forceencaps=yes
    leftfirewall=yes

conn lan
    also=gw
    rightsubnet=10.3.0.0/24
    auto=start

conn printers
    also=gw
    rightsubnet=10.7.0.0/24     # the printers
    rightprotoport=tcp/631
    auto=route
    ikelifetime=3h
    reauth=no

conn old
    keyexchange=ikev1
    right=gw
    auto=add

include ipsec.d/*.conf
`,
      'ipsec.d/gateway.conf': `conn rw
    left=203.0.113.20
    leftcert=moonCert.pem
    leftsubnet=10.3.0.0/24
    leftauth=pubkey
    rightauth=pubkey
    right=%any
    rightid=*@example.org
    rightsourceip=10.9.0.0/24
    auto=add
`,
      'ipsec.secrets': `# secrets
@alice.example.org @moon.example.org : PSK "correct: horse # 1"
: PSK 0x1234
: RSA moonKey.pem
alice : EAP "never mind"
`,
      'ipsec.d/cacerts/ca.pem': '',
    })
    const { config, notes, problems } = run('ipsec.conf')
    expect(problems).toEqual([])
    const gw = {
      remote: '203.0.113.20',
      localId: '@alice.example.org',
      remoteId: '@moon.example.org',
      psk: 'correct: horse # 1',
      proposals: ['aes256-sha256-modp2048'],
      addresses: ['ipv4'],
      encapsulation: 'force',
      dpd: '30s',
      reconnect: true,
    }
    const child = { mode: 'tunnel', proposals: ['aes128gcm16'] }
    expect(config).toEqual({
      pools: { rw: { addresses: '10.9.0.0/24' } },
      peers: {
        gw: { ...gw, start: 'connect', children: { gw: child, lan: { ...child, remote: ['10.3.0.0/24'] } } },
        printers: {
          ...gw,
          rekey: '3h',
          children: { printers: { ...child, remote: ['10.7.0.0/24[tcp/631]'], start: 'trap' } },
        },
        rw: {
          remoteId: '*@example.org',
          certificate: { file: join(folder, 'ipsec.d/certs/moonCert.pem') },
          key: { file: join(folder, 'ipsec.d/private/moonKey.pem') },
          trust: { ca: [{ file: join(folder, 'ipsec.d/cacerts/ca.pem') }] },
          proposals: ['aes256-sha256-modp2048'],
          dpd: '30s',
          reconnect: true,
          pool: 'rw',
          children: { rw: { ...child, local: ['10.3.0.0/24'] } },
        },
      },
    })
    expect(notes).toEqual([
      'ipsec.conf:4 config setup: uniqueids dropped',
      'ipsec.conf:5 config setup: charondebug dropped',
      'ipsec.conf:22 conn gw: leftfirewall dropped',
      'ipsec.conf:37 connections.old refused',
      'ipsec.d/gateway.conf:2 conn rw: left dropped',
    ])
  })

  test.each([
    ['conn a\n  right=x\nnonsense', /ipsec\.conf:3: config setup, conn NAME/],
    ['conn a\n  also=b', /ipsec\.conf:1: conn a: there is no conn b/],
    ['conn a\n  also=b\nconn b\n  also=a', /includes itself/],
    ['conn a\n  right=x\ninclude nowhere.conf', /nowhere\.conf, which it includes, does not exist/],
  ])('%j', (text, why) => {
    put({ 'ipsec.conf': text })
    expect(() => run('ipsec.conf')).toThrow(why)
  })
})

test('a file that is not there', () => {
  expect(() => run('swanctl.conf')).toThrow(expect.objectContaining({ code: 'SYSTEM_PERMISSION' }))
})
