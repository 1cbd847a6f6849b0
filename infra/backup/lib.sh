#!/usr/bin/env bash
# What backup.sh, restore.sh and drill.sh share: settings, servers, encryption, manifests. It is sourced.
#
# Servers are reached by address, so the same scripts serve processes, containers and servers of others:
#   DATABASE_URL            postgresql://user:password@host:port/database; DATABASE_URL_PASSWORD_FILE replaces {password}
#   SESSION_REDIS_URL       redis://…, rediss://… or redis+sentinel://…/name; SESSION_REDIS_URL_PASSWORD_FILE likewise
#   TLS_CA_FILE             the authorities of servers by TLS: a URL rediss://…, or one of PostgreSQL with ?sslmode=verify-full
#   FILES_URL, FILES_S3_*   as for the stateless service
#   BACKUP_URL              file:///a/folder or s3://bucket/prefix; BACKUP_S3_ENDPOINT, BACKUP_S3_REGION, BACKUP_S3_ACCESS_KEY,
#                           BACKUP_S3_SECRET_KEY
#   BACKUP_REPLICATION_URL  for backup.sh base, with BACKUP_REPLICATION_URL_PASSWORD_FILE
#   BACKUP_AGE_RECIPIENT    encrypts by age, for this public key; BACKUP_AGE_IDENTITY_FILE decrypts
# docs/SETTINGS.md has all of them.
# shellcheck disable=SC2034 # the scripts that source this use them
set -euo pipefail

folder_of_scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=infra/backup/storage.sh
source "$folder_of_scripts/storage.sh"

say() { echo "$*" >&2; }
fail() {
    say "error: $*"
    exit 1
}
need() { # program, package
    command -v "$1" >/dev/null || fail "$1 is not installed; Debian has it in the package $2"
}
usage() { # script
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$1" >&2
    exit 64
}

# The newest programs of PostgreSQL, which Debian installs outside of the path.
for bin in $(compgen -G '/usr/lib/postgresql/*/bin' | sort -V); do PATH=$bin:$PATH; done

