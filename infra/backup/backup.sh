#!/usr/bin/env bash
# Backs up PostgreSQL, the sessions and the files of users, while the system serves.
#
#   backup.sh create      a whole backup, daily: a dump of PostgreSQL, the sessions, and the files that its rows name
#   backup.sh recent      every 15 minutes: the archived WAL of PostgreSQL, the sessions, and new files
#   backup.sh base        weekly: a copy of PostgreSQL's data folder, with which the WAL restores any moment since
#   backup.sh list        what there is, and whether it is complete
#   backup.sh verify DAY  compares a backup with its checksums: daily/20261129T030000Z, or recent/… or base/…
#   backup.sh retained    reads names of backups, and prints those that are kept
#
# The environment says from where and to where: docs/SETTINGS.md, 'Backups'. docs/RUNBOOK.md, 'Back up and restore', has the use.
# shellcheck disable=SC2154 # lib.sh sets what is used here
# shellcheck source=infra/backup/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# 30 daily and 12 monthly backups: the newest of each of the last 30 days that have one, the first of each of the last 12 months, and
# all of the last two days. By the names alone, so a wrong clock deletes nothing that a right one would keep.
retained() {
    sort --unique | awk -v days="${BACKUP_DAILY:-30}" -v months="${BACKUP_MONTHLY:-12}" '
        { name[NR] = $0; day = substr($0, 1, 8); month = substr($0, 1, 6); newest[day] = NR; if (!(month in first)) first[month] = NR }
        END {
            for (at = NR; at > 0; at--) {
                day = substr(name[at], 1, 8); month = substr(name[at], 1, 6)
                if (!(day in seen_days)) { seen_days[day]; number_of_days++ }
                if (!(month in seen_months)) { seen_months[month]; number_of_months++ }
                if (number_of_days <= 2 || (newest[day] == at && number_of_days <= days) || (first[month] == at && number_of_months <= months)) keep[at]
            }
            for (at = 1; at <= NR; at++) if (at in keep) print name[at]
        }'
}

# --- Files ----------------------------------------------------------------------------------------------------------------
# Content never changes, so each file is kept once, under its id and SHA-256, however many backups name it. Reads rows: id, size, SHA-256.
with_pool_names() { awk -v suffix="$(suffix)" '{ print substr($1, length($1) - 1) "/" $1 "-" $3 suffix, $0 }'; }

# Copies what the pool lacks of these rows. What the store lacks, or has with another checksum, is in $scratch/missing afterwards.
copy_files() { # rows
    local rows=$1 batch
    : >"$scratch/missing"
    [[ -s $rows ]] || return 0
    names files | sort >"$scratch/pool"
    with_pool_names <"$rows" | sort | join -v 1 - "$scratch/pool" >"$scratch/wanted"
    split_batches "$scratch/wanted"
    for batch in "$scratch"/batch.*; do
        [[ -e $batch ]] || continue
        mkdir "$scratch/from" "$scratch/to"
        awk '{ print $2 }' "$batch" | key_of_ids >"$scratch/keys"
        read_files "$scratch/keys" "$scratch/from" || say "warning: not every file could be read"
        check_and_encrypt "$batch"
        put_all "$scratch/to" files
        rm -rf -- "$scratch/from" "$scratch/to" "$batch"
    done
}
check_and_encrypt() { # batch
    local pool id sha256 key
    awk '{ print $4 "  " substr($2, length($2) - 1) "/" $2 }' "$1" >"$scratch/sums"
    # It fails where one differs or is missing; those that don't count.
    { (cd "$scratch/from" && LC_ALL=C sha256sum --check "$scratch/sums" 2>/dev/null) || true; } | sed -n 's/: OK$//p' | sort >"$scratch/sound"
    while read -r pool id _ sha256; do
        key=${id: -2}/$id
        if ! grep -qxF "$key" "$scratch/sound"; then
            echo "$id" >>"$scratch/missing"
            continue
        fi
        mkdir -p "$scratch/to/${pool%/*}"
        if [[ $pool == *.age ]]; then
            encrypt <"$scratch/from/$key" >"$scratch/to/$pool"
        else
            mv -- "$scratch/from/$key" "$scratch/to/$pool"
        fi
    done <"$1"
}
# Files whose deletion was acknowledged since the rows were read have no content, and need none. Others are lost: say so.
sort_missing() { # folder of the backup
    : >"$1/files.gone"
    lost=0
    [[ -s $scratch/missing ]] || return 0
    sort "$scratch/missing" >"$scratch/missing.sorted"
    sql "SELECT id FROM files WHERE state = 'stored' ORDER BY id" | sort | comm -13 - "$scratch/missing.sorted" >"$1/files.gone"
    comm -23 "$scratch/missing.sorted" "$1/files.gone" >"$scratch/lost"
    lost=$(wc -l <"$scratch/lost")
    ((lost == 0)) || say "warning: the store lacks the content of $lost files, or has it damaged; the first is $(head -n 1 "$scratch/lost")"
}

