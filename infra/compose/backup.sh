#!/usr/bin/env bash
# Backs up the data of the containers, and restores it.
#
#   backup.sh create             writes PostgreSQL and the sessions of Redis to $BACKUP_DIR/<time>, verifies both, and keeps the
#                                last $BACKUPS_KEPT. The system serves on meanwhile.
#   backup.sh restore FOLDER     replaces both by the backup; newer sessions are lost. It stops the services and starts them
#                                again. It asks for confirmation, except with --yes.
#
# BACKUP_DIR (infra/compose/backups) and BACKUPS_KEPT (7) come from the environment; OVERLAYS names the running overlays. For the
# alert BackupTooOld, $TEXTFILE_DIR/backup.prom gets the time of the last success, which the node exporter exposes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
backups=${BACKUP_DIR:-$here/backups}
kept=${BACKUPS_KEPT:-7}
redis_image=redis:7-bookworm

compose() { "$here/compose.sh" "$@"; }
say() { echo "$*" >&2; }
fail() {
    say "error: $*"
    exit 1
}
# From the environment, else from .env.
setting() { # name, default
    local value=${!1:-}
    [[ -n $value ]] || value=$(sed -n "s/^$1=//p" "$here/.env" 2>/dev/null | tail -n 1)
    echo "${value:-$2}"
}
primary() { compose primary; }
running() { # service
    [[ -n $(compose ps -q "$1" 2>/dev/null) ]]
}
redis() { # service, command …
    local service=$1
    shift
    # shellcheck disable=SC2016 # the container's shell expands it
    compose exec -T "$service" sh -c 'REDISCLI_AUTH=$(cat /run/secrets/redis_password) exec redis-cli --raw "$@"' sh "$@" | tr -d '\r'
}
# The server that accepts writes.
redis_master() {
    local service
    for service in redis-sessions redis-replica-1 redis-replica-2; do
        if [[ $(redis "$service" role 2>/dev/null </dev/null | head -n 1) == master ]]; then
            echo "$service"
            return
        fi
    done
    fail "no Redis of the sessions responds as the master; start the system, and set OVERLAYS to the overlays that run"
}
psql() { # database, statement
    compose exec -T "$(primary)" psql --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --username=tandem "$1" --command="$2" </dev/null
}

create() {
    local folder
    folder=$backups/$(date -u +%Y%m%dT%H%M%SZ)
    umask 077
    mkdir -p "$backups"
    # Under another name until it is complete.
    partial=$folder.partial
    trap 'rm -rf "$partial"' EXIT
    mkdir "$partial"

    compose exec -T "$(primary)" pg_dump --username=tandem --format=custom tandem </dev/null >"$partial/postgres.dump"
    # grep -q would end pg_restore's output early, which is an error of the pipe.
    compose exec -T "$(primary)" pg_restore --list <"$partial/postgres.dump" | grep 'TABLE DATA' >/dev/null || fail "the dump of PostgreSQL has no table"

    # shellcheck disable=SC2016 # the container's shell expands it
    compose exec -T "$(redis_master)" sh -c 'REDISCLI_AUTH=$(cat /run/secrets/redis_password) exec redis-cli --rdb -' </dev/null \
        >"$partial/sessions.rdb" 2>"$partial/redis-cli.log" || fail "Redis sent no snapshot: $(tail -n 1 "$partial/redis-cli.log")"
    rm "$partial/redis-cli.log"
    docker run --rm --interactive --network=none --entrypoint=sh "$redis_image" -c 'cat >/tmp/x.rdb && redis-check-rdb /tmp/x.rdb' \
        <"$partial/sessions.rdb" >"$partial/check.log" 2>&1 || fail "the snapshot of Redis is damaged: $(tail -n 1 "$partial/check.log")"
    rm "$partial/check.log"

    (cd "$partial" && sha256sum postgres.dump sessions.rdb >SHA256SUMS)
    mv "$partial" "$folder"
    mark_success
    find "$backups" -mindepth 1 -maxdepth 1 -type d -name '????????T??????Z' | sort | head -n "-$kept" | xargs -r rm -rf --
    say "$folder: $(du -sh "$folder" | cut -f 1)"
}

mark_success() {
    local folder file
    folder=$(setting TEXTFILE_DIR "$here/../monitoring/textfile")
    # Relative to this folder, as in Compose.
    folder=$(cd "$here" && cd "$folder" && pwd)
    file=$folder/backup.prom
    {
        echo '# HELP tandem_backup_last_success_timestamp_seconds When the last backup was written and verified.'
        echo '# TYPE tandem_backup_last_success_timestamp_seconds gauge'
        printf 'tandem_backup_last_success_timestamp_seconds{what="%s"} '"$(date +%s)"'\n' postgres sessions
    } >"$file.new"
    # The exporter runs as another user.
    chmod 644 "$file.new"
    mv "$file.new" "$file"
}

