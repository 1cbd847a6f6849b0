#!/bin/sh
# Renders Nginx's configuration for gateways on this host, and checks it. tandem-nginx.service calls it.
#
#   nginx.sh render         writes $STATE_DIR/nginx.conf (/run/tandem-nginx); a wrong one leaves the old file in force
#
# From the environment (/etc/tandem/nginx.env):
#   CERTIFICATE, KEY        PEM files
#   SERVER_NAME             hosts that plain HTTP is redirected for, separated by commas
#   GATEWAY_ADDRESSES       data planes, separated by commas; by default 127.0.0.1:8000
#   GATEWAY_CONTROL_PLANE   for /metrics; by default 127.0.0.1:8001
#   HTTPS_PORT, HTTP_PORT, STATUS_PORT, LISTEN_ADDR   443, 80, 8081, 0.0.0.0
#   METRICS_PASSWORD_FILE   /etc/tandem/metrics_password
#   GATEWAY_TLS_NAME, TLS_CA_FILE  for gateways with TLS: a DNS name of their certificates, and their authorities (PEM)
#   LIMIT_EXEMPT            networks without limits, separated by commas
set -eu

fail() {
    echo "nginx.sh: $*" >&2
    exit 64
}
[ "${1:-}" = render ] || fail 'usage: nginx.sh render'

source=$(cd "$(dirname "$0")/../nginx" && pwd)
state=${STATE_DIR:-/run/tandem-nginx}
logs=${LOG_DIR:-/var/log/tandem-nginx}
[ -s "${CERTIFICATE:-}" ] || fail "CERTIFICATE is '${CERTIFICATE:-}', which is no file; for example: /etc/letsencrypt/live/api.example.org/fullchain.pem"
[ -s "${KEY:-}" ] || fail "KEY is '${KEY:-}', which is no file; for example: /etc/letsencrypt/live/api.example.org/privkey.pem"

# shellcheck source=infra/nginx/render.sh
. "$source/render.sh"
given=$(server_names_given)
server_names=$(echo "$given" | grep . | without_duplicates)
gateway_upstream=
set -f # a `*` is no pattern
for gateway in $(echo "${GATEWAY_ADDRESSES:-127.0.0.1:8000}" | tr ',' ' '); do
    case $gateway in
        *[!A-Za-z0-9.:[\]-]*) fail "GATEWAY_ADDRESSES has '$gateway', which is no address; for example: GATEWAY_ADDRESSES=127.0.0.1:8000,127.0.0.1:8004" ;;
    esac
    gateway_upstream="$gateway_upstream server $gateway max_fails=0;"
done
set +f
choose_gateway_tls

# A copy, which no pull of a new release changes under the running Nginx.
rm -rf "$state/conf.new"
cp -r "$source" "$state/conf.new"
if [ -d /var/lib/tandem-acme ]; then
    mkdir -p "$state/conf.new/acme"
    cp "$(dirname "$0")/files/nginx/acme.conf" "$state/conf.new/acme/webroot.conf"
fi
chmod -R a+rX "$state/conf.new"
# While the legacy system serves: rollback-to-legacy.sh.
[ ! -e /etc/tandem/legacy.conf ] || cp /etc/tandem/legacy.conf "$state/legacy.conf"
ln -sf "$logs/access.log" "$state/access.log"
ln -sf "$logs/error.log" "$state/error.log"

worker=www-data
umask 027
printf 'metrics:{PLAIN}%s\n' "$(cat "${METRICS_PASSWORD_FILE:-/etc/tandem/metrics_password}")" >"$state/htpasswd.new"
[ "$(id -u)" != 0 ] || chgrp "$worker" "$state/htpasswd.new"
mv "$state/htpasswd.new" "$state/htpasswd"
umask 022

listen_addr=${LISTEN_ADDR:-0.0.0.0} status_listen=127.0.0.1:${STATUS_PORT:-8081}
https_port=${HTTPS_PORT:-443} http_port=${HTTP_PORT:-80} public_port=${PUBLIC_HTTPS_PORT:-${HTTPS_PORT:-443}}
if_direct='' if_proxied='#' if_upstream='' if_dns='#' resolver=127.0.0.53
metrics_upstream="server ${GATEWAY_CONTROL_PLANE:-127.0.0.1:8001};"
gateway=gateway gateway_metrics=gateway_metrics
certificate=$CERTIFICATE key=$KEY
brotli=$(find /usr/lib/nginx/modules /usr/share/nginx/modules -name ngx_http_brotli_filter_module.so 2>/dev/null | head -n 1)
# Only root may choose the workers' user.
[ "$(id -u)" = 0 ] || worker=
# The first is checked, the second is loaded; they differ in the folder alone.
for folder in conf.new conf; do
    conf=$state/$folder
    render "$source/nginx.conf.template" "$state/nginx.for-$folder"
done
# Before anything that is in force is replaced.
"${NGINX:-/usr/sbin/nginx}" -t -q -e stderr -p "$state" -c "$state/nginx.for-conf.new" ||
    fail 'Nginx rejects the configuration; the old one stays in force'
rm -rf "$state/conf" "$state/nginx.for-conf.new"
mv "$state/conf.new" "$state/conf"
mv "$state/nginx.for-conf" "$state/nginx.conf"
