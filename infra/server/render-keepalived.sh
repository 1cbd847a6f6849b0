#!/bin/sh
# Prints keepalived's configuration of one of two hosts. Everything but the three options below is the same on both.
#
#   render-keepalived.sh --address=203.0.113.10/24 --own=203.0.113.11 --peer=203.0.113.12 --priority=110 >/etc/keepalived/keepalived.conf
#   render-keepalived.sh --address=203.0.113.10/24 --own=203.0.113.12 --peer=203.0.113.11 --priority=100 >/etc/keepalived/keepalived.conf
#
#   --interface=eth0    --router=51    a number of 1 to 255 that no other pair in the network has
#   --check=/opt/tandem/infra/server/keepalived/check-edge.sh
set -eu

usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
    exit 64
}
address='' own='' peer='' priority='' interface=eth0 router=51 check=/opt/tandem/infra/server/keepalived/check-edge.sh user=nobody
for option; do
    value=${option#*=}
    # Everything of these is an address, a path, a name or a number.
    case $value in *[!A-Za-z0-9./:_-]* | '') usage ;; esac
    case $option in
        --address=*/*) address=$value ;;
        --own=*) own=$value ;;
        --peer=*) peer=$value ;;
        --priority=*) priority=$value ;;
        --interface=*) interface=$value ;;
        --router=*) router=$value ;;
        --check=*) check=$value ;;
        --script-user=*) user=$value ;;
        *) usage ;;
    esac
done
for value in "$address" "$own" "$peer" "$priority"; do [ -n "$value" ] || usage; done
[ "$own" != "$peer" ] || {
    echo "error: --own and --peer are the same; each host names the other one" >&2
    exit 64
}
sed -e "s|@@NAME@@|tandem-$priority|; s|@@SCRIPT_USER@@|$user|; s|@@CHECK@@|$check|; s|@@INTERFACE@@|$interface|g" \
    -e "s|@@ROUTER@@|$router|; s|@@PRIORITY@@|$priority|; s|@@OWN@@|$own|; s|@@PEER@@|$peer|; s|@@ADDRESS@@|$address|" \
    "$(dirname "$0")/keepalived/keepalived.conf.template"
