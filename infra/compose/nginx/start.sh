#!/bin/sh
# Starts Nginx in its container: renders the shared configuration and uses the certificate of the secrets. In development it
# creates a missing certificate. Options are passed to Nginx: -t only tests. The script stays as process 1 to announce a stop.
set -eu

state=${STATE_DIR:-/run/tandem}
conf=${CONF_DIR:-/etc/tandem/nginx}
secrets=${SECRETS_DIR:-/run/secrets}
fail() {
    echo "nginx: $*" >&2
    exit 64
}

# shellcheck source=infra/nginx/render.sh
. "$conf/render.sh"

mode=${TANDEM_MODE:-development}
case $mode in
    development | production) ;;
    *) fail "TANDEM_MODE is '$mode', neither development nor production; for example: TANDEM_MODE=production" ;;
esac

# Creates an authority, authority.pem, and a certificate signed by it; not every client accepts a self-signed authority as a
# server. Both stay for later containers, so that clients keep their trust.
make_certificate() {
    new_key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    # shellcheck disable=SC2086 # several words
    openssl req -x509 $new_key -days 30 -keyout "$tls/authority.key" -out "$tls/authority.pem" \
        -subj "/CN=Tandem development authority" &&
        openssl req -new $new_key -keyout "$key" -out "$tls/request.pem" -subj "/CN=localhost" &&
        echo "subjectAltName=DNS:localhost,IP:127.0.0.1" >"$tls/extensions" &&
        openssl x509 -req -in "$tls/request.pem" -CA "$tls/authority.pem" -CAkey "$tls/authority.key" -CAcreateserial -days 30 \
            -extfile "$tls/extensions" -out "$certificate" &&
        rm "$tls/authority.key" "$tls/request.pem" "$tls/extensions"
}

if [ -s "$secrets/tls_certificate" ] && [ -s "$secrets/tls_key" ]; then
    certificate=$secrets/tls_certificate
    key=$secrets/tls_key
elif [ "$mode" = production ]; then
    fail "there is no certificate: put tls_certificate and tls_key (PEM) into infra/compose/secrets/production"
else
    tls=${TLS_DIR:-$state/tls}
    mkdir -p "$tls"
    certificate=$tls/certificate.pem
    key=$tls/key.pem
    week_s=604800
    # Several containers share the folder.
    exec 9>"$tls/lock"
    flock 9
    if ! openssl x509 -in "$certificate" -noout -checkend $week_s >/dev/null 2>&1; then
        output=$(make_certificate 2>&1) || fail "cannot create a certificate: $output"
    fi
    exec 9>&-
fi

# Hosts that are redirected from plain HTTP: those of the certificate (clients accept no others), of SERVER_NAME, and of
# Compose's network.
certified=$(openssl x509 -in "$certificate" -noout -ext subjectAltName 2>/dev/null |
    tr ',' '\n' | sed -n 's/^ *\(DNS\|IP Address\)://p')
given=$(server_names_given)
# No IPv6: openssl prints it in another form than clients.
certified=$(echo "$certified" | grep -x '[A-Za-z0-9.*-]*') || :
server_names=$(printf '%s\n' haproxy nginx nginx-1 nginx-2 "$certified" "$given" | grep . | without_duplicates)

password=$(cat "$secrets/metrics_password")
case $mode$password in
    production*development-only*) fail "metrics_password is a development secret, which the repository publishes" ;;
esac
printf 'metrics:{PLAIN}%s\n' "$password" >"$state/htpasswd"

# Logs go to standard output.
ln -sf /dev/stdout "$state/access.log"
ln -sf /dev/stderr "$state/error.log"

# Behind HAProxy, which sends the PROXY protocol; else clients connect directly.
case ${PROXY_PROTOCOL:-0} in
    0) if_direct='' if_proxied='#' ;;
    1) if_direct='#' if_proxied='' ;;
    *) fail "PROXY_PROTOCOL is '$PROXY_PROTOCOL', neither 0 nor 1; for example: PROXY_PROTOCOL=1" ;;
esac

# Since 1.27.3 Nginx can keep connections to servers whose names it resolves again and again. When the addresses change while it
# connects to one, it gives the request up and tries no other (ngx_http_upstream_round_robin.c). So where an address is gone
# before its name is, as with Docker, such requests fail when a gateway stops.
data_planes=${GATEWAY:-gateway:8000}
metrics=${GATEWAY_METRICS:-gateway:8003}
version=$(nginx -v 2>&1 | sed 's|.*/\([0-9.]*\).*|\1|')
connections=${GATEWAY_CONNECTIONS:-kept}
case $connections in
    kept | new) ;;
    *) fail "GATEWAY_CONNECTIONS is '$connections', neither kept nor new; for example: GATEWAY_CONNECTIONS=new" ;;
esac
[ "$(printf '%s\n1.27.3\n' "$version" | sort -V | head -n 1)" = 1.27.3 ] || connections=new
if [ "$connections" = kept ]; then
    if_upstream='' gateway=gateway gateway_metrics=gateway_metrics
else
    if_upstream='#' gateway=$data_planes gateway_metrics=$metrics
fi

choose_gateway_tls
listen_addr=0.0.0.0 status_listen=0.0.0.0:${STATUS_PORT:-8081}
https_port=${LISTEN_HTTPS_PORT:-8443} http_port=${LISTEN_HTTP_PORT:-8080} public_port=${PUBLIC_HTTPS_PORT:-8443}
if_dns='' resolver=${RESOLVER:-127.0.0.11}
gateway_upstream="server $data_planes resolve max_fails=0;"
metrics_upstream="server $metrics resolve max_fails=0;"
# The container's own user serves, and the official image has no brotli module.
worker='' brotli=''
render "$conf/nginx.conf.template" "$state/nginx.conf"

if [ "$#" -gt 0 ]; then
    exec nginx -e /dev/stderr -p "$state" -c "$state/nginx.conf" "$@"
fi

# Pre-stop delay: HAProxy must see the failing check before the listeners close. It checks every 0.5 s, and the second failure
# counts.
announce_s=3
[ "${PROXY_PROTOCOL:-0}" = 1 ] || announce_s=0
rm -f "$state/draining"
nginx -e /dev/stderr -p "$state" -c "$state/nginx.conf" &
nginx=$!
# shellcheck disable=SC2317 # called by the trap
stop() {
    touch "$state/draining"
    sleep "$announce_s"
    kill -QUIT "$nginx"
}
trap stop QUIT TERM
# A trapped signal interrupts the wait, too.
while kill -0 "$nginx" 2>/dev/null; do
    status=0
    wait "$nginx" || status=$?
done
exit "$status"
