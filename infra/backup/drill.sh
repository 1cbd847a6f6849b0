#!/usr/bin/env bash
# Restores the newest backups into a scratch system of their own, compares it with what was backed up, and prints how much would be
# lost (RPO) and how long it takes (RTO). It reads backups alone, and touches no system that serves.
#
#   drill.sh      exit status 1 if anything is missing or differs
#
# It needs the servers of PostgreSQL and Redis, and the settings BACKUP_* of docs/SETTINGS.md. docs/RUNBOOK.md has the use.
# shellcheck disable=SC2154,SC2119 # lib.sh sets what is used here; arguments are its functions' own
# shellcheck source=infra/backup/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# == 0)) || usage "${BASH_SOURCE[0]}"
# Where the scratch system is: free ports of this machine.
postgres_port=${DRILL_POSTGRES_PORT:-18432} redis_port_of_drill=${DRILL_REDIS_PORT:-18379}

as_server=()
at_end() {
    [[ ! -e ${place:-}/data/postmaster.pid ]] || stop_postgres
    [[ -z ${redis_pid:-} ]] || kill "$redis_pid" 2>/dev/null
    [[ -z ${place:-} ]] || rm -rf -- "$place"
}
# PostgreSQL does not run as root, so its user must reach the place.
make_place() {
    place=$(mktemp -d -- "${DRILL_DIR:-/var/tmp}/tandem-drill.XXXXXX")
    chmod 711 "$place"
    mkdir "$place/postgres"
    if ((EUID == 0)); then
        id postgres >/dev/null 2>&1 || fail "there is no user postgres; Debian's package postgresql makes it"
        chown postgres: "$place/postgres"
        as_server=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    fi
    place=$place/postgres
}
start_postgres() { # options of where it listens
    (cd / && "${as_server[@]}" pg_ctl --silent --wait --timeout=3600 --pgdata="$place/data" --log="$place/log" \
        --options="-p $postgres_port $1 -c archive_mode=off -c logging_collector=off" start >/dev/null) ||
        fail "PostgreSQL does not start: $(tail -n 3 "$place/log")"
}
stop_postgres() { (cd / && "${as_server[@]}" pg_ctl --silent --mode=immediate --pgdata="$place/data" stop >/dev/null); }
restore() { # arguments of restore.sh
    # By the environment of a subshell, since a command line of `env` can be read by every user.
    (
        export DATABASE_URL="postgresql://drill:$postgres_password@127.0.0.1:$postgres_port/drill"
        export SESSION_REDIS_URL="redis://127.0.0.1:$redis_port_of_drill" FILES_URL="file://${place// /%20}/files"
        export DATABASE_URL_PASSWORD_FILE='' SESSION_REDIS_URL_PASSWORD_FILE='' DRILL_OF_RESTORE=1
        "$folder_of_scripts/restore.sh" "$@"
    )
}
# Each file of each row has its bytes.
compare_files() {
    sql "$files_sql" --field-separator=' ' >"$scratch/rows"
    awk '{ print $3 "  " substr($1, length($1) - 1) "/" $1 }' "$scratch/rows" >"$scratch/sums"
    [[ ! -s $scratch/sums ]] || (cd "$place/files" && sha256sum --check --quiet "$scratch/sums") || fail "files differ from their rows"
    say "  $(wc -l <"$scratch/rows") files have the SHA-256 of their rows"
}

