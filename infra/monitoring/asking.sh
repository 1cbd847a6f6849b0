# shellcheck shell=bash
# How the tests ask a running Prometheus, at $prometheus. Read by test.sh here and by infra/compose/test-monitoring.sh.

# What a query returns, as JSON.
query() { # expression
    curl --silent --show-error --fail --max-time 10 --get --data-urlencode "query=$1" "${prometheus:?}/api/v1/query"
}
returns_nothing() { # expression
    query "$1" | grep -q '"result":\[\]'
}
# Neither is true where Prometheus does not answer.
returns_something() { # expression
    local answer
    answer=$(query "$1") && ! grep -q '"result":\[\]' <<<"$answer"
}
# Tries once a second, and says at last what did not come true.
within() { # seconds, what is wrong otherwise, command …
    local limit=$1 wrong=$2 since=$SECONDS
    shift 2
    until "$@"; do
        if ((SECONDS - since > limit)); then
            echo "after $limit s $wrong" >&2
            return 1
        fi
        sleep 1
    done
    took=$((SECONDS - since))
}
# Firing means it has told, or would tell, Alertmanager; an alert that still waits for its `for` is pending.
fires() { # alert, within seconds
    within "$2" "$1 does not fire" returns_something "ALERTS{alertname=\"$1\",alertstate=\"firing\"}" &&
        echo "$1 fires after $took s"
}
ends() { # alert, within seconds
    within "$2" "$1 fires still" returns_nothing "ALERTS{alertname=\"$1\",alertstate=\"firing\"}" &&
        echo "$1 is quiet after $took s"
}
nothing_fires() {
    local answer
    answer=$(query 'ALERTS{alertstate="firing"}') || return 1
    if grep -q '"result":\[\]' <<<"$answer"; then return 0; fi
    echo "these fire: $(grep -o '"alertname":"[^"]*"' <<<"$answer" | sort -u | sed 's/.*:"\(.*\)"/\1/' | tr '\n' ' ')" >&2
    return 1
}
# How many targets of a job there are, all of them up.
targets_are() { # job, number, within seconds
    within "$3" "there are not $2 targets of $1 that are up" \
        returns_something "count(up{job=\"$1\"}) == $2 and sum(up{job=\"$1\"}) == $2" || {
        query "up{job=\"$1\"}" >&2
        return 1
    }
}
