#!/usr/bin/env bash
# Restores what backup.sh wrote. It compares every part with its checksum first, and overwrites nothing without --force.
#
#   restore.sh all [BACKUP]          PostgreSQL, then the files, then the sessions: the newest daily backup, or for example
#                                    daily/20261129T030000Z. Stop the services first.
#   restore.sh database [BACKUP]     PostgreSQL alone, in one transaction
#   restore.sh sessions [BACKUP]     the sessions alone; recent/… is newer than daily/…
#   restore.sh files                 what the rows of the database name and the store lacks
#   restore.sh data-folder FOLDER    a data folder of PostgreSQL, of the newest base backup and the archived WAL. PostgreSQL
#                                    recovers when it is started there.
#       --base=base/NAME             an older base backup
#       --time='2026-11-29 17:45:00+00'   up to this moment, for example before a mistake
#   --force                          overwrite what is there; a data folder is moved aside
#   --forget-missing                 delete the rows of files whose content is in no backup
#
# The environment says where everything is: docs/SETTINGS.md, 'Backups'. docs/RUNBOOK.md, 'Back up and restore', has the use.
# shellcheck disable=SC2154,SC2119,SC2094 # lib.sh sets what is used here; arguments are its functions' own; names are only read
# shellcheck source=infra/backup/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

force=0 forget=0 base='' moment='' words=()
for word; do
    case $word in
        --force) force=1 ;;
        --forget-missing) forget=1 ;;
        --base=*) base=${word#*=} ;;
        --time=*) moment=${word#*=} ;;
        -*) usage "${BASH_SOURCE[0]}" ;;
        *) words+=("$word") ;;
    esac
done

at_end() {
    [[ -z ${loader:-} ]] || kill "$loader" 2>/dev/null
}
begin() { # default kind
    check_tools
    make_scratch
    use_backups
    backup=${words[1]:-}
    [[ -n $backup ]] || backup=$1/$(newest "$1")
    [[ $backup =~ ^(daily|recent)/[0-9]{8}T[0-9]{6}Z$ ]] || fail "there is no complete $1 backup; backup.sh list names what there is"
    fetch_backup "$backup" "$scratch/backup"
}
part() { # name: the part here, decrypted
    local file=$scratch/backup/$1
    if [[ -e $file.age ]]; then
        decrypt "$file.age" <"$file.age" >"$file" || fail "$1.age cannot be decrypted: is BACKUP_AGE_IDENTITY_FILE the right one?"
    fi
    [[ -e $file ]] || fail "$backup has no $1"
}

# --- What is there --------------------------------------------------------------------------------------------------------
check_database() {
    has_database || fail "DATABASE_URL is not set"
    ((force)) && return
    local rows
    rows=$(table_sums | awk '{ rows += $2 } END { print rows + 0 }')
    ((rows == 0)) || fail "the database $PGDATABASE at $PGHOST:$PGPORT has $rows rows; --force replaces them"
}
check_sessions() {
    has_sessions || fail "SESSION_REDIS_URL is not set"
    [[ " ${redis_args[*]} " != *' --tls '* ]] || need openssl openssl
    local keys
    keys=$(redis dbsize) || fail "Redis at $redis_host:$redis_port does not respond"
    [[ $keys =~ ^[0-9]+$ ]] || fail "Redis at $redis_host:$redis_port: $keys"
    ((force || keys == 0)) || fail "Redis at $redis_host:$redis_port has $keys keys; --force replaces them"
}

