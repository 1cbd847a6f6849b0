#!/bin/sh
# Makes the secrets of production, those that are missing: secrets/production/*. What is there stays, so that it can be run
# again when a new release needs one more. To rotate a secret, delete its file first; docs/RUNBOOK.md says what follows.
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
            # Compose must find a file; Nginx says what is wrong with an empty one.
            [ -e "$target" ] || : >"$target"
            ;;
        # What the exporter of Redis takes: the servers and their password.
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
# Containers read them as users of their own. The folder lets nobody else in.
chmod 644 secrets/production/*
chmod 700 secrets/production
echo "$made secrets made in infra/compose/secrets/production."
for name in tls_certificate tls_key; do
    [ -s "secrets/production/$name" ] || echo "Put the ${name#tls_} of your domain (PEM) into infra/compose/secrets/production/$name."
done