# --- Parts ----------------------------------------------------------------------------------------------------------------
back_up_sessions() { # folder
    redis-cli "${redis_args[@]}" --rdb "$1/sessions.rdb" >"$scratch/redis.log" 2>&1 </dev/null ||
        fail "Redis sent no snapshot: $(tail -n 1 "$scratch/redis.log")"
    redis-check-rdb "$1/sessions.rdb" >"$scratch/redis.log" 2>&1 || fail "the snapshot of Redis is damaged: $(tail -n 1 "$scratch/redis.log")"
    sed -n 's/^\[info\] \([0-9]*\) keys read$/keys \1/p' "$scratch/redis.log" >>"$1/MANIFEST"
    seal "$1/sessions.rdb"
}
# Encrypts a part, if a recipient is given.
seal() { # file
    [[ -n ${BACKUP_AGE_RECIPIENT:-} ]] || return 0
    encrypt <"$1" >"$1.age"
    rm -- "$1"
}
# One snapshot for the dump, the sums of the tables and the list of files.
back_up_database() { # folder
    local snapshot
    coproc holder { psql --no-psqlrc --quiet --tuples-only --no-align; }
    local to=${holder[1]} from=${holder[0]} pid=$holder_PID
    echo 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot();' >&"$to"
    IFS= read -r -t 30 -u "$from" snapshot || fail "PostgreSQL at $PGHOST:$PGPORT exports no snapshot"
    echo "taken $(date +%s)" >>"$1/MANIFEST"
    pg_dump --format=custom --no-owner --snapshot="$snapshot" --file="$1/database.dump" || fail "pg_dump failed"
    # grep -q would end pg_restore's output early, which is an error of the pipe.
    pg_restore --list "$1/database.dump" | grep 'TABLE DATA' >"$scratch/contents" || fail "the dump of PostgreSQL has no table"
    table_sums "$snapshot" | sed 's/^/table /' >>"$1/MANIFEST"
    : >"$scratch/rows"
    if has_files_table; then
        {
            echo "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '$snapshot';"
            echo "$files_sql;"
        } | psql --no-psqlrc --quiet --tuples-only --no-align --field-separator=' ' --set=ON_ERROR_STOP=1 >"$scratch/rows"
    fi
    echo '\q' >&"$to"
    wait "$pid" 2>/dev/null || true
    seal "$1/database.dump"
}
stored_rows() {
    : >"$scratch/rows"
    if has_files_table; then sql "$files_sql" --field-separator=' ' >"$scratch/rows"; fi
}
# The list is not encrypted: it has ids, sizes and checksums, and a backup is pruned without a key.
list_files() { # folder
    with_pool_names <"$scratch/rows" | awk '{ print $2, $3, $4, $1 }' | { grep -vFf "$scratch/missing" || true; } | gzip -n >"$1/files.list.gz"
    echo "files $(gzip -dc "$1/files.list.gz" | wc -l)" >>"$1/MANIFEST"
}
files_of() { # folder
    copy_files "$scratch/rows"
    sort_missing "$1"
    list_files "$1"
}
begin_manifest() { # folder, kind
    mkdir -p "$1"
    printf 'tandem-backup 1\nkind %s\nname %s\nencrypted %s\n' "$2" "$name" "$([[ -n ${BACKUP_AGE_RECIPIENT:-} ]] && echo age || echo no)" >"$1/MANIFEST"
}
# The manifest goes last, so what is incomplete has none.
store() { # folder, kind
    local part
    echo "ended $(date +%s)" >>"$1/MANIFEST"
    for part in "$1"/*; do
        [[ $part == */MANIFEST ]] || manifest_part "$part" >>"$1/MANIFEST"
    done
    end_manifest "$1/MANIFEST"
    for part in "$1"/*; do
        [[ $part == */MANIFEST ]] || put "$part" "$2/$name/${part##*/}"
    done
    put "$1/MANIFEST" "$2/$name/MANIFEST"
}

