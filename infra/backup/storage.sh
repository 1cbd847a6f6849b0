#!/usr/bin/env bash
# Where backups and files are: a folder, or S3 by rclone. It is sourced by lib.sh.
#
# A name is a path below the place. What is put under it appears whole or not at all.
# shellcheck disable=SC2154 # lib.sh sets scratch, and place the rest

# Splits file:///a/folder and s3://bucket/prefix. Sets NAME_kind and NAME_path.
place() { # name of a variable, prefix of its S3 settings
    local url=${!1:-} prefix=$2 path
    case $url in
        file:///*) printf -v "${prefix}_kind" folder && path=$(decoded "${url#file://}") ;;
        s3://?*) printf -v "${prefix}_kind" s3 && path=${url#s3://} && use_s3 "$prefix" ;;
        *) fail "$1 must be file:///an/absolute/folder or s3://bucket/prefix" ;;
    esac
    printf -v "${prefix}_path" %s "${path%/}"
}
# rclone reads a remote from the environment, where no list of processes shows its secret.
use_s3() { # prefix
    local prefix=$1 name value
    export "RCLONE_CONFIG_${prefix}_TYPE=s3" "RCLONE_CONFIG_${prefix}_PROVIDER=Other" "RCLONE_CONFIG_${prefix}_NO_CHECK_BUCKET=true" "RCLONE_CONFIG_${prefix}_LIST_VERSION=2"
    for name in ENDPOINT REGION ACCESS_KEY SECRET_KEY; do
        value=${prefix}_S3_$name
        value=${!value:-}
        case $name in
            ACCESS_KEY) name=ACCESS_KEY_ID ;;
            SECRET_KEY) name=SECRET_ACCESS_KEY ;;
            REGION) value=${value:-us-east-1} ;;
        esac
        [[ -z $value ]] || export "RCLONE_CONFIG_${prefix}_$name=$value"
    done
    local key=${prefix}_S3_ACCESS_KEY endpoint=${prefix}_S3_ENDPOINT
    [[ -n ${!key:-} ]] || export "RCLONE_CONFIG_${prefix}_ENV_AUTH=true"
    [[ -n ${!endpoint:-} ]] || export "RCLONE_CONFIG_${prefix}_PROVIDER=AWS"
    # rclone's library for S3 fails by this variable.
    [[ -z ${AWS_CA_BUNDLE:-} ]] || export RCLONE_CA_CERT=$AWS_CA_BUNDLE
    unset AWS_CA_BUNDLE
    # No configuration of whoever runs this.
    export RCLONE_CONFIG=/dev/null
}
# Without a delimiter, one implementation lists nothing; so folders are listed one by one.
s3() { rclone --quiet --disable ListR --retries 3 --low-level-retries 3 --contimeout 10s "$@"; }

# A folder that nothing was put into yet is empty; any other error is one, or a backup could be pruned as if nothing named its files.
s3_list() { # folder
    s3 lsf --recursive --files-only "$1" 2>"$scratch/s3.log" || {
        [[ $? == 3 ]] || fail "S3 lists nothing: $(tail -n 1 "$scratch/s3.log")"
    }
}

