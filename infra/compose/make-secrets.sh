#!/bin/sh
# Creates the missing production secrets: secrets/production/*. Existing ones stay, so it can run again when a new release needs
# another secret. To rotate a secret, delete its file first and follow docs/RUNBOOK.md.
#
#   infra/compose/make-secrets.sh
#   infra/compose/make-secrets.sh new-token-key     adds a key that signs users' tokens, from a minute later on
set -eu

cd "$(dirname "$0")"
umask 077
mkdir -p secrets/production
made=0
for file in secrets/development/*; do
    name=${file##*/}
    target=secrets/production/$name
    case $name in
        tls_*)
            # Compose needs a file; Nginx reports an empty one.
            [ -e "$target" ] || : >"$target"
            ;;
        token-keys) ;; # Below.
        # Derived below: the servers and their password, for the Redis exporter.
        redis_exporter_passwords) ;;
        *)
            if [ ! -s "$target" ]; then
                od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$target"
                made=$((made + 1))
            fi
            ;;
    esac
done
password=$(cat secrets/production/redis_password)
sed "s/development-only-redis-password/$password/g" secrets/development/redis_exporter_passwords \
    >secrets/production/redis_exporter_passwords
# The last of the names signs.
keys=secrets/production/token-keys
mkdir -p "$keys"
last=$(find "$keys" -name '*.pem' -printf '%f\n' | sort | tail -n 1)
if [ -z "$last" ] || [ "${1:-}" = new-token-key ]; then
    new=$(date -u +%Y-%m-%dT%H%M%SZ).pem
    [ "$(printf '%s\n' "$last" "$new" | sort | tail -n 1)" = "$new" ] || {
        echo "error: the new key $new must be the last of the names, but $keys has $last" >&2
        exit 1
    }
    # Its readers never see a part of it.
    openssl genpkey -algorithm ed25519 -out "$keys/new"
    chmod 644 "$keys/new"
    mv "$keys/new" "$keys/$new"
    made=$((made + 1))
fi
# Containers read them as other users. The folder keeps all others out.
find secrets/production -type f ! -name admin_password -exec chmod 644 {} +
chmod 755 "$keys"
chmod 700 secrets/production
echo "$made secrets created in infra/compose/secrets/production."
for name in tls_certificate tls_key; do
    [ -s "secrets/production/$name" ] || echo "Put the ${name#tls_} of your domain (PEM) into infra/compose/secrets/production/$name."
done
