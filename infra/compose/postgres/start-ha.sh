#!/bin/bash
# Starts one of two PostgreSQL servers: the primary if PG_PRIMARY names it, else its standby. After a promotion of the standby,
# PG_PRIMARY must change; the former primary then refuses to start, so there are never two.
#
#   start-ha.sh NAME postgres -c …
set -euo pipefail

name=$1
shift
primary=${PG_PRIMARY:-postgres}
passfile=/var/run/postgresql/.pgpass

if [[ $name == "$primary" ]]; then
    if [[ -e $PGDATA/standby.signal ]]; then
        echo "PG_PRIMARY names $name, which was never promoted; it stays a standby until: pg_ctl promote" >&2
    fi
    exec docker-entrypoint.sh "$@"
fi

umask 077
# Written at each start, since the password may change.
echo "*:*:*:replicator:$(<"$POSTGRES_PASSWORD_FILE")" >"$passfile"
if [[ ! -s $PGDATA/PG_VERSION ]]; then
    for attempt in {1..60}; do
        if PGPASSFILE=$passfile pg_basebackup --host="$primary" --username=replicator --no-password --pgdata="$PGDATA" \
            --wal-method=stream --checkpoint=fast; then
            break
        fi
        if ((attempt == 60)); then
            echo "$name cannot copy the database from $primary" >&2
            exit 1
        fi
        # Remains of an interrupted copy.
        find "$PGDATA" -mindepth 1 -delete
        sleep 1
    done
    chmod 700 "$PGDATA"
    touch "$PGDATA/standby.signal"
elif [[ ! -e $PGDATA/standby.signal ]]; then
    echo "$name holds the data of a former primary, and PG_PRIMARY is $primary now. To make it the standby of $primary, remove" \
        "its volume and start it again; docs/RUNBOOK.md, 'Promote the standby of PostgreSQL'." >&2
    exit 64
fi
exec "$@" -c "primary_conninfo=host=$primary user=replicator passfile=$passfile application_name=$name"