# --- WAL ------------------------------------------------------------------------------------------------------------------
# Takes over what PostgreSQL archived: each file under its name and SHA-256, compressed. Sets what there is before files are copied: a
# row in it then has its content, or was deleted since.
list_wal() {
    : >"$scratch/wal.list"
    [[ -n ${WAL_ARCHIVE_DIR:-} && -d ${WAL_ARCHIVE_DIR:-} ]] || return 0
    (cd -- "$WAL_ARCHIVE_DIR" && find . -mindepth 2 -maxdepth 2 -type f -printf '%P\n') |
        { grep -E '^[0-9]+/([0-9A-F]{8}\.history|[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?)$' || true; } | sort >"$scratch/wal.list"
}
ship_wal() {
    local entry sha256 known
    [[ -s $scratch/wal.list ]] || return 0
    names wal | sed -E 's/-([0-9a-f]{64})\.gz(\.age)?$/ \1/' | sort >"$scratch/wal.known"
    mkdir "$scratch/wal"
    while IFS= read -r entry; do
        sha256=$(sha256_of "$WAL_ARCHIVE_DIR/$entry")
        known=$(awk -v entry="$entry" '$1 == entry { print $2 }' "$scratch/wal.known")
        # PostgreSQL may archive a file again after a crash; then it is the same.
        [[ -z $known || $known == "$sha256" ]] || fail "the archive has another $entry; does a second server archive to $WAL_ARCHIVE_DIR?"
        [[ -z $known ]] || continue
        mkdir -p "$scratch/wal/${entry%/*}"
        gzip -1 -n -c -- "$WAL_ARCHIVE_DIR/$entry" | encrypt >"$scratch/wal/$entry-$sha256.gz$(suffix)"
    done <"$scratch/wal.list"
    put_all "$scratch/wal" wal
    # Only now are they anywhere else.
    (cd -- "$WAL_ARCHIVE_DIR" && xargs -r -d '\n' rm -f -- <"$scratch/wal.list")
}

# --- Commands -------------------------------------------------------------------------------------------------------------
begin() { # kind
    check_tools
    make_scratch
    use_backups
    lock_destination
    name=$(date --utc +%Y%m%dT%H%M%SZ) began=$(date +%s)
    # A name is a second, and belongs to one backup.
    local used
    used=$(names "$1/$name")
    while [[ -n $used ]]; do
        sleep 0.2
        name=$(date --utc +%Y%m%dT%H%M%SZ)
        used=$(names "$1/$name")
    done
    lost=0
}
mark_success() { # job, lines of metrics on standard input
    {
        echo '# HELP tandem_backup_last_success_timestamp_seconds When the last backup was written and verified.'
        echo '# TYPE tandem_backup_last_success_timestamp_seconds gauge'
        echo '# HELP tandem_backup_duration_seconds How long the last backup took.'
        echo '# TYPE tandem_backup_duration_seconds gauge'
        echo '# HELP tandem_backup_size_bytes The size of the last backup, without the files, which all backups share.'
        echo '# TYPE tandem_backup_size_bytes gauge'
        echo '# HELP tandem_backup_missing_files Files whose content the store lacked, or had damaged.'
        echo '# TYPE tandem_backup_missing_files gauge'
        cat
        printf 'tandem_backup_duration_seconds{kind="%s"} %s\n' "$1" "$(($(date +%s) - began))"
        printf 'tandem_backup_size_bytes{kind="%s"} %s\n' "$1" "$(du --bytes --summarize "$folder" | cut -f 1)"
    } | metrics "backup-$1"
}
succeeded() { printf 'tandem_backup_last_success_timestamp_seconds{what="%s"} '"$(date +%s)"'\n' "$@"; }

