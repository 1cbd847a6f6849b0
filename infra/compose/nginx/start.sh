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
server_names="haproxy nginx-1 nginx-2"
set -f # a `*` of a name is no pattern
for name in $certified; do
    # No IPv6: openssl prints it in another form than clients.
    case $name in *[!A-Za-z0-9.*-]*) ;; *) server_names="$server_names $name" ;; esac
done
for name in $(echo "${SERVER_NAME:-}" | tr ',' ' '); do
    case $name in
        *[!A-Za-z0-9.*:[\]-]*) fail "SERVER_NAME has '$name', which is not a host; for example: SERVER_NAME=api.example.com,*.example.org" ;;
    esac
    server_names="$server_names $name"
done
set +f
# Nginx warns about duplicates, and the template has this machine's names already.
server_names=$(echo "$server_names" | tr ' ' '\n' | sort -u | grep -vx -e localhost -e 127.0.0.1 -e '\[::1\]' | tr '\n' ' ')

password=$(cat "$secrets/metrics_password")
case $mode$password in
    production*development-only*) fail "metrics_password is a development secret, which the repository publishes" ;;
esac
printf 'metrics:{PLAIN}%s\n' "$password" >"$state/htpasswd"

unlimited=
for network in $(echo "${LIMIT_EXEMPT:-}" | tr ',' ' '); do
    unlimited="$unlimited$network 0; "
done

# Logs go to standard output.
ln -sf /dev/stdout "$state/access.log"
ln -sf /dev/stderr "$state/error.log"

# The official image has no brotli module, so none is loaded.
sed -e "s|@@LISTEN_ADDR@@|0.0.0.0|g" \
    -e "s|@@HTTPS_PORT@@|8443|g" \
    -e "s|@@HTTP_PORT@@|8080|g" \
    -e "s|@@PUBLIC_PORT@@|${PUBLIC_HTTPS_PORT:-8443}|g" \
    -e "s|@@SERVER_NAMES@@|$server_names|g" \
    -e "s|@@STATUS_LISTEN@@|0.0.0.0:8081|g" \
    -e "s|@@IF_DIRECT@@|#|g" \
    -e "s|@@IF_PROXIED@@||g" \
    -e "s|@@IF_FIXED@@|#|g" \
    -e "s|@@IF_DNS@@||g" \
    -e "s|@@GATEWAY_UPSTREAM@@||g" \
    -e "s|@@METRICS_UPSTREAM@@||g" \
    -e "s|@@RESOLVER@@|${RESOLVER:-127.0.0.11}|g" \
    -e "s|@@GATEWAY@@|gateway:8000|g" \
    -e "s|@@GATEWAY_METRICS@@|gateway:8003|g" \
    -e "s|@@UNLIMITED@@|$unlimited|g" \
    -e "s|@@LOCAL_URLS@@|{}|g" \
    -e "s|@@CACHE_SIZE@@|64m|g" \
    -e "s|@@CACHE_DIR@@|$state/cache|g" \
    -e "s|@@CONF_DIR@@|$conf|g" \
    -e "s|@@STATE_DIR@@|$state|g" \
    -e "s|@@CERT@@|$certificate|g" \
    -e "s|@@KEY@@|$key|g" \
    -e "s|@@HTPASSWD@@|$state/htpasswd|g" \
    -e "s|@@USER_DIRECTIVE@@||g" \
    -e "s|@@CLASS_INCLUDE@@||g" \
    -e "s|@@BROTLI_MODULES@@||g" \
    -e "s|@@BROTLI_INCLUDE@@||g" \
    -e "s|@@BROTLI_OFF@@||g" \
    "$conf/nginx.conf.template" >"$state/nginx.conf"
if grep -n '@@' "$state/nginx.conf" >&2; then
    fail "nginx.conf.template has a placeholder without a value"
fi

if [ "$#" -gt 0 ]; then
    exec nginx -e /dev/stderr -p "$state" -c "$state/nginx.conf" "$@"
fi

# Pre-stop delay: HAProxy must see the failing check before the listeners close. It checks every 0.5 s, and the second failure
# counts.
announce_s=3
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
