# shellcheck shell=sh
# Fills nginx.conf.template, for infra/compose/nginx/start.sh and infra/server/nginx.sh, which source it. They define `fail` and set
# the variables that `render` fills in; the template says what each is for. The local stack does the same in infra/local/src/nginx.rs.

# Prints the hosts of SERVER_NAME, which are separated by commas. Not in a pipeline, where `fail` would end only its own part.
server_names_given() {
    set -f # a `*` of a name is no pattern
    for name in $(echo "${SERVER_NAME:-}" | tr ',' ' '); do
        case $name in
            *[!A-Za-z0-9.*:[\]-]*) fail "SERVER_NAME has '$name', which is not a host; for example: SERVER_NAME=api.example.com,*.example.org" ;;
        esac
        echo "$name"
    done
    set +f
}

# Of the hosts on standard input, prints on one line those that the template does not have: Nginx warns about duplicates.
without_duplicates() {
    sort -u | grep -vx -e localhost -e 127.0.0.1 -e '\[::1\]' | tr '\n' ' '
}

# Prints the networks of LIMIT_EXEMPT, which are separated by commas, for Nginx's `geo`.
networks_without_limits() {
    set -f # a `*` is no pattern
    for network in $(echo "${LIMIT_EXEMPT:-}" | tr ',' ' '); do
        printf '%s 0; ' "$network"
    done
    set +f
}

# Sets what says whether the gateways have TLS: GATEWAY_TLS_NAME is the name in their certificates, TLS_CA_FILE has their authorities.
choose_gateway_tls() {
    if [ -z "${GATEWAY_TLS_NAME:-}" ]; then
        if_gateway_tls='#' gateway_scheme=http
    elif [ -r "${TLS_CA_FILE:-}" ]; then
        if_gateway_tls='' gateway_scheme=https
    else
        fail "GATEWAY_TLS_NAME is set, but TLS_CA_FILE is '${TLS_CA_FILE:-}', which cannot be read; for example: TLS_CA_FILE=/etc/tandem/tls/ca.pem"
    fi
}

# render TEMPLATE FILE
render() {
    # shellcheck disable=SC2154 # the caller's variables
    sed -e "s|@@LISTEN_ADDR@@|$listen_addr|g" \
        -e "s|@@HTTPS_PORT@@|$https_port|g" \
        -e "s|@@HTTP_PORT@@|$http_port|g" \
        -e "s|@@PUBLIC_PORT@@|$public_port|g" \
        -e "s|@@SERVER_NAMES@@|$server_names|g" \
        -e "s|@@STATUS_LISTEN@@|$status_listen|g" \
        -e "s|@@IF_DIRECT@@|$if_direct|g" \
        -e "s|@@IF_PROXIED@@|$if_proxied|g" \
        -e "s|@@IF_UPSTREAM@@|$if_upstream|g" \
        -e "s|@@IF_DNS@@|$if_dns|g" \
        -e "s|@@GATEWAY_UPSTREAM@@|$gateway_upstream|g" \
        -e "s|@@METRICS_UPSTREAM@@|$metrics_upstream|g" \
        -e "s|@@RESOLVER@@|$resolver|g" \
        -e "s|@@GATEWAY@@|$gateway|g" \
        -e "s|@@GATEWAY_METRICS@@|$gateway_metrics|g" \
        -e "s|@@IF_GATEWAY_TLS@@|$if_gateway_tls|g" \
        -e "s|@@GATEWAY_SCHEME@@|$gateway_scheme|g" \
        -e "s|@@GATEWAY_NAME@@|${GATEWAY_TLS_NAME:-}|g" \
        -e "s|@@GATEWAY_CA@@|${TLS_CA_FILE:-}|g" \
        -e "s|@@UNLIMITED@@|$(networks_without_limits)|g" \
        -e "s|@@LOCAL_URLS@@|{}|g" \
        -e "s|@@CACHE_SIZE@@|64m|g" \
        -e "s|@@CACHE_DIR@@|$state/cache|g" \
        -e "s|@@CONF_DIR@@|$conf|g" \
        -e "s|@@STATE_DIR@@|$state|g" \
        -e "s|@@CERT@@|$certificate|g" \
        -e "s|@@KEY@@|$key|g" \
        -e "s|@@HTPASSWD@@|$state/htpasswd|g" \
        -e "s|@@USER_DIRECTIVE@@|${worker:+user $worker;}|g" \
        -e "s|@@CLASS_INCLUDE@@||g" \
        -e "s|@@BROTLI_MODULES@@|${brotli:+load_module $brotli;}|g" \
        -e "s|@@BROTLI_INCLUDE@@|${brotli:+include $conf/brotli.conf;}|g" \
        -e "s|@@BROTLI_OFF@@|${brotli:+brotli off;}|g" \
        "$1" >"$2"
    if grep -n '@@' "$2" >&2; then
        fail "nginx.conf.template has a placeholder without a value"
    fi
}
