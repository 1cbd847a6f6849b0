#!/bin/sh
# Creates the missing production secrets: secrets/production/*. Existing ones stay, so it can run again when a new release needs
# another secret. To rotate a secret, delete its file first and follow docs/RUNBOOK.md.
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
# Containers read them as other users. The folder keeps all others out.
chmod 644 secrets/production/*
chmod 700 secrets/production
echo "$made secrets created in infra/compose/secrets/production."
for name in tls_certificate tls_key; do
    [ -s "secrets/production/$name" ] || echo "Put the ${name#tls_} of your domain (PEM) into infra/compose/secrets/production/$name."
done
