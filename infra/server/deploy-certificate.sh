#!/usr/bin/env bash
# certbot's deploy hook: gives Nginx the renewed certificate of RENEWED_LINEAGE and has it reload, which drops no connection.
set -euo pipefail

lineage=${RENEWED_LINEAGE:?certbot sets it: the folder of the renewed certificate}
tandem=$(cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../.." && pwd)
exported=()
if [[ -e /etc/tandem/nginx.env ]]; then
    # The programs: Nginx reads certbot's own files.
    sed -i -e "s|^CERTIFICATE=.*|CERTIFICATE=$lineage/fullchain.pem|; s|^KEY=.*|KEY=$lineage/privkey.pem|" /etc/tandem/nginx.env
    ${SYSTEMCTL:-systemctl} reload tandem-nginx.service
    exported+=("$lineage/fullchain.pem")
fi
if [[ -e /etc/tandem/compose.env ]]; then
    # Containers: written in place, since each has these very files mounted. Nginx reads them when it reloads.
    secrets=$tandem/infra/compose/secrets/production
    cat "$lineage/privkey.pem" >"$secrets/tls_key"
    cat "$lineage/fullchain.pem" >"$secrets/tls_certificate"
    # shellcheck disable=SC2016 # the container's shell expands it
    "$tandem/infra/compose/compose.sh" exec -T nginx sh -c 'kill -HUP "$(cat /run/tandem/nginx.pid)"'
    exported+=("$secrets/tls_certificate")
fi
# For the alerts CertificateExpires and CertificateExpiresSoon.
((${#exported[@]} == 0)) || TEXTFILE_DIR=${TEXTFILE_DIR:-/var/lib/prometheus/node-exporter} "$tandem/infra/server/certificate-expiry.sh" "${exported[@]}"
