#!/usr/bin/env bash
# Has the other one of tandem-gateway@a and tandem-gateway@b take over from the one that serves, and starts that one at boot
# from now on. If it fails, the one that serves goes on.
set -euo pipefail

for old in a b; do
    systemctl is-active --quiet "tandem-gateway@$old" && break
done
systemctl is-active --quiet "tandem-gateway@$old" || { echo 'No gateway runs: systemctl start tandem-gateway@a' >&2; exit 1; }
new=$([ "$old" = a ] && echo b || echo a)

systemctl start "tandem-gateway@$new"
# Its checks take 30 s at most, and the other's grace period 30 s.
for _ in $(seq 90); do
    if ! systemctl is-active --quiet "tandem-gateway@$old"; then
        systemctl is-active --quiet "tandem-gateway@$new" || { echo "Neither serves: journalctl -u 'tandem-gateway@*'" >&2; exit 1; }
        systemctl disable --quiet "tandem-gateway@$old"
        systemctl enable --quiet "tandem-gateway@$new"
        echo "tandem-gateway@$new has followed tandem-gateway@$old."
        exit 0
    fi
    if ! systemctl is-active --quiet "tandem-gateway@$new"; then
        break
    fi
    sleep 1
done
systemctl stop "tandem-gateway@$new"
echo "tandem-gateway@$new did not take over, and tandem-gateway@$old goes on: journalctl -u tandem-gateway@$new" >&2
exit 1
