#!/usr/bin/env bash
# Gets a certificate by certbot and keeps it renewed, on a server that setup-server.sh has set up and where Nginx runs. At first at
# the authority's staging environment, whose failures count against no limit.
#
#   setup-ssl.sh --domain=api.example.org --email=ops@example.org              a rehearsal at staging: saves nothing
#   setup-ssl.sh --domain=api.example.org --email=ops@example.org --production the rehearsal, then the certificate
#
#   --domain       may be repeated; the first names the certificate
#   --server       another authority's directory (ACME), such as a test server; then there is no rehearsal at staging
#
# A renewal (certbot.timer, twice a day) calls the deploy hook, which reloads Nginx: no connection is dropped.
set -euo pipefail

fail() {
    echo "error: $*" >&2
    exit 1
}
domains=() email='' production=0 server=''
for option; do
    case $option in
        --domain=*) domains+=("${option#*=}") ;;
        --email=*) email=${option#*=} ;;
        --server=*) server=${option#*=} ;;
        --production) production=1 ;;
        *)
            sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
            exit 64
            ;;
    esac
done
((${#domains[@]})) || fail '--domain is missing; for example: --domain=api.example.org'
for domain in "${domains[@]}"; do
    [[ $domain =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$ ]] || fail "--domain is '$domain'; for example: --domain=api.example.org"
done
[[ $email == *@* ]] || fail "--email is '$email'; the authority writes there before a certificate expires"
((EUID == 0)) || fail 'this writes to /etc/letsencrypt, which takes root; run it by sudo'
command -v certbot >/dev/null || fail 'certbot is not installed; run infra/server/setup-server.sh first'

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
webroot=/var/lib/tandem-acme
mkdir -p "$webroot"
arguments=(certonly --webroot --webroot-path "$webroot" --non-interactive --agree-tos --email "$email" --cert-name "${domains[0]}"
    --keep-until-expiring --key-type ecdsa)
for domain in "${domains[@]}"; do arguments+=(--domain "$domain"); done
[[ -z $server ]] || arguments+=(--server "$server")

# Does the edge serve the files of the proof? Else the authority would only say that it got 404.
probe=$webroot/.well-known/acme-challenge/probe-$$
mkdir -p "$(dirname "$probe")"
chmod -R a+rX "$webroot"
echo tandem >"$probe"
trap 'rm -f "$probe"' EXIT
served=$(curl --silent --max-time 10 --header "Host: ${domains[0]}" "http://127.0.0.1:${HTTP_PORT:-80}/.well-known/acme-challenge/${probe##*/}") || true
[[ $served == tandem ]] || fail "Nginx does not serve $webroot/.well-known on port ${HTTP_PORT:-80}; start it first: systemctl start tandem-nginx, or tandem-compose with OVERLAYS=server"

if [[ -z $server ]]; then
    certbot "${arguments[@]}" --dry-run --quiet || fail 'the rehearsal at staging failed; nothing was changed'
    echo 'The rehearsal at staging succeeded.'
fi
((production)) || [[ -n $server ]] || exit 0

# The hook first, so that certbot calls it for the first certificate, too.
install -d -m 755 /etc/letsencrypt/renewal-hooks/deploy /etc/tandem
echo "${domains[0]}" >/etc/tandem/certificate-name
ln -sfn "$here/deploy-certificate.sh" /etc/letsencrypt/renewal-hooks/deploy/tandem
certbot "${arguments[@]}"
# certbot runs the hooks of that folder at renewals alone.
RENEWED_LINEAGE=/etc/letsencrypt/live/${domains[0]} "$here/deploy-certificate.sh"
echo "https://${domains[0]} has its certificate; certbot.timer renews it."
