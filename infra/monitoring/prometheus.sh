# shellcheck shell=bash
# Queries of a running Prometheus at $prometheus. Sourced by test.sh here and by infra/compose/test-monitoring.sh.

# Prints the result as JSON.
query() { # expression
    curl --silent --show-error --fail --max-time 10 --get --data-urlencode "query=$1" "${prometheus:?}/api/v1/query"
}
returns_nothing() { # expression
    query "$1" | grep -q '"result":\[\]'
}
# Both fail if Prometheus does not respond.
returns_something() { # expression
    local result
    result=$(query "$1") && ! grep -q '"result":\[\]' <<<"$result"
}
# Retries once a second; prints the fault at the limit.
within() { # seconds, fault, command …
    local limit=$1 fault=$2 since=$SECONDS
    shift 2
    until "$@"; do
        if ((SECONDS - since > limit)); then
            echo "after $limit s $fault" >&2
            return 1
        fi
        sleep 1
    done
    took=$((SECONDS - since))
}
# An alert that still waits for its `for` is pending, not firing.
fires() { # alert, within seconds
    within "$2" "$1 does not fire" returns_something "ALERTS{alertname=\"$1\",alertstate=\"firing\"}" &&
        echo "$1 fires after $took s"
}
ends() { # alert, within seconds
    within "$2" "$1 still fires" returns_nothing "ALERTS{alertname=\"$1\",alertstate=\"firing\"}" &&
        echo "$1 is quiet after $took s"
}
nothing_fires() {
    local result
    result=$(query 'ALERTS{alertstate="firing"}') || return 1
    if grep -q '"result":\[\]' <<<"$result"; then return 0; fi
    echo "firing: $(grep -o '"alertname":"[^"]*"' <<<"$result" | sort -u | sed 's/.*:"\(.*\)"/\1/' | tr '\n' ' ')" >&2
    return 1
}
# Whether a job has this number of targets, all of them up.
targets_are() { # job, number, within seconds
    within "$3" "$1 does not have $2 targets that are up" \
        returns_something "count(up{job=\"$1\"}) == $2 and sum(up{job=\"$1\"}) == $2" || {
        query "up{job=\"$1\"}" >&2
        return 1
    }
}