create() {
    begin daily
    folder=$scratch/daily
    begin_manifest "$folder" daily
    local what=()
    has_database || fail "DATABASE_URL is not set"
    : >"$scratch/missing"
    # Most files are copied before the snapshot, so that hardly any is deleted between it and its copy.
    if use_files; then
        stored_rows
        copy_files "$scratch/rows"
    fi
    back_up_database "$folder"
    what+=(postgres)
    if has_sessions; then
        back_up_sessions "$folder"
        what+=(sessions)
    fi
    if [[ -n ${FILES_kind:-} ]]; then
        files_of "$folder"
        what+=(files)
    fi
    store "$folder" daily
    {
        succeeded "${what[@]}"
        printf 'tandem_backup_missing_files{kind="daily"} %s\n' "$lost"
    } | mark_success daily
    prune
    say "daily/$name: ${what[*]}, $(du --human-readable --summarize "$folder" | cut -f 1) without the files"
}
recent() {
    begin recent
    folder=$scratch/recent
    begin_manifest "$folder" recent
    list_wal
    local complete=1
    if has_database && sql 'SELECT 1' >/dev/null 2>&1; then
        if use_files; then
            echo "taken $(date +%s)" >>"$folder/MANIFEST"
            stored_rows
            files_of "$folder"
        fi
    else
        complete=0
    fi
    # Without PostgreSQL, too: it is what the database is restored from.
    ship_wal
    ((complete)) || fail "PostgreSQL does not respond; its archived WAL is stored"
    if has_sessions; then back_up_sessions "$folder"; fi
    store "$folder" recent
    {
        succeeded recent
        printf 'tandem_backup_missing_files{kind="recent"} %s\n' "$lost"
    } | mark_success recent
    complete_backups recent | head -n "-${BACKUP_RECENT:-4}" | drop recent
    say "recent/$name: $(wc -l <"$scratch/wal.list") files of WAL, $(field "$folder/MANIFEST" keys || true) keys of sessions"
}
base() {
    begin base
    folder=$scratch/base
    begin_manifest "$folder" base
    has_database || fail "DATABASE_URL is not set"
    echo "system $(sql 'SELECT system_identifier FROM pg_control_system()')" >>"$folder/MANIFEST"
    (
        [[ -z ${BACKUP_REPLICATION_URL:-} ]] || use_database "$(with_password BACKUP_REPLICATION_URL)"
        unset PGOPTIONS
        pg_basebackup --format=tar --pgdata=- --wal-method=fetch --checkpoint=fast --no-password --label=tandem | gzip -1 -n >"$folder/base.tar.gz"
    ) || fail "pg_basebackup failed; its role needs REPLICATION (BACKUP_REPLICATION_URL), and pg_hba.conf a line for it"
    tar -xzOf "$folder/base.tar.gz" backup_label >"$scratch/label"
    echo "start $(sed -n 's/^START WAL LOCATION: .*(file \([0-9A-F]*\))$/\1/p' "$scratch/label")" >>"$folder/MANIFEST"
    seal "$folder/base.tar.gz"
    store "$folder" base
    succeeded base | mark_success base
    complete_backups base | head -n "-${BACKUP_BASES:-5}" | drop base
    prune_wal
    say "base/$name: $(du --human-readable --summarize "$folder" | cut -f 1)"
}

