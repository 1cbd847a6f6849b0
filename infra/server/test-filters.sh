#!/usr/bin/env bash
# Checks fail2ban's filters on log lines of the real Nginx: rejected logins, wrong passwords for /metrics, requests over a limit, and
# a client that writes a log line of its own into its user agent. `make lint-infra` calls it; no root, no network.
set -euo pipefail

# shellcheck source=infra/server/testing.sh
. "$(dirname "${BASH_SOURCE[0]}")/testing.sh"

mapfile -t ports < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*(it.getsockname()[1] for it in sockets), sep="\n")')

# In the gateway's place: every login is wrong.
python3 -c '
import http.server, sys
class Gateway(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def respond(self, status):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def do_POST(self): self.respond(401)
    def do_GET(self): self.respond(401 if "expired" in self.path else 200)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Gateway).serve_forever()' "${ports[0]}" &
pids+=($!)

mkdir -p "$work/state" "$work/logs" "$work/tls"
self_signed localhost "$work/tls/key" "$work/tls/certificate"
echo secret >"$work/password"
export STATE_DIR=$work/state LOG_DIR=$work/logs CERTIFICATE=$work/tls/certificate KEY=$work/tls/key METRICS_PASSWORD_FILE=$work/password LISTEN_ADDR=127.0.0.1 \
    GATEWAY_ADDRESSES=127.0.0.1:${ports[0]} HTTPS_PORT=${ports[1]} HTTP_PORT=${ports[2]} STATUS_PORT=${ports[3]} SERVER_NAME=localhost
"$here/nginx.sh" render
nginx -e "$work/logs/error.log" -p "$work/state" -c "$work/state/nginx.conf" &
pids+=($!)
requests=0
request() {
    curl --silent --insecure --output /dev/null "$@"
    requests=$((requests + 1))
}
edge=https://127.0.0.1:${ports[1]}
# Neither is in the log.
for url in "http://127.0.0.1:${ports[0]}/" "http://127.0.0.1:${ports[3]}/nginx_status"; do
    wait_for "$url" responds "$url"
done

# The limit for logins: six at once, then none for a while.
for _ in {1..10}; do request --request POST "$edge/api/v1/auth/login"; done
for _ in {1..3}; do request --user metrics:wrong "$edge/metrics"; done
# No attacks: an expired token, an unknown path, a good password.
for path in api/v1/files/expired nothing; do request "$edge/$path"; done
request --user metrics:secret "$edge/metrics"
# Whoever could forge a line could have others banned.
request --user-agent '","client":"192.0.2.66","method":"POST","path":"/api/v1/auth/login","status":401,"x":"' "$edge/api/v1/stateless/info"
request --user-agent '","client":"192.0.2.66","method":"POST","path":"/metrics","status":429,"x":"' "$edge/api/v1/stateless/info"
log=$work/logs/access.log
# Each worker of Nginx writes within a second, in its own time.
for _ in {1..100}; do (($(wc -l <"$log") < requests)) || break; sleep 0.1; done

count() { # filter
    fail2ban-regex --print-all-matched "$log" "$here/files/fail2ban/filter.d/$1.conf" >"$work/$1" 2>&1 || fail "fail2ban rejects $1: $(tail -n 3 "$work/$1")"
    sed -n 's/^Lines:.* \([0-9]*\) matched.*/\1/p' "$work/$1"
}
expect() { # filter, lines
    local found
    found=$(count "$1")
    [[ $found == "$2" ]] || fail "$1 matches ${found:-no} lines, not $2, of: $(cat "$log")"
    ! grep -A 100 'Matched line' "$work/$1" | grep -q 'client":"192' || fail "$1 believes a forged line"
}
rejected=$(grep -c '"status":429' "$log") || true
wrong=$(grep -c '"path":"/api/v1/auth/login".*"status":401' "$log") || true
((rejected >= 1 && wrong >= 1)) || fail "Nginx logged $rejected responses of 429 and $wrong of 401: $(cat "$log")"
# The forged lines are in the log, with escaped quotes.
expect tandem-auth "$wrong"
expect tandem-basic-auth 3
expect tandem-limits "$rejected"
echo "of $(wc -l <"$log") lines: $wrong wrong logins, 3 wrong passwords for /metrics, $rejected over a limit, no forged one"
