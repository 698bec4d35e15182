# Namespaces, cables, addresses and the topologies.

die() { echo "lab: $*" >&2; exit 1; }
ns()  { echo "$LAB_PREFIX-$1"; }
in_ns() {
  local h=$1; shift
  [ -e "/run/netns/$(ns "$h")" ] || die "no host '$h' (lab status)"
  ip netns exec "$(ns "$h")" "$@"
}

# mkns HOST: an empty namespace with loopback and no IPv6 noise.
mkns() {
  ip netns add "$(ns "$1")"
  echo "$1" >> "$STATE/hosts"
  ip -n "$(ns "$1")" link set lo up
  in_ns "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
    net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 2>/dev/null || true
}

# mkbridge HOST NAME
mkbridge() {
  ip -n "$(ns "$1")" link add "$2" type bridge forward_delay 0 stp_state 0 mcast_snooping 0
  ip -n "$(ns "$1")" link set "$2" up
}

# plug HOST IFNAME BRIDGEHOST BRIDGE: a cable from HOST to a bridge.
plug() {
  local port="p-$1-$2"; port=${port:0:15}
  ip link add "$2" netns "$(ns "$1")" type veth peer name "$port" netns "$(ns "$3")"
  ip -n "$(ns "$3")" link set "$port" master "$4" up
  # datagrams are cut apart before they are on the cable, as on a real one: captures and counters see each
  in_ns "$1" ethtool -K "$2" tx-udp-segmentation off
  ip -n "$(ns "$1")" link set "$2" up
}

addr() { ip -n "$(ns "$1")" addr add "$3" dev "$2"; }

# public HOST IFNAME ADDR: connect HOST to the public segment. Both documentation prefixes are on-link there, so there
# is no core router.
public() {
  local p
  plug "$1" "$2" inet br0
  addr "$1" "$2" "$3/24"
  for p in 203.0.113.0/24 198.51.100.0/24; do
    ip -n "$(ns "$1")" route show "$p" | grep -q . || ip -n "$(ns "$1")" route add "$p" dev "$2" src "$3"
  done
}

# lanhost HOST ROUTER ADDR GATEWAY: connect HOST to the LAN of a router.
lanhost() {
  mkns "$1"
  plug "$1" eth0 "$2" lan0
  addr "$1" eth0 "$3/24"
  ip -n "$(ns "$1")" route add default via "$4"
}

# router NAME LANADDR: a namespace that forwards, with a LAN bridge "lan0".
router() {
  mkns "$1"
  in_ns "$1" sysctl -qw net.ipv4.ip_forward=1
  mkbridge "$1" lan0
  addr "$1" lan0 "$2/24"
}

# nat_router NAME LANADDR WANADDR
nat_router() { router "$1" "$2"; public "$1" wan0 "$3"; nat_up "$1"; }

lab_up() {
  [ $# -ge 1 ] || die "up: which topology?"
  local topo=$1 lana=10.1.0 lanb=10.2.0; shift
  if [ -d "$STATE" ]; then lab_down; fi
  mkdir -p "$STATE"; chmod 700 "$STATE"
  nat_parse "$@"

  mkns inet; mkbridge inet br0
  mkns med; public med eth0 203.0.113.10
  router moon 10.3.0.1; public moon eth0 203.0.113.20
  lanhost mars moon 10.3.0.5 10.3.0.1

  case "$topo" in
    direct)
      mkns alice; public alice eth0 203.0.113.50
      mkns bob;   public bob   eth0 203.0.113.60 ;;
    nat1)
      nat_router nata $lana.1 198.51.100.1; lanhost alice nata $lana.5 $lana.1 ;;
    roam)
      nat_router nata $lana.1 198.51.100.1; lanhost alice nata $lana.5 $lana.1
      public alice eth1 203.0.113.50; ip -n "$(ns alice)" link set eth1 down ;;
    nat2|overlap)
      [ "$topo" = nat2 ] || { lana=10.0.0; lanb=10.0.0; }
      nat_router nata $lana.1 198.51.100.1; lanhost alice nata $lana.5 $lana.1
      nat_router natb $lanb.1 198.51.100.2; lanhost bob natb $lanb.5 $lanb.1 ;;
    samenat)
      nat_router nata $lana.1 198.51.100.1
      lanhost alice nata $lana.5 $lana.1; lanhost bob nata $lana.6 $lana.1 ;;
    cgnat)
      router cgn 100.64.0.1; public cgn wan0 198.51.100.100; nat_up cgn
      router nata $lana.1; plug nata wan0 cgn lan0; addr nata wan0 100.64.0.2/24
      ip -n "$(ns nata)" route add default via 100.64.0.1; nat_up nata
      lanhost alice nata $lana.5 $lana.1
      nat_router natb $lanb.1 198.51.100.2; lanhost bob natb $lanb.5 $lanb.1 ;;
    *) lab_down; die "unknown topology '$topo'" ;;
  esac
  echo "$topo $*" > "$STATE/topology"
}

# Only processes inside our own namespaces are stopped, each by its PID.
lab_down() {
  [ -f "$STATE/hosts" ] || { rm -rf "$STATE"; return 0; }
  local h p sig left
  for sig in TERM KILL; do
    for h in $(cat "$STATE/hosts"); do
      for p in $(ip netns pids "$(ns "$h")" 2>/dev/null); do
        kill -CONT "$p" 2>/dev/null || true
        kill -$sig "$p" 2>/dev/null || true
      done
    done
    for _ in $(seq 20); do
      left=0
      for h in $(cat "$STATE/hosts"); do
        [ -z "$(ip netns pids "$(ns "$h")" 2>/dev/null)" ] || left=1
      done
      [ $left = 1 ] || break 2
      sleep 0.1
    done
  done
  for h in $(cat "$STATE/hosts"); do ip netns del "$(ns "$h")" 2>/dev/null || true; done
  rm -rf "$STATE"
}

lab_status() {
  [ -f "$STATE/topology" ] || { echo "nothing is up"; return 0; }
  echo "topology: $(cat "$STATE/topology")"
  local h
  for h in $(cat "$STATE/hosts"); do
    printf '%-6s %s' "$h" "$(ip -n "$(ns "$h")" -4 -o addr show | awk '$2!="lo"{printf "%s=%s ", $2, $4}')"
    [ ! -f "$STATE/$h.nat" ] || printf ' [NAT: %s]' "$(cat "$STATE/$h.nat")"
    echo
  done
}