# --- Restoring ------------------------------------------------------------------------------------------------------------
# All or nothing: an error leaves what was there. The schema is replaced as a whole, since later migrations may have added to it.
restore_database() {
    pg_restore --list "$scratch/backup/database.dump" >/dev/null || fail "the dump cannot be read"
    {
        echo 'BEGIN; SET LOCAL client_min_messages = warning; DROP SCHEMA public CASCADE; CREATE SCHEMA public;'
        echo 'ALTER SCHEMA public OWNER TO pg_database_owner; GRANT USAGE ON SCHEMA public TO PUBLIC;'
        # Without the last line nothing is committed.
        # A scratch system has no roles for privileges.
        pg_restore --no-owner ${DRILL_OF_RESTORE:+--no-privileges} --file=- "$scratch/backup/database.dump" && echo 'COMMIT;'
    } | psql --no-psqlrc --quiet --output=/dev/null --set=ON_ERROR_STOP=1 || fail "PostgreSQL does not accept the dump; nothing has changed"
    # Those of the system are not this role's.
    sql 'SET client_min_messages = error' --command=ANALYZE
    table_sums | sed 's/^/table /' >"$scratch/restored"
    grep '^table ' "$scratch/backup/MANIFEST" | diff - "$scratch/restored" >&2 || fail "the restored tables differ from those that were backed up"
    say "PostgreSQL: $(awk '{ rows += $3 } END { print rows + 0 }' "$scratch/restored") rows in $(wc -l <"$scratch/restored") tables"
    [[ -s $scratch/backup/files.gone ]] || return 0
    # Their deletion was acknowledged while the backup ran. The service ends it.
    forget_files "$scratch/backup/files.gone"
}
forget_files() { # list of ids
    sql "UPDATE files SET state = 'deleting', lease_until = now() WHERE state = 'stored' AND id = ANY ('{$(paste -s -d , "$1")}')"
}
restore_files() {
    local batch
    use_files || fail "FILES_URL is not set"
    has_database || fail "DATABASE_URL is not set"
    has_files_table || return 0
    [[ $FILES_kind == s3 ]] || mkdir -p -- "$FILES_path"
    sql "$files_sql" --field-separator=' ' >"$scratch/rows"
    stored_keys | cut -d / -f 2 | sort >"$scratch/there"
    sort "$scratch/rows" | join -v 1 - "$scratch/there" >"$scratch/wanted"
    # id-SHA-256, and the whole name in the pool: encrypted or not.
    names files | sed -E 's|^../(.*-[0-9a-f]{64})(\.age)?$|\1 &|' | sort -k 1,1 --unique >"$scratch/pool"
    awk '{ print $1 "-" $3, $1, $2, $3 }' "$scratch/wanted" | sort -k 1,1 >"$scratch/keys"
    join -v 1 "$scratch/keys" "$scratch/pool" | cut -d ' ' -f 2 >"$scratch/missing"
    join "$scratch/keys" "$scratch/pool" >"$scratch/found"
    split_batches "$scratch/found"
    for batch in "$scratch"/batch.*; do
        [[ -e $batch ]] || continue
        restore_batch "$batch"
    done
    say "files: $(wc -l <"$scratch/found") restored, $(($(wc -l <"$scratch/rows") - $(wc -l <"$scratch/wanted"))) were there"
    [[ -s $scratch/missing ]] || return 0
    if ((forget)); then
        forget_files "$scratch/missing"
        say "files: $(wc -l <"$scratch/missing") without content are forgotten"
    else
        head -n 5 "$scratch/missing" >&2
        fail "the content of $(wc -l <"$scratch/missing") files is in no backup; the first ids are above. --forget-missing deletes their rows"
    fi
}
restore_batch() { # found rows
    local pool id sha256 key
    mkdir "$scratch/from" "$scratch/to"
    awk '{ print $5 }' "$1" >"$scratch/names"
    get_all files "$scratch/names" "$scratch/from"
    while read -r _ id _ sha256 pool; do
        key=${id: -2}/$id
        mkdir -p "$scratch/to/${key%/*}"
        decrypt "$pool" <"$scratch/from/$pool" >"$scratch/to/$key" || fail "$pool cannot be decrypted: is BACKUP_AGE_IDENTITY_FILE the right one?"
        [[ $(sha256_of "$scratch/to/$key") == "$sha256" ]] || fail "the backup of the file $id is damaged"
    done <"$1"
    write_files "$scratch/to"
    rm -rf -- "$scratch/from" "$scratch/to" "$1"
}
# A server without a port loads the snapshot and writes each key to the sessions' server, with its time to live. These are plain
# writes: the append-only file has them, and replicas and Sentinels see nothing unusual.
restore_sessions() {
    local socket=$scratch/s log=$scratch/redis.log
    redis-check-rdb "$scratch/backup/sessions.rdb" >"$log" 2>&1 || fail "the snapshot of Redis is damaged"
    local tls=()
    if [[ " ${redis_args[*]} " == *' --tls '* ]]; then
        # MIGRATE has TLS as to others of a cluster, and Redis demands a certificate of its own for that. Nobody asks for it.
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=restore \
            -keyout "$scratch/restore.key" -out "$scratch/restore.crt" 2>"$log" || fail "openssl: $(tail -n 1 "$log")"
        tls=(--tls-cluster yes --tls-cert-file "$scratch/restore.crt" --tls-key-file "$scratch/restore.key")
        tls+=(--tls-ca-cert-file "${TLS_CA_FILE:-/etc/ssl/certs/ca-certificates.crt}")
    fi
    redis-server --port 0 --unixsocket "$socket" --dir "$scratch/backup" --dbfilename sessions.rdb --save '' --appendonly no \
        --logfile "$log" --maxmemory 0 --proto-max-bulk-len 536870912 "${tls[@]}" &
    loader=$!
    until [[ $(redis-cli -s "$socket" ping 2>/dev/null) == PONG ]]; do
        kill -0 "$loader" 2>/dev/null || fail "the snapshot of Redis cannot be loaded: $(tail -n 1 "$log")"
        sleep 0.1
    done
    ((!force)) || redis flushall >/dev/null
    # Quoted as redis-cli reads it; the password goes by standard input, too.
    redis-cli -s "$socket" --scan | awk -v host="$redis_host" -v port="$redis_port" -v user="$redis_user" '
        BEGIN { password = ENVIRON["REDISCLI_AUTH"] }
        function quoted(text) { gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text); return "\"" text "\"" }
        function send() { if (keys != "") print "MIGRATE " quoted(host) " " port " \"\" 0 60000 COPY REPLACE" (password == "" ? "" : " AUTH2 " quoted(user) " " quoted(password)) " KEYS" keys; keys = ""; count = 0 }
        { keys = keys " " quoted($0); if (++count == 200) send() } END { send() }' |
        env -u REDISCLI_AUTH redis-cli -s "$socket" >"$scratch/migrated"
    if grep -qvx -e OK -e NOKEY "$scratch/migrated"; then
        fail "not every key could be written to $redis_host:$redis_port: $(grep -vx -e OK -e NOKEY "$scratch/migrated" | head -n 1)"
    fi
    say "sessions: $(redis dbsize) keys of $(field "$scratch/backup/MANIFEST" keys); the others have expired"
    kill "$loader"
    wait "$loader" 2>/dev/null || true
    loader=''
}

