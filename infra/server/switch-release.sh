#!/usr/bin/env bash
# Switches this server to another release and replaces its processes one after the other, so that no request fails.
#
#   switch-release.sh 0.3.1        to the programs in /usr/local/lib/tandem/releases/0.3.1
#
# There `current` is a link to the release that runs, and `previous` to the one before, to which rollback.sh goes back. The programs
# of /usr/local/bin, which the units start, become links to those of `current`; what was installed there is the release `first`.
# The units are tandem-stateful@N, tandem-stateless@N and tandem-gateway@a or @b. Nothing is changed if the release lacks a
# program or rejects the configuration. If a process does not come up, the others go on with what they run, and the error says so.
# With the current release it replaces the processes again, for example after that.
#
#   TANDEM_ROOT       instead of /usr/local/lib/tandem
#   TANDEM_BIN        instead of /usr/local/bin
#   GATEWAY_CONFIG    instead of /etc/tandem/gateway.toml
#   GATEWAY_CONTROL   the gateway's control plane, by default http://127.0.0.1:8001
set -euo pipefail

root=${TANDEM_ROOT:-/usr/local/lib/tandem}
bin=${TANDEM_BIN:-/usr/local/bin}
programs=(gateway stateless-svc stateful-svc)
config=${GATEWAY_CONFIG:-/etc/tandem/gateway.toml}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fail() {
    echo "error: $*" >&2
    exit 1
}

release=${1:?name a release, a folder of $root/releases}
new=$root/releases/$release
[[ $release != */* && -d $new ]] || fail "there is no release '$release' in $root/releases; there are: $(ls "$root/releases")"
for program in "${programs[@]}"; do
    "$new/$program" --version >/dev/null || fail "$new/$program does not run"
done
# An older gateway rejects what only a newer one knows.
"$new/gateway" --check-config --config "$config" >/dev/null || fail "$release rejects $config; nothing was changed"
old=$(basename "$(readlink "$root/current" || true)")
# After a switch that failed, 'previous' stays what it is.
again=0
if [[ $release == "$old" ]]; then
    again=1
    old=$(basename "$(readlink "$root/previous" || echo "$release")")
fi

# One switcher at a time.
exec 9>"$root/.lock"
flock -n 9 || fail 'another switch is in progress'

# A rename is atomic: a process that starts meanwhile finds one release or the other.
point() { # link, release
    ln -sfn "releases/$2" "$root/.$1.new"
    mv -T "$root/.$1.new" "$root/$1"
}
if [[ -z $old ]]; then
    # The first release was installed as files.
    old=first
    mkdir -p "$root/releases/first"
    for program in "${programs[@]}"; do cp "$bin/$program" "$root/releases/first/"; done
    point current first
fi
for program in "${programs[@]}"; do
    ln -sfn "$root/current/$program" "$bin/.$program.new"
    mv -T "$bin/.$program.new" "$bin/$program"
done
if ((!again)); then
    point previous "$old"
    point current "$release"
fi

# The gateway must send requests to this one again before the next one stops.
await_healthy() { # pool, instance
    local deadline=$((SECONDS + 120)) state
    until state=$("$new/gateway" ctl pools "$1" | awk -v name="$2" '$1 == name { print $3 }') && [[ $state == healthy ]]; do
        ((SECONDS < deadline)) || fail "$2 is '${state:-unknown}' to the gateway. It runs $release; those that were not replaced run $old. See: journalctl -u tandem-${2/-/@}; again with: switch-release.sh $release, back with: switch-release.sh $old"
        sleep 0.5
    done
}

for pool in stateful stateless; do
    mapfile -t units < <(systemctl list-units --plain --no-legend --state=active "tandem-$pool@*.service" | awk '{ print $1 }')
    for unit in "${units[@]}"; do
        number=${unit#"tandem-$pool@"}
        # SIGTERM announces the stop to the gateways, which send nothing new.
        systemctl restart "$unit" || fail "$unit does not start with $release; the others run $old. See: journalctl -u $unit; again with: switch-release.sh $release, back with: switch-release.sh $old"
        await_healthy "$pool" "$pool-${number%.service}"
        echo "$pool-${number%.service} runs $release"
    done
done
"$here/upgrade-gateway.sh"
echo "$release is current, $old is previous"