# Deletes backups, the manifest first: what is deleted in part is not complete.
drop() { # kind; names on standard input
    local old
    while IFS= read -r old; do
        echo "$old/MANIFEST" | remove "$1"
        names "$1" | { grep "^$old/" || true; } | remove "$1"
    done
}
begun_backups() { # kind: all names, those without a manifest, too
    names "$1" | cut -d / -f 1 | sort --unique
}
prune() {
    local all=$scratch/all kept=$scratch/kept kind
    complete_backups daily >"$all"
    retained <"$all" >"$kept"
    comm -23 "$all" "$kept" | drop daily
    # What crashed two days ago or earlier. Each list is a file: a failed list would else be an empty one, with nothing complete.
    for kind in daily recent base; do
        begun_backups "$kind" >"$scratch/begun"
        complete_backups "$kind" >"$scratch/complete"
        comm -23 "$scratch/begun" "$scratch/complete" |
            awk -v limit="$(date --utc --date='2 days ago' +%Y%m%dT%H%M%SZ)" '$0 < limit' | drop "$kind"
    done
    prune_files
}
# Deletes files that no backup names any more.
prune_files() {
    local backup
    : >"$scratch/named"
    complete_backups daily | sed 's|^|daily/|' >"$scratch/backups"
    complete_backups recent | sed 's|^|recent/|' >>"$scratch/backups"
    grep -qx "daily/$name" "$scratch/backups" || fail "the backup that was just written is not listed; nothing is deleted"
    for backup in $(<"$scratch/backups"); do
        names "$backup" >"$scratch/parts"
        grep -qx files.list.gz "$scratch/parts" || continue
        # Without each list nothing may be deleted.
        get "$backup/files.list.gz" "$scratch/list.gz" || fail "cannot read the list of files of $backup"
        gzip -dc "$scratch/list.gz" | cut -d ' ' -f 4 >>"$scratch/named" || fail "the list of files of $backup is damaged"
    done
    sort --unique "$scratch/named" >"$scratch/still"
    names files | sort | comm -23 - "$scratch/still" | remove files
}
prune_wal() {
    local backup current
    : >"$scratch/starts"
    complete_backups base >"$scratch/bases"
    for backup in $(<"$scratch/bases"); do
        get "base/$backup/MANIFEST" "$scratch/manifest"
        manifest_is_sound "$scratch/manifest" || fail "the manifest of base/$backup is damaged"
        echo "$(field "$scratch/manifest" system) $(field "$scratch/manifest" start)" >>"$scratch/starts"
    done
    current=$(sql 'SELECT system_identifier FROM pg_control_system()')
    # Positions count, whatever the timeline; histories of timelines stay.
    names wal | awk -v current="$current" -v starts="$scratch/starts" '
        BEGIN { while ((getline line < starts) > 0) { split(line, at, " "); place = substr(at[2], 9, 16); if (!(at[1] in first) || place < first[at[1]]) first[at[1]] = place } }
        { split($0, path, "/"); if (path[2] ~ /^[0-9A-F]+\.history/) next
          if (path[1] in first) { if (substr(path[2], 9, 16) < first[path[1]]) print } else if (path[1] != current) print }' | remove wal
}
list() {
    make_scratch
    use_backups
    local kind
    for kind in daily recent base; do
        begun_backups "$kind" >"$scratch/begun"
        complete_backups "$kind" >"$scratch/complete"
        { comm -12 "$scratch/begun" "$scratch/complete" && comm -23 "$scratch/begun" "$scratch/complete" | sed 's/$/ incomplete/'; } |
            sort | sed "s|^|$kind/|"
    done
}
verify() { # backup
    make_scratch
    use_backups
    fetch_backup "$1" "$scratch/backup"
    # Each file that it names is there.
    if [[ -e $scratch/backup/files.list.gz ]]; then
        names files | sort >"$scratch/pool"
        gzip -dc "$scratch/backup/files.list.gz" | cut -d ' ' -f 4 | sort | comm -23 - "$scratch/pool" >"$scratch/absent"
        [[ ! -s $scratch/absent ]] || fail "$1 lacks $(wc -l <"$scratch/absent") files, such as $(head -n 1 "$scratch/absent")"
    fi
    say "$1 is sound"
}

case ${1:-} in
    create | recent | base | list | retained) "$1" ;;
    verify)
        [[ -n ${2:-} ]] || usage "${BASH_SOURCE[0]}"
        verify "$2"
        ;;
    *) usage "${BASH_SOURCE[0]}" ;;
esac