# --- A data folder of PostgreSQL ------------------------------------------------------------------------------------------
ended_before() { # manifest, time; always true without a time
    [[ -z $2 ]] || (($(field "$1" ended) <= $(date --date="$2" +%s)))
}
# A moment is reached from a base before it.
newest_before() { # time, or nothing
    local one
    complete_backups base | sort --reverse >"$scratch/bases"
    while IFS= read -r one; do
        get "base/$one/MANIFEST" "$scratch/manifest" || fail "the manifest of base/$one cannot be read"
        if ended_before "$scratch/manifest" "$1"; then
            echo "$one"
            return
        fi
    done <"$scratch/bases"
    [[ ! -s $scratch/bases ]] || fail "no base backup is older than '$1': no moment before the oldest of backup.sh list can be restored"
}
restore_data_folder() { # folder
    local to system start
    [[ $1 == /* ]] || fail "the data folder must be an absolute path"
    to=${1%/}
    [[ $to != *[\'\"%\\]* ]] || fail "PostgreSQL cannot use the path $to: no quotes, percent signs or backslashes"
    need pg_verifybackup postgresql
    [[ -z $moment ]] || date --date="$moment" >/dev/null || fail "'$moment' is no time"
    [[ $moment != *[\'\\]* ]] || fail "'$moment' is no time"
    check_tools
    make_scratch
    use_backups
    [[ -n $base ]] || base=base/$(newest_before "$moment")
    [[ $base =~ ^base/[0-9]{8}T[0-9]{6}Z$ ]] || fail "there is no complete base backup; backup.sh list names what there is"
    if [[ -n $(ls -A -- "$to" 2>/dev/null) ]]; then
        ((force)) || fail "$to is not empty; --force moves it aside"
        [[ ! -e $to/postmaster.pid ]] || ! kill -0 "$(head -n 1 "$to/postmaster.pid")" 2>/dev/null || fail "a server uses $to; stop it first"
    fi
    fetch_backup "$base" "$scratch/backup"
    ended_before "$scratch/backup/MANIFEST" "$moment" || fail "$base was made after '$moment'; without --base an older one is chosen"
    part base.tar.gz
    system=$(field "$scratch/backup/MANIFEST" system) start=$(field "$scratch/backup/MANIFEST" start)
    # Beside its place, so that what is there is complete.
    rm -rf -- "$to.new" "$to.wal"
    mkdir -p -- "$to.new" "$to.wal"
    tar -xzf "$scratch/backup/base.tar.gz" -C "$to.new"
    pg_verifybackup --quiet --no-parse-wal "$to.new" || fail "the data folder differs from its manifest"
    fetch_wal "$system" "$start" "$to.wal"
    {
        echo "restore_command = 'test -f \"$to.wal/%f.gz\" && gunzip -c \"$to.wal/%f.gz\" >\"%p\"'"
        echo "recovery_target_action = promote"
        # Empty, too: the base may have that of a restore before it, and the last line counts.
        echo "recovery_target_time = '$moment'"
    } >>"$to.new/postgresql.auto.conf"
    : >"$to.new/recovery.signal"
    chmod 700 "$to.new"
    if ((EUID == 0)); then chown --recursive --reference="$(dirname "$to")" -- "$to.new" "$to.wal"; fi
    if [[ -e $to ]]; then
        if [[ -n $(ls -A -- "$to") ]]; then mv -- "$to" "$to.before-$(date --utc +%Y%m%dT%H%M%SZ)"; else rmdir -- "$to"; fi
    fi
    mv -- "$to.new" "$to"
    sync --file-system -- "$to"
    say "$to: $base and $(find "$to.wal" -type f | wc -l) files of WAL. Start PostgreSQL; remove $to.wal when pg_is_in_recovery() is false"
}
# From the base backup on, compressed: of what was not taken over from PostgreSQL yet, and of the archive. In this order: what
# `backup.sh recent` takes over meanwhile is in the archive then.
fetch_wal() { # system, start, folder
    local entry name sha256
    if [[ -n ${WAL_ARCHIVE_DIR:-} && -d ${WAL_ARCHIVE_DIR:-}/$1 ]]; then
        for entry in "$WAL_ARCHIVE_DIR/$1"/*; do
            [[ -f $entry ]] || continue
            name=$3/${entry##*/}.gz
            gzip -1 -n -c -- "$entry" >"$name" || {
                rm -f -- "$name"
                [[ ! -e $entry ]] || fail "$entry cannot be read"
            }
        done
    fi
    names "wal/$1" | awk -v start="$2" '/\.history-/ || substr($0, 9, 16) >= substr(start, 9, 16)' >"$scratch/wal.names"
    mkdir -p "$scratch/wal"
    get_all "wal/$1" "$scratch/wal.names" "$scratch/wal"
    while IFS= read -r entry; do
        name=${entry%%-*} sha256=${entry#*-}
        decrypt "$entry" <"$scratch/wal/$entry" >"$3/$name.gz" || fail "$entry cannot be decrypted"
        [[ $(gzip -dc "$3/$name.gz" | sha256sum | cut -c 1-64) == "${sha256%%.*}" ]] || fail "the archived $name is damaged"
    done <"$scratch/wal.names"
}

case ${words[0]:-} in
    all)
        begin daily
        part database.dump
        check_database
        # Everything is checked before anything is changed.
        if compgen -G "$scratch/backup/sessions.rdb*" >/dev/null; then
            part sessions.rdb
            check_sessions
        fi
        restore_database
        [[ ! -e $scratch/backup/files.list.gz ]] || restore_files
        [[ ! -e $scratch/backup/sessions.rdb ]] || restore_sessions
        say "restored from $backup"
        ;;
    database)
        begin daily
        part database.dump
        check_database
        restore_database
        ;;
    sessions)
        begin daily
        part sessions.rdb
        check_sessions
        restore_sessions
        ;;
    files)
        check_tools
        make_scratch
        use_backups
        restore_files
        ;;
    data-folder)
        [[ -n ${words[1]:-} ]] || usage "${BASH_SOURCE[0]}"
        restore_data_folder "${words[1]}"
        ;;
    *) usage "${BASH_SOURCE[0]}" ;;
esac
