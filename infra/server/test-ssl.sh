#!/usr/bin/env bash
# Gets a certificate by setup-ssl.sh from an authority on this machine (pebble), renews it, and has Nginx reload both times, while
# clients connect all the time. test-setup.sh calls it in the system that it has set up, in a network of its own; don't call it on a
# machine that serves.
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail

# shellcheck source=infra/server/testing.sh
. "$(dirname "${BASH_SOURCE[0]}")/testing.sh"

at_failure() { tail -n 5 "$work"/*.log; }
domain=api.example.org
echo "127.0.0.1 localhost $domain" >/etc/hosts

# The authority, and what it is trusted by.
self_signed localhost "$work/key" "$work/authority" -addext subjectAltName=DNS:localhost
cat >"$work/pebble.json" <<JSON
{"pebble": {"listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000", "certificate": "$work/authority",
  "privateKey": "$work/key", "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "", "externalAccountBindingRequired": false}}
JSON
PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 pebble -config "$work/pebble.json" >"$work/pebble.log" 2>&1 &
pids+=($!)

# Nginx as tandem-nginx.service starts it, before something that responds.
python3 -c '
import http.server
class Gateway(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Gateway).serve_forever()' 2>"$work/gateway.log" &
pids+=($!)
mkdir -p /run/tandem-nginx
cat >"$work/systemctl" <<SYSTEMCTL
#!/bin/sh
# In place of a running systemd: what the unit does at a reload.
[ "\$*" = 'reload tandem-nginx.service' ] || exit 64
set -ae
. /etc/tandem/nginx.env
LIMIT_EXEMPT=127.0.0.0/8
$here/nginx.sh render
kill -HUP "\$(cat /run/tandem-nginx/nginx.pid)"
SYSTEMCTL
chmod 755 "$work/systemctl"
(
    set -a
    # shellcheck source=/dev/null
    source /etc/tandem/nginx.env
    LIMIT_EXEMPT=127.0.0.0/8 "$here/nginx.sh" render
)
nginx -e /var/log/tandem-nginx/error.log -p /run/tandem-nginx -c /run/tandem-nginx/nginx.conf 2>"$work/nginx.log" &
pids+=($!)
wait_for 'Nginx' responds "https://$domain/health"

served() { # issuer and serial number
    openssl s_client -connect 127.0.0.1:443 -servername "$domain" </dev/null 2>/dev/null | openssl x509 -noout -issuer -serial | tr '\n' ' '
}
# A reload is over when new connections get it.
renewed() { # what it was before
    for _ in {1..100}; do
        [[ $(served) == "$1" ]] || return 0
        sleep 0.1
    done
    fail "Nginx still serves $1"
}
before=$(served)
[[ $before == *"CN = $domain"* ]] || fail "Nginx does not begin with its own certificate: $before"

python3 "$here/clients.py" "$work/stop" GET /api/v1/stateless/info 200 "$domain" >"$work/clients.log" 2>&1 &
clients=$!
pids+=("$clients")

export SYSTEMCTL=$work/systemctl REQUESTS_CA_BUNDLE=$work/authority
wait_for 'the authority' responds https://localhost:14000/dir
"$here/setup-ssl.sh" --domain="$domain" --email=ops@example.org --server=https://localhost:14000/dir >"$work/certbot.log" 2>&1 || fail "setup-ssl.sh: $(cat "$work/certbot.log")"
renewed "$before"
first=$(served)
[[ $first == *Pebble* ]] || fail "the certificate is of another issuer: $first"
# Again: what is valid stays.
"$here/setup-ssl.sh" --domain="$domain" --email=ops@example.org --server=https://localhost:14000/dir >>"$work/certbot.log" 2>&1 || fail 'setup-ssl.sh fails the second time'
[[ $(served) == "$first" ]] || fail 'setup-ssl.sh replaced a certificate that is valid'
certbot renew --force-renewal --no-random-sleep-on-renew --quiet >>"$work/certbot.log" 2>&1 || fail "certbot renew: $(tail -n 20 "$work/certbot.log")"
renewed "$first"
[[ $(served) == *Pebble* ]] || fail 'the renewed certificate is of another issuer'
grep -q "tandem_certificate_expiry_timestamp_seconds.*live/$domain" /var/lib/prometheus/node-exporter/certificates.prom || fail 'its expiry is not exported'
# A key that only root may read.
[[ $(stat -L -c %a "/etc/letsencrypt/live/$domain/privkey.pem") == 600 ]] || fail 'others can read the key'

touch "$work/stop"
wait "$clients" || fail "requests failed: $(cat "$work/clients.log")"
echo "issued, and renewed: $(cat "$work/clients.log")"
