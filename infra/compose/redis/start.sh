#!/bin/sh
# Starts Redis, or a Sentinel, with a configuration file and the password that the secrets hold: on a command line, everybody
# on the host could read it.
#
#   start.sh sessions.conf       a server; further arguments go to it
#   start.sh sentinel.conf       a Sentinel
set -eu

file=$1
shift
password=$(cat /run/secrets/redis_password)
case ${TANDEM_MODE:-development}$password in
    production*development-only*)
        echo "redis: redis_password is a secret for development, which everybody knows" >&2
        exit 64
        ;;
esac

umask 077
cat "/etc/tandem/redis/$file" >/run/redis/redis.conf
if [ "$file" = sentinel.conf ]; then
    echo "sentinel auth-pass tandem $password" >>/run/redis/redis.conf
    exec redis-server /run/redis/redis.conf --sentinel "$@"
fi
printf 'requirepass %s\nmasterauth %s\n' "$password" "$password" >>/run/redis/redis.conf
exec redis-server /run/redis/redis.conf "$@"
