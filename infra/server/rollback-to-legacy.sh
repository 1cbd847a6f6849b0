#!/usr/bin/env bash
# Goes back to the legacy system (Phase 1), with a notice to clients, and returns from there.
#
#   rollback-to-legacy.sh 192.0.2.9:3000 [SECONDS]   announces the change for SECONDS (600), then switches; then stops our processes
#   rollback-to-legacy.sh --return                   starts our processes, and switches back once they serve
#
# Nginx stays: it sends the legacy paths to the legacy system, and responds with 503 and a problem document to /api/v1. During the
# notice every response has `Sunset`, the time of the change. Nothing is changed if the legacy system does not respond, and it is
# undone if it does not respond through Nginx. No response to a legacy path is an error.
#
# Data does not go back: what was written here stays in our databases, and the legacy system has what it had
# (docs/MIGRATION.md, 'The way back').
#
# It outlasts a restart of the machine: our units are disabled, and nginx.sh takes the switch from /etc/tandem.
#
#   NGINX_STATE   Nginx's state folder, with nginx.conf and nginx.pid; by default /run/tandem-nginx
#   TANDEM_ETC    instead of /etc/tandem
#   EDGE          URL of Nginx on this machine; by default https://127.0.0.1
#   GATEWAY       URL of a gateway on this machine; by default http://127.0.0.1:8000, or https if nginx.env has GATEWAY_TLS_NAME
set -euo pipefail

state=${NGINX_STATE:-/run/tandem-nginx}
etc=${TANDEM_ETC:-/etc/tandem}
edge=${EDGE:-https://127.0.0.1}
scheme=http
if grep -qs '^GATEWAY_TLS_NAME=.' "$etc/nginx.env"; then scheme=https; fi
gateway=${GATEWAY:-$scheme://127.0.0.1:8000}
units=('tandem-gateway@*' 'tandem-stateful@*' 'tandem-stateless@*')
# A path of the legacy system that changes nothing.
path=/api/stateless/info
fail() {
    echo "error: $*" >&2
    exit 1
}

reload() {
    nginx -e "$state/error.log" -p "$state" -c "$state/nginx.conf" -t -q || return 1
    kill -HUP "$(cat "$state/nginx.pid")"
}

# Writes a file of Nginx's configuration. If Nginx rejects it, it is as before.
configure() { # file, content
    printf '%s\n' "$2" >"$state/$1.new"
    mv "$state/$1.new" "$state/$1"
    reload || {
        rm "$state/$1"
        fail "nginx rejects the configuration; nothing was changed"
    }
}

unconfigure() { # files
    (cd "$state" && rm -f "$@")
    reload
}

# Only the gateway names the instance that served.
served_by() { # legacy or us, within seconds
    local deadline=$((SECONDS + $2)) header
    until header=$(curl --silent --fail --insecure --max-time 5 --output /dev/null --dump-header - "$edge$path") &&
        if grep -qi '^x-served-by:' <<<"$header"; then [[ $1 == us ]]; else [[ $1 == legacy ]]; fi; do
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
}

# On this machine no certificate has to be verified.
responds_within() { # seconds, URL
    local deadline=$((SECONDS + $1))
    until curl --silent --fail --insecure --max-time 5 --output /dev/null "$2"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.5
    done
}

# Each worker of before is gone, so nothing is on its way to us. Their streams end within worker_shutdown_timeout.
await_old_workers() { # process ids of the workers before
    local deadline=$((SECONDS + 60)) pid
    for pid; do
        while kill -0 "$pid" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.2; done
    done
}

[[ -s $state/nginx.pid ]] || fail "nginx does not run in $state; name its folder in NGINX_STATE"
case ${1:-} in
    --return)
        [[ -e $state/legacy.conf ]] || fail 'the legacy system does not serve'
        mapfile -t ours <"$etc/legacy.units"
        systemctl enable --now "${ours[@]}"
        responds_within 30 "$gateway$path" || fail 'our gateway does not respond; the legacy system still serves'
        mv "$state/legacy.conf" "$state/legacy.off"
        reload
        served_by us 30 || {
            mv "$state/legacy.off" "$state/legacy.conf"
            reload
            fail 'our processes do not respond through nginx; the legacy system still serves'
        }
        rm "$state/legacy.off" "$etc/legacy.conf" "$etc/legacy.units"
        echo 'Tandem serves again. Import what was changed at the legacy system meanwhile: docs/MIGRATION.md'
        exit ;;
    '' | -*) fail 'name the address of the legacy system, such as 192.0.2.9:3000, or --return' ;;
esac

legacy=$1 notice_s=${2:-600}
[[ $legacy =~ ^[][A-Za-z0-9.:-]+:[0-9]+$ ]] || fail "'$legacy' is no host and port"
[[ $notice_s =~ ^[0-9]+$ ]] || fail "'$notice_s' is no number of seconds"
[[ ! -e $state/legacy.conf ]] || fail 'the legacy system serves already'
curl --silent --fail --max-time 5 --output /dev/null "http://$legacy$path" ||
    fail "the legacy system at $legacy does not respond to $path; nothing was changed. Start it first"

if ((notice_s)); then
    # A regular expression, since it takes precedence over the map's default.
    configure notice.map "~. \"$(date --utc --date="+$notice_s seconds" '+%a, %d %b %Y %H:%M:%S GMT')\";"
    echo "Responses announce that the API ends in $notice_s s."
    trap 'unconfigure notice.map; fail "interrupted; nothing was changed"' INT TERM HUP
    sleep "$notice_s" &
    wait $!
    trap - INT TERM HUP
    rm -f "$state/notice.map"
fi
mapfile -t workers < <(pgrep -P "$(cat "$state/nginx.pid")" || true)
configure legacy.conf "location ~ ^/api/(stateless|stateful)/ {
    limit_req zone=api burst=1000 nodelay;
    proxy_pass http://$legacy\$request_uri;
}
location ~ ^/api/v1/ {
    error_page 503 /_problem/legacy.\$problem_form;
    return 503;
}"
if ! served_by legacy 15; then
    unconfigure legacy.conf
    fail "the legacy system does not respond through nginx; Tandem serves as before"
fi
cp "$state/legacy.conf" "$etc/"
await_old_workers "${workers[@]}"
systemctl list-units --plain --no-legend --state=active "${units[@]}" | awk '{ print $1 }' >"$etc/legacy.units"
mapfile -t ours <"$etc/legacy.units"
systemctl disable --now "${ours[@]}"
echo "The legacy system at $legacy serves; our processes have ended, and their data stays. Back with: rollback-to-legacy.sh --return"
