#!/bin/sh
# Starts Redis, or a Sentinel, with a configuration file and the password that the secrets hold: on a command line, everybody
# on the host could read it.
#
#   start.sh sessions.conf       a server. With SENTINELS (addresses, separated by spaces) it has the ADDRESS given, and
#                                follows whom most of them call the master
#   start.sh sentinel.conf       a Sentinel with the ADDRESS given, of the servers whose first master is MASTER
set -eu

file=$1
password=$(cat /run/secrets/redis_password)
case ${TANDEM_MODE:-development}$password in
    production*development-only*)
        echo "redis: redis_password is a secret for development, which everybody knows" >&2
        exit 64
        ;;
esac
umask 077

start_sentinel() {
    config=/data/sentinel.conf
    if [ ! -s "$config" ]; then
        {
            # The same Sentinel again when its volume was lost, and not one more to win a majority of.
            echo "sentinel myid $(printf %s "$ADDRESS" | sha1sum | cut -c 1-40)"
            echo "sentinel announce-ip $ADDRESS"
            # shellcheck disable=SC2153 # it is the environment's
            sed "s/@@MASTER@@/$MASTER/" "/etc/tandem/redis/$file"
        } >"$config"
    fi
    # Anew with each start, so that the password and the settings may change.
    settings='^sentinel (auth-pass|down-after-milliseconds|failover-timeout|parallel-syncs) '
    sed -Ei "/$settings/d" "$config"
    grep -E "$settings" "/etc/tandem/redis/$file" >>"$config"
    echo "sentinel auth-pass tandem $password" >>"$config"
    exec redis-server "$config" --sentinel
}

# Whom at least two of three Sentinels call the master: one may have slept through a failover.
master() {
    attempt=0
    while [ "$attempt" -lt 60 ]; do
        told=$(for sentinel in $SENTINELS; do
            timeout 2 redis-cli -h "$sentinel" -p 26379 --raw sentinel get-master-addr-by-name tandem 2>/dev/null | head -n 1
        done | sort | uniq -c | awk '$1 >= 2 { print $2 }')
        if [ -n "$told" ]; then
            echo "$told"
            return
        fi
        sleep 1
        attempt=$((attempt + 1))
    done
    echo "redis: no two of the Sentinels ($SENTINELS) agree on a master" >&2
    return 1
}

start_server() {
    config=/run/redis/redis.conf
    cat "/etc/tandem/redis/$file" >"$config"
    printf 'requirepass %s\nmasterauth %s\n' "$password" "$password" >>"$config"
    if [ -n "${SENTINELS:-}" ]; then
        master=$(master)
        echo "replica-announce-ip $ADDRESS" >>"$config"
        [ "$master" = "$ADDRESS" ] || echo "replicaof $master 6379" >>"$config"
    fi
    exec redis-server "$config"
}

if [ "$file" = sentinel.conf ]; then start_sentinel; else start_server; fi
