#!/bin/bash
# Starts one PostgreSQL server of the overlay `ha` under Patroni, which decides whether it is the primary or a standby. In a
# container all variables but NAME have their defaults; infra/local/tests/e2e/postgres_failover runs this script on loopback.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${NAME:?the name of this server is missing}
state=${STATE_DIR:-/var/run/postgresql}
password=$(<"${POSTGRES_PASSWORD_FILE:-/run/secrets/postgres_password}")
if [[ ! $password =~ ^[A-Za-z0-9._-]+$ ]]; then
    echo "postgres: the password in POSTGRES_PASSWORD_FILE has other characters than letters, digits, '.', '_' and '-'" >&2
    exit 64
fi
if [[ ${TANDEM_MODE:-development}$password == production*development-only* ]]; then
    echo 'postgres: postgres_password is a development secret, which the repository publishes' >&2
    exit 64
fi
bin=${PG_BIN:-}
if [[ -z $bin ]]; then
    for bin in /usr/lib/postgresql/*/bin; do :; done
fi

template=$(<"$here/patroni.yml.template")
fill() { # word, value
    # In YAML's single quotes.
    template=${template//"@@$1@@"/"${2//\'/\'\'}"}
}
fill NAME "$name"
fill HERE "$here"
fill LISTEN "${LISTEN:-0.0.0.0}"
fill ADDRESS "${ADDRESS:-$name}"
fill PORT "${PORT:-5432}"
fill API_PORT "${API_PORT:-8008}"
fill ETCD_HOSTS "${ETCD_HOSTS:-etcd-1:2379,etcd-2:2379,etcd-3:2379}"
fill DATA "${PGDATA:?}"
fill BIN "$bin"
fill STATE "$state"
fill ARCHIVE_MODE "${ARCHIVE_MODE:-off}"
fill ARCHIVE_COMMAND "${ARCHIVE_COMMAND:-}"
fill ARCHIVE_TIMEOUT "${ARCHIVE_TIMEOUT:-0}"
fill PASSWORD "$password"
# A new volume has the image's mode, 1777. initdb changes it, but the copy of a standby doesn't, and PostgreSQL refuses to start.
[[ ! -d $PGDATA ]] || chmod 700 "$PGDATA"
umask 077
printf '%s\n' "$template" >"$state/patroni.yml"
# A server that has outlived its Patroni. The new one would reload it without the name of its standby: the commits that wait for
# that standby would be acknowledged, though another server may be the primary.
# As process 1 it is in a new container, which nothing can have outlived.
if (($$ != 1)) && [[ -s $PGDATA/postmaster.pid ]] && "$bin/pg_ctl" status --pgdata="$PGDATA" >/dev/null; then
    "$bin/pg_ctl" stop --pgdata="$PGDATA" --mode=immediate
fi
exec patroni "$state/patroni.yml"
