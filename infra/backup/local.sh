#!/usr/bin/env bash
# Runs the scripts of this folder on the local stack that `make up` started: `make backup`, `make restore`, `make drill`.
#
#   local.sh backup create       or any other command of backup.sh
#   local.sh restore [BACKUP]    stops the services, replaces all data, and starts them again
#   local.sh drill
#
# Backups are in .local/backups.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
state=$PWD/.local
[[ -e $state/postgres.password ]] || {
    echo "error: nothing has been started here yet: make up" >&2
    exit 1
}
stack=target/${PROFILE:-release}/local-stack
components=$("$stack" status)
port_of() { # component
    local port
    port=$(awk -v name="$1" '$1 == name { print $4 }' <<<"$components")
    [[ -n $port ]] || {
        echo "error: the running system has no component '$1', which backups of a local stack need: make up REDIS=single" >&2
        exit 1
    }
    echo "$port"
}
postgres_port=$(port_of postgres)
sessions_port=$(port_of redis-sessions)
export DATABASE_URL="postgresql://tandem:{password}@127.0.0.1:$postgres_port/tandem" DATABASE_URL_PASSWORD_FILE=$state/postgres.password
export SESSION_REDIS_URL="redis://127.0.0.1:$sessions_port"
export FILES_URL="file://${state// /%20}/files" BACKUP_URL="file://${state// /%20}/backups" BACKUP_WORK_DIR=$state/backup-work

mkdir -p "$state/backups"

services() { grep -oE '^(stateless|stateful)-[0-9]+' <<<"$components"; }
case ${1:-} in
    backup) exec infra/backup/backup.sh "${2:?create, recent, list or verify}" "${@:3}" ;;
    drill) exec infra/backup/drill.sh ;;
    restore)
        # A damaged backup stops nothing.
        from=${2:-daily/$(infra/backup/backup.sh list | sed -n 's|^daily/\([^ ]*\)$|\1|p' | tail -n 1)}
        infra/backup/backup.sh verify "$from"
        mapfile -t stopped < <(services)
        for service in "${stopped[@]}"; do "$stack" stop "$service"; done
        status=0
        infra/backup/restore.sh all --force "$from" || status=$?
        for service in "${stopped[@]}"; do "$stack" start "$service"; done
        exit "$status"
        ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
        exit 64
        ;;
esac
