#!/usr/bin/env bash
# certbot's deploy hook: gives Nginx the renewed certificate of RENEWED_LINEAGE and has it reload, which drops no connection.
set -euo pipefail

lineage=${RENEWED_LINEAGE:?certbot sets it: the folder of the renewed certificate}
# certbot calls it for each certificate of this host.
name=$(cat /etc/tandem/certificate-name)
[[ ${lineage##*/} == "$name" ]] || exit 0
tandem=$(cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.." && pwd)
export_expiry() { # certificate, folder: for the alerts CertificateExpires and CertificateExpiresSoon
    TEXTFILE_DIR=$2 "$tandem/infra/server/certificate-expiry.sh" "$1"
}
if [[ -e /etc/tandem/nginx.env ]]; then
    # The programs: Nginx reads certbot's own files.
    sed -i -e "s|^CERTIFICATE=.*|CERTIFICATE=$lineage/fullchain.pem|; s|^KEY=.*|KEY=$lineage/privkey.pem|" /etc/tandem/nginx.env
    ${SYSTEMCTL:-systemctl} reload tandem-nginx.service
    export_expiry "$lineage/fullchain.pem" "${TEXTFILE_DIR:-/var/lib/prometheus/node-exporter}"
fi
if [[ -e /etc/tandem/compose.env ]]; then
    # Containers: written in place, since each has these very files mounted. Nginx reads them when it reloads.
    secrets=$tandem/infra/compose/secrets/production
    cat "$lineage/privkey.pem" >"$secrets/tls_key"
    cat "$lineage/fullchain.pem" >"$secrets/tls_certificate"
    # Its overlays. With ha there are two.
    set -a
    # shellcheck source=/dev/null
    source /etc/tandem/compose.env
    set +a
    compose=$tandem/infra/compose/compose.sh
    for service in nginx nginx-1 nginx-2; do
        running=$("$compose" ps --quiet "$service" 2>/dev/null) || true
        # shellcheck disable=SC2016 # the container's shell expands it
        [[ -z $running ]] || "$compose" exec -T "$service" sh -c 'kill -HUP "$(cat /run/tandem/nginx.pid)"'
    done
    # Where the node exporter of the overlay monitoring reads.
    folder=$(sed -n 's/^TEXTFILE_DIR=//p' "$tandem/infra/compose/.env" 2>/dev/null | tail -n 1) || true
    cd "$tandem/infra/compose"
    export_expiry "$secrets/tls_certificate" "${TEXTFILE_DIR:-${folder:-../monitoring/textfile}}"
fi
