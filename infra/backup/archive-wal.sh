#!/bin/sh
# PostgreSQL's archive_command: copies a finished file of the WAL out of the data folder, from where backup.sh takes it over.
#
#   archive_command = '/path/to/archive-wal.sh %p %f /var/lib/tandem-wal'
#
# Success means that the file is on disk under its name. The folder has one folder for each cluster, by its system identifier, so a new
# cluster never meets the files of an old one. Another file of the same name is an error, which PostgreSQL logs and retries.
set -eu

from=$1 name=$2 archive=$3
case $name in
    */* | .*) echo "archive-wal.sh: $name is no file of the WAL" >&2; exit 1 ;;
esac
# PostgreSQL runs this in its data folder. The identifier is what pg_control begins with.
system=$(od -An -t u8 -N 8 global/pg_control | tr -d ' ')
[ -n "$system" ] || exit 1
umask 027
mkdir -p "$archive/$system"
target=$archive/$system/$name
if [ -e "$target" ]; then
    cmp -s "$from" "$target" && exit 0
    echo "archive-wal.sh: $target exists, and differs" >&2
    exit 1
fi
# A name that backup.sh leaves alone.
new=$archive/$system/.$name.$$
trap 'rm -f "$new"' EXIT
cp "$from" "$new"
sync "$new"
mv "$new" "$target"
sync "$archive/$system"