# A new server, and the newest daily backup.
drill_daily() {
    local begin backup taken keys there
    backup=daily/$(newest daily)
    [[ $backup != daily/ ]] || fail "there is no complete daily backup"
    say "$backup into a scratch system"
    begin=$(date +%s)
    # On a port, where restore.sh expects it, so nobody else of this machine may know the password.
    postgres_password=$(od --address-radix=n --read-bytes=16 --format=x1 /dev/urandom | tr -d ' ')
    printf %s "$postgres_password" >"$place/password"
    [[ $EUID != 0 ]] || chown postgres: "$place/password"
    (cd / && "${as_server[@]}" initdb --username=drill --auth=scram-sha-256 --pwfile="$place/password" --encoding=UTF8 --no-locale --pgdata="$place/data" >/dev/null) ||
        fail "initdb failed"
    start_postgres "-c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
    unset DATABASE_URL_PASSWORD_FILE
    DATABASE_URL="postgresql://drill:$postgres_password@127.0.0.1:$postgres_port/postgres" && use_database "$DATABASE_URL"
    sql 'CREATE DATABASE drill'
    export PGDATABASE=drill
    mkdir "$place/sessions" "$place/files"
    redis-server --port "$redis_port_of_drill" --bind 127.0.0.1 --dir "$place/sessions" --save '' --appendonly yes --logfile "$place/redis.log" &
    redis_pid=$!
    until [[ $(env -u REDISCLI_AUTH redis-cli -p "$redis_port_of_drill" ping 2>/dev/null) == PONG ]]; do
        kill -0 "$redis_pid" 2>/dev/null || fail "Redis does not start on port $redis_port_of_drill; set DRILL_REDIS_PORT"
        sleep 0.1
    done
    restore all "$backup"
    daily_rto=$(($(date +%s) - begin))
    get "$backup/MANIFEST" "$scratch/manifest"
    taken=$(field "$scratch/manifest" taken)
    # restore.sh has compared the tables. A deletion that was under way has changed no other column since.
    compare_files
    keys=$(field "$scratch/manifest" keys)
    if [[ -n $keys ]]; then
        there=$(env -u REDISCLI_AUTH redis-cli -p "$redis_port_of_drill" dbsize)
        say "  $there of $keys keys of sessions; the others have expired since"
        ((there <= keys)) || fail "there are more keys than were backed up"
    fi
    daily_rpo=$(($(date +%s) - taken))
    say "  taken ${daily_rpo} s ago, restored in ${daily_rto} s"
    stop_postgres
    rm -rf -- "$place/data"
}
# The newest data folder, and the WAL up to its end.
drill_wal() {
    local begin last newest_base newest_wal
    newest_base=$(newest base)
    [[ -n $newest_base ]] || {
        say "there is no base backup: nothing restores a moment between two daily backups"
        return
    }
    say "base/$newest_base and the archived WAL into a scratch system"
    begin=$(date +%s)
    restore data-folder "$place/data" "--base=base/$newest_base"
    # Its own users and passwords are there. This drill has none, so it comes by a socket in a folder that is closed to others.
    echo 'local all all trust' >"$place/data/pg_hba.conf"
    start_postgres "-c listen_addresses='' -c unix_socket_directories='$place'"
    export PGHOST=$place PGUSER=${DRILL_ROLE:-tandem} PGDATABASE=${DRILL_DATABASE:-tandem}
    until [[ $(sql 'SELECT pg_is_in_recovery()') == f ]]; do sleep 0.2; done
    wal_rto=$(($(date +%s) - begin))
    # A missing segment is where recovery ends, without an error.
    newest_wal=$(find "$place/data.wal" -type f -printf '%f\n' | sed -nE 's/^([0-9A-F]{24})\.gz$/\1/p' | sort | tail -n 1)
    [[ -z $newest_wal ]] || grep -qF "restored log file \"$newest_wal\"" "$place/log" ||
        fail "the archived WAL has a gap: recovery ended before $newest_wal"
    last=$(sed -n 's/.*last completed transaction was at log time \(.*\)$/\1/p' "$place/log" | tail -n 1)
    # Without a change since, the copy of the data folder has the last one.
    if [[ -z $last ]]; then
        get "base/$newest_base/MANIFEST" "$scratch/manifest"
        last=@$(field "$scratch/manifest" ended)
    fi
    # The log's time is that of the server, which runs here.
    wal_rpo=$(($(date +%s) - $(date --date="$last" +%s)))
    table_sums >"$scratch/tables"
    say "  $(awk '{ rows += $2 } END { print rows + 0 }' "$scratch/tables") rows in $(wc -l <"$scratch/tables") tables, read whole"
    say "  the last change was ${wal_rpo} s ago, restored in ${wal_rto} s"
    stop_postgres
}

check_tools
need initdb postgresql
need redis-server redis-server
make_scratch
use_backups
make_place
wal_rto='' wal_rpo=''
drill_daily
drill_wal
{
    echo '# HELP tandem_drill_last_success_timestamp_seconds When the newest backups were last restored and compared.'
    echo '# TYPE tandem_drill_last_success_timestamp_seconds gauge'
    echo "tandem_drill_last_success_timestamp_seconds $(date +%s)"
    echo '# HELP tandem_drill_rto_seconds How long the restore took.'
    echo '# TYPE tandem_drill_rto_seconds gauge'
    echo "tandem_drill_rto_seconds{from=\"daily\"} $daily_rto"
    [[ -z $wal_rto ]] || echo "tandem_drill_rto_seconds{from=\"base\"} $wal_rto"
} | metrics drill
say "The drill succeeded. RPO: ${daily_rpo} s by the daily backup${wal_rpo:+, ${wal_rpo} s by the WAL}. RTO: ${daily_rto} s${wal_rto:+, ${wal_rto} s by the WAL}."
