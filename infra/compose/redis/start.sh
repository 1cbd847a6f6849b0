#!/bin/sh
# Starts Redis, or a Sentinel, with a configuration file and the password of the secrets. Every user of the host could read a
# password on the command line.
#
#   start.sh sessions.conf       a server. With SENTINELS (addresses, separated by spaces) it announces ADDRESS, and
#                                replicates the master that most of them name
#   start.sh sentinel.conf       a Sentinel that announces ADDRESS; the first master is MASTER
set -eu

file=$1
password=$(cat /run/secrets/redis_password)
case ${TANDEM_MODE:-development}$password in
    production*development-only*)
        echo "redis: redis_password is a development secret, which the repository publishes" >&2
        exit 64
        ;;
esac
umask 077

start_sentinel() {
    config=/data/sentinel.conf
    if [ ! -s "$config" ]; then
        {
            # The same id after a lost volume; a new one would count as a further Sentinel in the majority.
            echo "sentinel myid $(printf %s "$ADDRESS" | sha1sum | cut -c 1-40)"
            echo "sentinel announce-ip $ADDRESS"
            # shellcheck disable=SC2153 # from the environment
            sed "s/@@MASTER@@/$MASTER/" "/etc/tandem/redis/$file"
        } >"$config"
    fi
    # Written at each start, since the password and the settings may change.
    settings='^sentinel (auth-pass|down-after-milliseconds|failover-timeout|parallel-syncs) '
    sed -Ei "/$settings/d" "$config"
    grep -E "$settings" "/etc/tandem/redis/$file" >>"$config"
    echo "sentinel auth-pass tandem $password" >>"$config"
    exec redis-server "$config" --sentinel
}

# The master that at least two of three Sentinels name; one may have missed a failover.
master() {
    attempt=0
    while [ "$attempt" -lt 60 ]; do
        agreed=$(for sentinel in $SENTINELS; do
            timeout 2 redis-cli -h "$sentinel" -p 26379 --raw sentinel get-master-addr-by-name tandem 2>/dev/null | head -n 1
        done | sort | uniq -c | awk '$1 >= 2 { print $2 }')
        if [ -n "$agreed" ]; then
            echo "$agreed"
            return
        fi
        sleep 1
        attempt=$((attempt + 1))
    done
    echo "redis: no two Sentinels of $SENTINELS agree on a master" >&2
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
