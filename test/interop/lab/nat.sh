# NAT behaviours, all made of nftables rules in the router's namespace, where "lan0" is the inner and "wan0" the outer
# interface. In the words of RFC 4787:
#
#   port-restricted  endpoint-independent mapping, address and port-dependent filtering: masquerade. Linux keeps the
#                    inner source port, so all destinations see the same outer port.
#   symmetric        address and port-dependent mapping and filtering: masquerade with a random port for each flow.
#   full-cone        endpoint-independent mapping and filtering: masquerade, and a dynamic map that remembers which
#                    inner host owns an outer port; whoever sends to that port is let through to that host.
#   restricted       the same with address-dependent filtering: a second dynamic set of contacted addresses.
#
# Limit: if two inner hosts use the same source port, the first one owns the outer port in the maps of full-cone and
# restricted until it falls silent.

declare -A NAT_TYPE=() NAT_OPT=()

# nat_parse OPTIONS...: fill NAT_TYPE[nat] and NAT_OPT[option].
nat_parse() {
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "option '$1' needs a value"
    case "$1" in
      --nata|--natb) NAT_TYPE[${1#--}]=$2 ;;
      --block-ports|--mapping-timeout|--loss|--drop-fragments) NAT_OPT[${1#--}]=$2 ;;
      *) die "unknown option '$1'" ;;
    esac
    shift 2
  done
}

# nat_up NAT: install the behaviour chosen by nat_parse.
nat_up() {
  local n=$1 type=${NAT_TYPE[$1]:-port-restricted} masq=masquerade pre='' fwd=''
  local drop=''
  local t=${NAT_OPT[mapping-timeout]:-} loss=${NAT_OPT[loss]:-} ports=${NAT_OPT[block-ports]:-}
  case "$type" in
    port-restricted) ;;
    symmetric)  masq='masquerade random,fully-random' ;;
    full-cone)  pre='iifname "wan0" meta l4proto udp dnat ip to udp dport map @owner' ;;
    restricted) pre='iifname "wan0" udp dport . ip saddr @contacted dnat ip to udp dport map @owner' ;;
    *) die "unknown NAT type '$type'" ;;
  esac
  [ -z "$ports" ] || fwd+="    udp dport { $ports } counter drop"$'\n'
  # the share may have a fraction, e.g. 0.5
  [ -z "$loss" ]  || fwd+="    numgen random mod 10000 < $(awk "BEGIN{printf \"%d\", $loss*100}") counter drop"$'\n'
  # before conntrack puts packets together
  [ "${NAT_OPT[drop-fragments]:-no}" = no ] || drop='ip frag-off & 0x3fff != 0 counter drop'
  cat > "$STATE/$n.nft" <<NFT
table ip lab
delete table ip lab
table ip lab {
  # outer port -> inner host and port, refreshed by outbound packets
  map owner {
    type inet_service : ipv4_addr . inet_service
    size 65535
    flags dynamic,timeout
    timeout ${t:-300}s
  }
  # which outer port has talked to which remote address
  set contacted {
    type inet_service . ipv4_addr
    size 65535
    flags dynamic,timeout
    timeout ${t:-300}s
  }
  chain fragments {
    type filter hook prerouting priority -450; policy accept;
    $drop
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
$fwd
    iifname "lan0" oifname "wan0" meta l4proto udp update @owner { udp sport : ip saddr . udp sport }
    iifname "lan0" oifname "wan0" meta l4proto udp update @contacted { udp sport . ip daddr }
    iifname "lan0" accept
    ct state established,related accept
    ct status dnat accept
  }
  # Unsolicited packets die silently. An ICMP error would confirm a conntrack entry for the outer port and so make a
  # later punch take another port.
  chain input {
    type filter hook input priority filter; policy accept;
    iifname "wan0" ip protocol icmp accept
    iifname "wan0" ct state established,related accept
    iifname "wan0" drop
  }
  chain prerouting {
    type nat hook prerouting priority dstnat;
    $pre
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "wan0" $masq
  }
}
NFT
  in_ns "$n" nft -f "$STATE/$n.nft"
  in_ns "$n" sysctl -qw net.netfilter.nf_conntrack_udp_timeout="${t:-30}" \
    net.netfilter.nf_conntrack_udp_timeout_stream="${t:-120}"
  echo "$type${t:+ timeout=${t}s}${loss:+ loss=$loss%}${ports:+ block-ports=$ports}${drop:+ drop-fragments}" > "$STATE/$n.nat"
}

# nat_cmd NAT TYPE OPTIONS...: change a running NAT; old mappings are dropped.
nat_cmd() {
  local n=$1
  [ -f "$STATE/$n.nat" ] || die "'$n' is no NAT of this topology"
  nat_parse "--$n" "$2" "${@:3}"
  nat_up "$n"
  nat_reset "$n"
}

nat_reset() {
  in_ns "$1" conntrack -F >/dev/null 2>&1
  in_ns "$1" nft 'flush map ip lab owner; flush set ip lab contacted'
}

nat_mappings() {
  in_ns "$1" conntrack -L -p udp 2>/dev/null
  in_ns "$1" nft list map ip lab owner
}
