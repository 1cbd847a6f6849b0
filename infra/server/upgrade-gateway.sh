#!/usr/bin/env bash
# Starts the idle one of tandem-gateway@a and tandem-gateway@b, which takes over and is enabled at boot. If that fails, the old
# gateway keeps serving.
set -euo pipefail

for old in a b; do
    systemctl is-active --quiet "tandem-gateway@$old" && break
done
systemctl is-active --quiet "tandem-gateway@$old" || { echo 'error: no gateway is running; run: systemctl start tandem-gateway@a' >&2; exit 1; }
new=$([ "$old" = a ] && echo b || echo a)

systemctl start "tandem-gateway@$new"
# Health checks of the new gateway take 30 s at most, and the grace period of the old one 30 s.
for _ in $(seq 90); do
    if ! systemctl is-active --quiet "tandem-gateway@$old"; then
        systemctl is-active --quiet "tandem-gateway@$new" || { echo "error: neither gateway is running; see: journalctl -u 'tandem-gateway@*'" >&2; exit 1; }
        systemctl disable --quiet "tandem-gateway@$old"
        systemctl enable --quiet "tandem-gateway@$new"
        echo "tandem-gateway@$new took over from tandem-gateway@$old."
        exit 0
    fi
    if ! systemctl is-active --quiet "tandem-gateway@$new"; then
        break
    fi
    sleep 1
done
systemctl stop "tandem-gateway@$new"
echo "error: tandem-gateway@$new did not take over; tandem-gateway@$old keeps serving. See: journalctl -u tandem-gateway@$new" >&2
exit 1
