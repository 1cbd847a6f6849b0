#!/usr/bin/env bash
# Boots systemd in a system that setup-server.sh has set up, in namespaces of its own, and runs the programs as its units do: the
# sandboxes, the hot restart, reloads and a rotation of logs under load, a ban, a login by SSH. test-setup.sh calls it.
#
#   test-boot.sh ROOT KEY BIN      the system, the operator's private key, and the folder of gateway and stateful-svc
#
# Exits with 77 where systemd does not boot so.
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail

# shellcheck source=infra/server/testing.sh
. "$(dirname "${BASH_SOURCE[0]}")/testing.sh"

root=$1 key=$2 bin=$3
init=''
at_failure() { within journalctl --no-pager --lines=20 --output=cat --priority=warning 2>/dev/null | cut -c 1-200; }
at_end() { [[ -z $init ]] || kill -KILL "$init" 2>/dev/null; }
not_booted() { skip "systemd was not booted: $*"; }

for program in gateway stateful-svc; do
    [[ -x $bin/$program ]] || not_booted "$bin has no $program; run: cargo build --workspace --bins"
    install -m 755 "$bin/$program" "$root/usr/local/bin/$program"
done
rm -f "$root/usr/local/bin/stateless-svc"
install -m 600 "$key" "$root/root/operator-key"
# shellcheck disable=SC2016 # the inner shell expands it
unshare --pid --fork --mount --net --uts --ipc --propagation private bash -c '
    set -e
    cd "$1"
    ip link set lo up
    mount --bind . .
    cd "$1"
    mount -t proc proc proc
    mount -t sysfs -o ro sysfs sys
    mount -t tmpfs tmpfs sys/fs
    mkdir sys/fs/cgroup
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    # A branch of its own, so that this system sees no other process.
    mkdir -p sys/fs/cgroup/tandem-test
    echo $$ >sys/fs/cgroup/tandem-test/cgroup.procs
    umount sys/fs/cgroup
    for folder in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
    chmod 1777 tmp
    for device in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"; done
    mknod -m 666 dev/tty c 5 0
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    mount -t tmpfs tmpfs dev/shm
    exec unshare --cgroup bash -c "mount -t cgroup2 cgroup2 sys/fs/cgroup && exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /lib/systemd/systemd"
' bash "$root" </dev/null >"$work/boot.log" 2>&1 &
outer=$!
within() {
    nsenter --target "$init" --mount --pid --net --uts --ipc --cgroup --root --wd env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
}
up=0
for _ in {1..120}; do
    init=$(pgrep --parent "$outer" | head -n 1) || true
    if [[ -n $init ]] && within systemctl is-system-running 2>/dev/null | grep -Eqx 'running|degraded'; then
        up=1
        break
    fi
    sleep 0.5
done
((up)) || not_booted "it did not come up within 60 s: $(tail -n 3 "$work/boot.log")"

active() { for unit; do within systemctl is-active --quiet "$unit" || fail "$unit is not active"; done; }
setup() { within /opt/tandem/infra/server/setup-server.sh --operator=ada --mode=binaries --domain=api.example.org --no-upgrade "$@"; }
status() { within curl --silent --insecure --max-time 3 --output /dev/null --write-out '%{http_code}' "$@" || true; }

# --- What starts with the machine, and a run of the script there ----------------------------------------------------------
active ufw ssh fail2ban unattended-upgrades prometheus-node-exporter
within ufw status | grep -q '^Status: active' || fail 'the firewall is not active'
setup --ssh-port=2222 >"$work/setup" 2>&1 || fail "setup-server.sh: $(cat "$work/setup")"
setup --ssh-port=2222 >"$work/setup" 2>&1 || fail "setup-server.sh: $(cat "$work/setup")"
grep -qx '0 changes' "$work/setup" || fail "on the running machine a second run changes something: $(cat "$work/setup")"
# sshd is loaded with another port; the one who may log in does.
setup --ssh-port=2322 >"$work/setup" 2>&1 || fail "setup-server.sh: $(cat "$work/setup")"
ssh_as() { within ssh -i /root/operator-key -p 2322 -o StrictHostKeyChecking=no -o BatchMode=yes "$1@127.0.0.1" sudo -n id -un 2>/dev/null; }
[[ $(ssh_as ada) == root ]] || fail 'ada cannot log in on the new port, or not become root'
! ssh_as root || fail 'root can log in'

# --- The units ------------------------------------------------------------------------------------------------------------
within redis-server --port 6379 --daemonize yes --dir /tmp --appendonly yes --appendfsync always >/dev/null
within systemctl start tandem-stateful@1 tandem-stateful@2 tandem-gateway@a
# The clients below are on loopback, and must measure the system, not a limit.
echo 'LIMIT_EXEMPT=127.0.0.0/8' >>"$root/etc/tandem/nginx.env"
within systemctl start tandem-nginx
edge=https://127.0.0.1
served() { [[ $(status --request POST --header 'Content-Type: application/json' --data '{}' "$edge/api/v1/stateful/sessions") == 201 ]]; }
wait_for 'a session is created' served
active tandem-stateful@1 tandem-stateful@2 tandem-gateway@a tandem-nginx

within python3 /opt/tandem/infra/server/clients.py /tmp/stop POST /api/v1/stateful/sessions 201 >"$work/clients" 2>&1 &
clients=$!
sleep 1
within /opt/tandem/infra/server/upgrade-gateway.sh >"$work/upgrade" 2>&1 || fail "the hot restart: $(cat "$work/upgrade")"
active tandem-gateway@b
! within systemctl is-active --quiet tandem-gateway@a || fail 'the old gateway did not end'
within systemctl reload tandem-nginx
within systemctl reload 'tandem-gateway@*'
within logrotate --force /etc/logrotate.d/tandem-nginx
# shellcheck disable=SC2016 # the inner shell expands it
within bash -c 'export CONTROL_TOKEN=$(cat /etc/tandem/control_token); gateway ctl drain stateful-1 --deadline 5 --wait && systemctl restart tandem-stateful@1 && gateway ctl undrain stateful-1' >"$work/drain" 2>&1 ||
    fail "a drain: $(cat "$work/drain")"
wait_for 'the new log has lines' test -s "$root/var/log/tandem-nginx/access.log"
within touch /tmp/stop
wait "$clients" || fail "requests failed: $(cat "$work/clients")"
# The logs are www-data's now.
within systemctl restart tandem-nginx
wait_for 'a session is created after a restart' served

# --- A ban ----------------------------------------------------------------------------------------------------------------
sed -i '/LIMIT_EXEMPT/d' "$root/etc/tandem/nginx.env"
within ip addr add 198.18.0.9/32 dev lo
for _ in {1..8}; do [[ $(status --interface 198.18.0.9 --user metrics:wrong "https://198.18.0.9/metrics") == 401 ]] || break; done
banned() { within fail2ban-client status tandem-basic-auth | grep -q 198.18.0.9; }
wait_for 'a ban' banned
[[ $(status --interface 198.18.0.9 https://198.18.0.9/health) == 000 ]] || fail 'the banned address is served'
[[ $(status "$edge/health") == 200 ]] || fail 'another address is not served'
echo "booted: $(cat "$work/clients") through a hot restart, reloads, a rotation and a drain; one address banned; ada logs in, root does not"
