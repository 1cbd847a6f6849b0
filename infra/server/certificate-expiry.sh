#!/bin/sh
# Exports the expiry of certificates, for the alerts CertificateExpires and CertificateExpiresSoon: run it daily and after a renewal.
#
#   certificate-expiry.sh CERTIFICATE.pem …     writes $TEXTFILE_DIR/certificates.prom (default: infra/monitoring/textfile), which
#                                               the node exporter exposes
set -eu

[ $# -gt 0 ] || {
    echo "usage: certificate-expiry.sh CERTIFICATE.pem …" >&2
    exit 64
}
file=${TEXTFILE_DIR:-$(dirname "$0")/../monitoring/textfile}/certificates.prom
new=$file.new
trap 'rm -f "$new"' EXIT
{
    echo '# HELP tandem_certificate_expiry_timestamp_seconds When the certificate expires.'
    echo '# TYPE tandem_certificate_expiry_timestamp_seconds gauge'
    for certificate; do
        # The first of a chain is the server's own.
        end=$(openssl x509 -in "$certificate" -noout -enddate) || {
            echo "$certificate is not a certificate (PEM)" >&2
            exit 1
        }
        printf 'tandem_certificate_expiry_timestamp_seconds{file="%s"} %s\n' "$certificate" "$(date -d "${end#notAfter=}" +%s)"
    done
} >"$new"
# The exporter runs as another user.
chmod 644 "$new"
mv "$new" "$file"
