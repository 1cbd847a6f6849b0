#!/bin/sh
# Writes when certificates expire, for the alerts CertificateExpires and CertificateExpiresSoon: run it daily, and after a renewal.
#
#   certificate-expiry.sh CERTIFICATE.pem …     into $TEXTFILE_DIR/certificates.prom, which the node exporter shows
#                                               (infra/monitoring/textfile where it is not set)
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
        # The first one of a chain: the server's own.
        end=$(openssl x509 -in "$certificate" -noout -enddate) || {
            echo "$certificate holds no certificate (PEM)" >&2
            exit 1
        }
        printf 'tandem_certificate_expiry_timestamp_seconds{file="%s"} %s\n' "$certificate" "$(date -d "${end#notAfter=}" +%s)"
    done
} >"$new"
# The exporter is a user of its own.
chmod 644 "$new"
mv "$new" "$file"
