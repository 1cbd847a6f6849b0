# shellcheck shell=bash
# How the tests ask a running Prometheus, at $prometheus. Read by test.sh here and by infra/compose/test-monitoring.sh.

# What a query returns, as JSON.
query() { # expression
    curl --silent --show-error --fail --max-time 10 --get --data-urlencode "query=$1" "${prometheus:?}/api/v1/query"
}
returns_nothing() { # expression
    query "$1" | grep -q '"result":\[\]'
}
# Firing means it has told, or would tell, Alertmanager; an alert that still waits for its `for` is pending.
firing() { # alert
    local answer
    answer=$(query "ALERTS{alertname=\"$1\",alertstate=\"firing\"}") && ! grep -q '"result":\[\]' <<<"$answer"
}
fires() { # alert, within seconds
    local since=$SECONDS
    until firing "$1"; do
        if ((SECONDS - since > $2)); then
            echo "$1 does not fire within $2 s" >&2
            return 1
        fi
        sleep 1
    done
    echo "$1 fires after $((SECONDS - since)) s"
}
ends() { # alert, within seconds
    local since=$SECONDS
    while firing "$1"; do
        if ((SECONDS - since > $2)); then
            echo "$1 fires still, after $2 s" >&2
            return 1
        fi
        sleep 1
    done
    echo "$1 is quiet after $((SECONDS - since)) s"
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
    local since=$SECONDS
    while returns_nothing "count(up{job=\"$1\"}) == $2 and sum(up{job=\"$1\"}) == $2"; do
        if ((SECONDS - since > $3)); then
            echo "after $3 s, not $2 targets of $1 are up: $(query "up{job=\"$1\"}")" >&2
            return 1
        fi
        sleep 1
    done
}