# --- The place of backups -------------------------------------------------------------------------------------------------
use_backups() {
    place BACKUP_URL BACKUP
    # It is never made here: where a disk is not mounted, backups would fill the place below it.
    [[ $BACKUP_kind == s3 || -d $BACKUP_path ]] || fail "there is no folder $BACKUP_path: is it mounted? If it is new, make it with mkdir"
}
put() { # file here, name
    if [[ $BACKUP_kind == s3 ]]; then
        s3 copyto -- "$1" "BACKUP:$BACKUP_path/$2"
        return
    fi
    local target=$BACKUP_path/$2
    mkdir -p -- "$(dirname "$target")"
    cp -- "$1" "$target.partial"
    sync -- "$target.partial"
    mv -- "$target.partial" "$target"
    sync -- "$(dirname "$target")"
}
get() { # name, file here
    if [[ $BACKUP_kind == s3 ]]; then
        s3 copyto -- "BACKUP:$BACKUP_path/$1" "$2" && [[ -e $2 ]]
    else
        cp -- "$BACKUP_path/$1" "$2"
    fi
}
# Every file below a folder, as paths relative to it.
names() { # folder
    if [[ $BACKUP_kind == s3 ]]; then
        s3_list "BACKUP:$BACKUP_path/$1"
    elif [[ -d $BACKUP_path/$1 ]]; then
        find "$BACKUP_path/$1" -type f -printf '%P\n'
    fi | { grep -v '\.partial$' || true; }
}
remove() { # folder; names below it on standard input, one a line
    local list=$scratch/remove
    cat >"$list"
    [[ -s $list ]] || return 0
    if [[ $BACKUP_kind == s3 ]]; then
        s3 delete --files-from-raw "$list" "BACKUP:$BACKUP_path/$1"
    else
        (cd -- "$BACKUP_path/$1" && xargs -r -d '\n' rm -f -- <"$list")
        find "$BACKUP_path/$1" -mindepth 1 -type d -empty -delete
    fi
}
put_all() { # folder here, name of the folder there
    if [[ $BACKUP_kind == s3 ]]; then
        s3 copy --no-check-dest -- "$1" "BACKUP:$BACKUP_path/$2"
        return
    fi
    copy_all "$1" "$BACKUP_path/$2" .partial
    sync --file-system -- "$BACKUP_path/$2"
}
# Another file system cannot rename: each file arrives beside its place first.
copy_all() { # folder, folder, suffix of a name until the file is whole
    local file name
    mkdir -p -- "$2"
    find "$1" -type f -print0 >"$scratch/copied"
    while IFS= read -r -d '' file; do
        name=$2/${file#"$1"/}
        mkdir -p -- "${name%/*}"
        cp -- "$file" "$name$3"
        mv -- "$name$3" "$name"
    done <"$scratch/copied"
}
get_all() { # folder there, list of names, folder here
    if [[ $BACKUP_kind == s3 ]]; then
        s3 copy --files-from-raw "$2" "BACKUP:$BACKUP_path/$1" "$3"
    else
        copy_listed "$BACKUP_path/$1" "$2" "$3"
    fi
}
# Names that are missing are left out.
copy_listed() { # folder, list, folder
    local name
    while IFS= read -r name; do
        [[ -f $1/$name ]] || continue
        mkdir -p -- "$3/$(dirname "$name")"
        cp --reflink=auto -- "$1/$name" "$3/$name"
    done <"$2"
}

# --- The place of users' files --------------------------------------------------------------------------------------------
# The content of a file is below the two last digits of its id, as the stateless service has it.
use_files() {
    [[ -n ${FILES_URL:-} ]] || return 1
    place FILES_URL FILES
}
key_of_ids() { sed -E 's|^(.*(..))$|\2/\1|'; }
# Which of these keys the store has.
stored_keys() {
    if [[ $FILES_kind == s3 ]]; then
        s3_list "FILES:$FILES_path"
    elif [[ -d $FILES_path ]]; then
        find "$FILES_path" -type f -printf '%P\n'
    fi | { grep -E '^[0-9a-f]{2}/[0-9a-f-]{36}$' || true; }
}
read_files() { # list of keys, folder here
    if [[ $FILES_kind == s3 ]]; then
        s3 copy --files-from-raw "$1" "FILES:$FILES_path" "$2"
    else
        copy_listed "$FILES_path" "$1" "$2"
    fi
}
write_files() { # folder here
    if [[ $FILES_kind == s3 ]]; then
        s3 copy --no-check-dest -- "$1" "FILES:$FILES_path"
        return
    fi
    # The name of an unfinished upload, which the service sweeps if this ends here.
    copy_all "$1" "$FILES_path" '#restore'
    # As the service makes them, which may run as another user.
    if ((EUID == 0)); then chown --recursive --reference="$FILES_path" -- "$FILES_path"; fi
    sync --file-system -- "$FILES_path"
}