restore() { # folder
    local folder=$1 answer
    [[ -e $folder/SHA256SUMS ]] || fail "$folder is no backup: it has no SHA256SUMS"
    (cd "$folder" && sha256sum --check --quiet SHA256SUMS) || fail "$folder is damaged: its checksums differ"
    running "$(primary)" || fail "$(primary) is not running; start the system first"
    redis_service=$(redis_master)
    if ((!sure)); then
        read -rp "Replace the database and all sessions by those of $folder? Type 'yes': " answer
        [[ $answer == yes ]] || fail "nothing has changed"
    fi
    say "stopping the services"
    compose stop stateless-svc stateful-svc
    restore_postgres "$folder/postgres.dump"
    restore_redis "$folder/sessions.rdb"
    redis redis-cache flushall </dev/null >/dev/null
    say "starting the services"
    compose start stateless-svc stateful-svc
    say "restored from $folder; the previous PostgreSQL data is in the database tandem_before"
}

# Into a new database first, so that an unreadable dump changes nothing.
restore_postgres() { # dump
    psql postgres 'DROP DATABASE IF EXISTS tandem_restored'
    psql postgres 'CREATE DATABASE tandem_restored'
    compose exec -T "$(primary)" pg_restore --username=tandem --dbname=tandem_restored --exit-on-error <"$1"
    psql postgres 'DROP DATABASE IF EXISTS tandem_before'
    # A database in use cannot be renamed, and exporters and PgBouncer reconnect at once.
    psql postgres 'ALTER DATABASE tandem ALLOW_CONNECTIONS false'
    psql postgres "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'tandem'" >/dev/null
    psql postgres 'ALTER DATABASE tandem RENAME TO tandem_before'
    psql postgres 'ALTER DATABASE tandem_before ALLOW_CONNECTIONS true'
    psql postgres 'ALTER DATABASE tandem_restored RENAME TO tandem'
}

# By replication from a temporary server that has loaded the snapshot. So the master writes it to its append-only file, and
# replicas and Sentinels follow.
restore_redis() { # snapshot
    local project source deadline info
    project=$(setting COMPOSE_PROJECT_NAME compose)
    source=$project-restore
    docker rm --force "$source" >/dev/null 2>&1 || true
    trap 'docker rm --force "$source" >/dev/null 2>&1 || true' EXIT
    # shellcheck disable=SC2016 # the container's shell expands it
    docker run --detach --interactive --name="$source" --network="${project}_data" --entrypoint=sh \
        --volume="$here/secrets/$(setting TANDEM_MODE development)/redis_password:/run/secrets/redis_password:ro" "$redis_image" -c '
            until [ -e /tmp/complete ]; do sleep 0.1; done
            printf "dir /tmp\ndbfilename sessions.rdb\nsave \"\"\nappendonly no\nrequirepass %s\n" "$(cat /run/secrets/redis_password)" >/tmp/redis.conf
            exec redis-server /tmp/redis.conf' >/dev/null
    docker exec --interactive "$source" sh -c 'cat >/tmp/sessions.rdb && touch /tmp/complete' <"$1"
    redis "$redis_service" replicaof "$source" 6379 </dev/null >/dev/null
    deadline=$((SECONDS + 300))
    until [[ $(redis "$redis_service" info replication </dev/null) == *master_link_status:up* ]]; do
        if ((SECONDS > deadline)); then
            redis "$redis_service" replicaof no one </dev/null >/dev/null
            fail "$redis_service did not load the snapshot within 300 s; see its log. The services are stopped"
        fi
        sleep 0.5
    done
    redis "$redis_service" replicaof no one </dev/null >/dev/null
    # The data is persistent once the append-only file is rewritten.
    while info=$(redis "$redis_service" info persistence </dev/null); [[ ! ($info == *aof_rewrite_in_progress:0* && $info == *aof_rewrite_scheduled:0*) ]]; do
        sleep 0.5
    done
    [[ $info == *aof_last_bgrewrite_status:ok* ]] || fail "$redis_service could not write its append-only file; check its disk"
    docker rm --force "$source" >/dev/null
    trap - EXIT
}

sure=0 words=()
for word; do
    case $word in
        --yes) sure=1 ;;
        *) words+=("$word") ;;
    esac
done
case ${words[0]:-} in
    create) create ;;
    restore)
        [[ -n ${words[1]:-} ]] || fail "name a backup, for example: restore $backups/20261126T030000Z"
        restore "$(realpath "${words[1]}")"
        ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
        exit 64
        ;;
esac