# Everything unfinished is in a folder of its own, which goes with the script.
scratch=''
clean_up() {
    local status=$?
    if declare -F at_end >/dev/null; then at_end || true; fi
    [[ -z $scratch ]] || rm -rf -- "$scratch"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
umask 077
# Root's is that of the units: the lock is in it.
if ((EUID == 0)); then work=/var/lib/tandem-backup; else work=/var/tmp/tandem-backup-$(id -u); fi
work=${BACKUP_WORK_DIR:-$work}
make_scratch() {
    mkdir -p -- "$work"
    # Somebody else's folder could be read and changed by them.
    [[ -O $work && ! -L $work ]] || fail "$work belongs to somebody else; set BACKUP_WORK_DIR"
    scratch=$(mktemp -d -- "$work/run.XXXXXX")
}

# One backup of a destination at a time. The lock ends with the process, however that ends.
lock_destination() {
    local name
    name=$(printf %s "${BACKUP_URL:-}" | sha256sum | cut -c 1-16)
    exec 9>"$work/$name.lock"
    flock --wait "${BACKUP_LOCK_WAIT_S:-0}" 9 || {
        say "error: another backup to this destination is running"
        exit 75
    }
}

# --- Addresses ------------------------------------------------------------------------------------------------------------
decoded() { # text with %20
    local text=${1//\\/\\\\}
    printf '%b' "${text//%/\\x}"
}
encoded() { # text, for an address
    local LC_ALL=C text=$1 at byte
    for ((at = 0; at < ${#text}; at++)); do
        byte=${text:at:1}
        case $byte in
            [A-Za-z0-9._~-]) printf %s "$byte" ;;
            *) printf '%%%02X' "$(($(printf '%d' "'$byte") & 255))" ;;
        esac
    done
}
with_password() { # name of a variable: its value, with the password of NAME_PASSWORD_FILE in place of {password}
    local url=${!1:-} file_variable=$1_PASSWORD_FILE
    if [[ -n ${!file_variable:-} ]]; then
        local password
        password=$(<"${!file_variable}") || fail "cannot read the file of $file_variable"
        url=${url/'{password}'/"$(encoded "$password")"}
    fi
    printf %s "$url"
}
# Passwords go by the environment: every user of the machine can read a command line.
use_database() { # url
    local url=$1
    [[ $url =~ ^postgres(ql)?://(([^:@/]*)(:([^@]*))?@)?([^:/?]+)(:([0-9]+))?/([^?]+) ]] ||
        fail "DATABASE_URL must be postgresql://user:password@host:port/database"
    export PGUSER PGPASSWORD PGHOST PGPORT PGDATABASE
    PGUSER=$(decoded "${BASH_REMATCH[3]}")
    PGPASSWORD=$(decoded "${BASH_REMATCH[5]}")
    PGHOST=${BASH_REMATCH[6]} PGPORT=${BASH_REMATCH[8]:-5432}
    PGDATABASE=$(decoded "${BASH_REMATCH[9]}")
    [[ -n $PGPASSWORD ]] || unset PGPASSWORD
    # libpq's own: TLS as for the services, whose URL has sslmode=verify-full.
    if [[ $url =~ [?\&]sslmode=([^\&]*) ]]; then
        export PGSSLMODE=${BASH_REMATCH[1]}
        [[ -z ${TLS_CA_FILE:-} ]] || export PGSSLROOTCERT=$TLS_CA_FILE
    fi
    if [[ $url =~ [?\&]sslrootcert=([^\&]*) ]]; then
        export PGSSLROOTCERT
        PGSSLROOTCERT=$(decoded "${BASH_REMATCH[1]}")
    fi
    # The same text for the same row, wherever it is; statements of a backup take as long as they take.
    export PGOPTIONS='-c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=1 -c bytea_output=hex -c statement_timeout=0'
    export PGCLIENTENCODING=UTF8 PGAPPNAME=tandem-backup PGCONNECT_TIMEOUT=10
}
has_database() {
    [[ -n ${PGHOST:-} ]] && return
    [[ -n ${DATABASE_URL:-} ]] || return 1
    use_database "$(with_password DATABASE_URL)"
}
sql() { # statement, psql's options …
    local statement=$1
    shift
    psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --command="$statement" "$@" </dev/null
}

redis_args=()
has_sessions() {
    ((${#redis_args[@]} > 0)) && return
    [[ -n ${SESSION_REDIS_URL:-} ]] || return 1
    local url
    url=$(with_password SESSION_REDIS_URL)
    [[ $url =~ ^(redis|rediss|redis\+sentinel)://(([^:@/]*)(:([^@]*))?@)?([^/?]+)(/([^?]*))? ]] ||
        fail "SESSION_REDIS_URL must be redis://, rediss:// or redis+sentinel://; of a cluster each server has its own backup"
    local scheme=${BASH_REMATCH[1]} user password hosts=${BASH_REMATCH[6]} name=${BASH_REMATCH[8]}
    user=$(decoded "${BASH_REMATCH[3]}") password=$(decoded "${BASH_REMATCH[5]}")
    redis_user=${user:-default} redis_password=$password
    [[ $scheme != redis+sentinel ]] || hosts=$(master_of "$hosts" "$name")
    redis_host=${hosts%:*} redis_port=${hosts##*:}
    [[ $hosts == *:* ]] || redis_port=6379
    redis_args=(-h "$redis_host" -p "$redis_port")
    if [[ $scheme == rediss ]]; then
        redis_args+=(--tls)
        [[ -z ${TLS_CA_FILE:-} ]] || redis_args+=(--cacert "$TLS_CA_FILE")
    fi
    if [[ -n $password ]]; then
        export REDISCLI_AUTH=$password
        [[ $redis_user == default ]] || redis_args+=(--user "$redis_user")
    fi
}
master_of() { # sentinels, name
    local sentinel answer
    for sentinel in ${1//,/ }; do
        mapfile -t answer < <(timeout 3 redis-cli -h "${sentinel%:*}" -p "${sentinel##*:}" --raw sentinel get-master-addr-by-name "$2" 2>/dev/null)
        if ((${#answer[@]} == 2)); then
            echo "${answer[0]}:${answer[1]}"
            return
        fi
    done
    fail "no Sentinel of $1 names a master of $2"
}
redis() { # command …
    redis-cli "${redis_args[@]}" --raw "$@" </dev/null
}

# --- What a table holds ---------------------------------------------------------------------------------------------------
# A row for each table: name, rows, and a sum over the rows' text that no order changes. Partitions count with their table.
tables_sql="SELECT format('SELECT %L, count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM %I.%I t', c.relname, n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.relname"
table_sums() { # snapshot, or nothing
    {
        echo 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;'
        [[ -z ${1:-} ]] || echo "SET TRANSACTION SNAPSHOT '$1';"
        echo "$tables_sql \\gexec"
        echo 'COMMIT;'
    } | psql --no-psqlrc --quiet --tuples-only --no-align --field-separator=' ' --set=ON_ERROR_STOP=1
}
# id, size and SHA-256 of each stored file.
files_sql="SELECT id, size, encode(sha256, 'hex') FROM files WHERE state = 'stored' ORDER BY id"
has_files_table() {
    local there
    there=$(sql "SELECT to_regclass('public.files') IS NOT NULL") || fail "PostgreSQL at $PGHOST:$PGPORT does not respond"
    [[ $there == t ]]
}

# Splits a list whose third word is a size into $scratch/batch.*, of a gibibyte or 1,000 files, so that little space is needed here.
split_batches() { # list
    awk -v prefix="$scratch/batch." '{ size += $3; count++; print > (prefix sprintf("%06d", batch)); if (size > 1073741824 || count >= 1000) { batch++; size = 0; count = 0 } }' "$1"
}

# --- Encryption -----------------------------------------------------------------------------------------------------------
suffix() { [[ -z ${BACKUP_AGE_RECIPIENT:-} ]] || echo .age; }
encrypt() {
    if [[ -n ${BACKUP_AGE_RECIPIENT:-} ]]; then age --encrypt --recipient "$BACKUP_AGE_RECIPIENT"; else cat; fi
}
decrypt() { # name, which says whether it is encrypted
    if [[ $1 == *.age ]]; then
        [[ -n ${BACKUP_AGE_IDENTITY_FILE:-} ]] || fail "the backup is encrypted; set BACKUP_AGE_IDENTITY_FILE"
        age --decrypt --identity "$BACKUP_AGE_IDENTITY_FILE"
    else
        cat
    fi
}
check_tools() {
    need psql postgresql-client
    need redis-cli redis-tools
    [[ -z ${BACKUP_AGE_RECIPIENT:-}${BACKUP_AGE_IDENTITY_FILE:-} ]] || need age age
    [[ ${BACKUP_URL:-}${FILES_URL:-} != *s3://* ]] || need rclone rclone
}

# --- Manifests ------------------------------------------------------------------------------------------------------------
# A backup is a folder of parts and, written last, a MANIFEST: lines of words, the last of which has the SHA-256 of those before.
sha256_of() { sha256sum -- "$1" | cut -c 1-64; }
manifest_part() { # file
    printf 'part %s %s %s\n' "$(sha256_of "$1")" "$(stat --format=%s -- "$1")" "${1##*/}"
}
end_manifest() { # file
    printf 'end %s\n' "$(sha256_of "$1")" >>"$1"
}
field() { # manifest, name: the rest of the first line with this name
    awk -v name="$2" '$1 == name { sub(/^[^ ]+ /, ""); print; exit }' "$1"
}
# Whole, and as it was written.
manifest_is_sound() { # file
    [[ $(head -n 1 -- "$1") == 'tandem-backup 1' ]] || return 1
    [[ $(tail -n 1 -- "$1") == "end $(head -n -1 -- "$1" | sha256sum | cut -c 1-64)" ]]
}
# Brings a backup here, and compares each part. Nothing of a damaged one is used.
fetch_backup() { # daily/NAME, folder
    local backup=$1 folder=$2 sha256 size name
    mkdir -p -- "$folder"
    get "$backup/MANIFEST" "$folder/MANIFEST" 2>/dev/null || fail "there is no complete backup $backup; backup.sh list names those that are"
    manifest_is_sound "$folder/MANIFEST" || fail "the manifest of $backup is damaged"
    while read -r sha256 size name; do
        get "$backup/$name" "$folder/$name" || fail "$backup is damaged: $name is missing"
        [[ $(stat --format=%s -- "$folder/$name") == "$size" && $(sha256_of "$folder/$name") == "$sha256" ]] ||
            fail "$backup is damaged: $name differs from its checksum"
    done < <(sed -n 's/^part //p' "$folder/MANIFEST")
}
complete_backups() { # daily, recent or base: their names, the oldest first
    names "$1" | sed -n 's|^\([0-9]\{8\}T[0-9]\{6\}Z\)/MANIFEST$|\1|p' | sort
}
newest() { # kind
    complete_backups "$1" | tail -n 1
}
seconds_of() { # 20261129T181500Z
    date --utc --date="${1:0:4}-${1:4:2}-${1:6:2} ${1:9:2}:${1:11:2}:${1:13:2}" +%s
}

# --- Metrics --------------------------------------------------------------------------------------------------------------
# Lines of metrics replace those of the same job, for the node exporter.
metrics() { # job; lines on standard input
    local file
    [[ -n ${TEXTFILE_DIR:-} ]] || {
        cat >/dev/null
        return
    }
    file=$TEXTFILE_DIR/$1.prom
    mkdir -p -- "$TEXTFILE_DIR"
    cat >"$file.new"
    # The exporter runs as another user.
    chmod 644 "$file.new"
    mv -- "$file.new" "$file"
}
