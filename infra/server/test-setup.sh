#!/usr/bin/env bash
# Sets up a fresh Debian by setup-server.sh, twice, and checks what came of it; gets a certificate by setup-ssl.sh from an authority
# in it; and boots it, with the programs of BIN (target/debug): `make server-test`. It needs root, debootstrap, and Debian's mirror;
# without them it says so and exits with 77. Nothing reaches this machine's kernel or firewall: at first systemd does not run there,
# then it is booted in namespaces of its own.
#
#   test-setup.sh [--release=NAME] [--keep]      by default this machine's own release
# shellcheck disable=SC2317,SC2329 # functions are called by name
set -euo pipefail

# shellcheck source=/dev/null
release=$(source /etc/os-release && echo "${VERSION_CODENAME:-bookworm}") keep=0
for option; do
    case $option in
        --release=*) release=${option#*=} ;;
        --keep) keep=1 ;;
        *)
            sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
            exit 64
            ;;
    esac
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(realpath "${BIN:-$here/../../target/debug}")
skip() {
    echo "SKIPPED    setup-server.sh was not tested: $*" >&2
    exit 77
}
((EUID == 0)) || skip 'it takes root to make a file system of its own'
for program in debootstrap ip unshare setpriv; do command -v "$program" >/dev/null || skip "$program is not installed"; done
place=$(mktemp -d /var/tmp/tandem-server.XXXXXX)
root=$place/root
clean_up() {
    local status=$?
    for mount in dev/pts proc; do mountpoint -q "$root/$mount" 2>/dev/null && umount "$root/$mount"; done
    if ((keep)); then echo "kept: $root"; else rm -rf --one-file-system "$place"; fi
    exit "$status"
}
trap clean_up EXIT
checks=0 failed=0
check() { # what, command …
    local what=$1
    shift
    checks=$((checks + 1))
    if "$@" >"$place/output" 2>&1; then
        echo "ok         $what"
    else
        echo "FAILED     $what"
        sed 's/^/    /' "$place/output"
        failed=$((failed + 1))
    fi
}
# Without the rights to change this machine's network, modules or clock.
inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        setpriv --bounding-set=-net_admin,-sys_module,-sys_time,-sys_boot,-syslog \
        unshare --pid --fork --mount chroot "$root" sh -c 'mount -t proc proc /proc && exec "$@"' sh "$@"
}
# With a network of its own, in which it may do anything.
alone() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 unshare --net --pid --fork --mount \
        sh -c 'ip link set lo up && exec chroot "$@"' sh "$root" sh -c 'mount -t proc proc /proc && exec "$@"' sh "$@"
}
setup() { inside /opt/tandem/infra/server/setup-server.sh "$@"; }

# This machine's own way to Debian's packages.
mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/{debian,ubuntu}.sources 2>/dev/null | head -n 1) || true
[[ -n $mirror ]] || mirror=$(sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .*/\2/p' /etc/apt/sources.list 2>/dev/null | head -n 1) || true
[[ -n $mirror ]] || skip 'no mirror of Debian is configured here'
echo "a fresh $release …"
# With systemd, as a server has it.
debootstrap --variant=minbase --include=systemd,systemd-sysv "$release" "$root" "$mirror" >"$place/debootstrap" 2>&1 || skip "debootstrap failed: $(tail -n 3 "$place/debootstrap")"
rm -f "$root/etc/apt/sources.list"
# It need not survive a power cut.
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
for path in sources.list sources.list.d apt.conf.d trusted.gpg.d auth.conf.d; do
    [[ ! -e /etc/apt/$path ]] || cp -rT "/etc/apt/$path" "$root/etc/apt/$path"
done
cp /etc/resolv.conf "$root/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
# The checkout without what was built in it.
mkdir -p "$root/opt/tandem/gateway"
cp -r "$here/../../infra" "$root/opt/tandem/"
rm -rf "$root/opt/tandem/infra/compose/secrets/production" "$root/opt/tandem/infra/compose/.env" "$root/opt/tandem/infra/ui-tests/node_modules"
cp -r "$here/../../gateway/config" "$root/opt/tandem/gateway/"
ssh-keygen -q -t ed25519 -N '' -f "$place/key"
cp "$place/key.pub" "$root/tmp/key.pub"

state() { # everything that a second run could change
    (cd "$root" && find etc opt/tandem home var/lib/tandem-acme var/log/tandem-nginx -type f ! -path 'etc/ld.so.cache' -print0 | sort -z |
        xargs -0 sha256sum && find etc opt/tandem home -printf '%p %m %u %g %l\n' | sort && inside dpkg --list)
}
quietly_fails() { ! "$@"; }
says() { # text, command …: it fails and says so
    local text=$1
    shift
    local said
    said=$("$@" 2>&1) && { echo "it succeeded: $said"; return 1; }
    grep -qF -- "$text" <<<"$said" || { echo "it said: $said"; return 1; }
}
has() { grep -qxF -- "$2" "$root/$1" || { cat "$root/$1"; return 1; }; }
is_enabled() { inside systemctl is-enabled "$1"; }

# --- The operator is not locked out ---------------------------------------------------------------------------------------
check 'without a user: SSH stays, and it fails' says 'there is no user ada' setup --operator=ada --mode=binaries --domain=api.example.org --no-upgrade
check 'and there is no file of ours for sshd' quietly_fails test -e "$root/etc/ssh/sshd_config.d/00-tandem.conf"
check 'as root it refuses' says 'root cannot log in' setup --operator=root

# --- Twice ----------------------------------------------------------------------------------------------------------------
check 'first run' setup --operator=ada --operator-key=/tmp/key.pub --mode=binaries --ssh-port=2222 --domain=api.example.org
state >"$place/before"
check 'second run' setup --operator=ada --operator-key=/tmp/key.pub --mode=binaries --ssh-port=2222 --domain=api.example.org
cp "$place/output" "$place/second"
check 'the second run says that it changed nothing' grep -qx '0 changes' "$place/second"
state >"$place/after"
check 'and it changed nothing' diff "$place/before" "$place/after"

# --- What there is --------------------------------------------------------------------------------------------------------
opened() { inside ufw show added | sed -n 's/^ufw allow \([^ ]*\).*/\1/p' | sort -n | tr '\n' ' '; }
ports() { [[ $(opened) == '22/tcp 80/tcp 443/tcp 2222/tcp ' ]] || { opened; return 1; }; }
check 'ports: the old and the new SSH, HTTP, HTTPS' ports
check 'the firewall starts with the machine' has etc/ufw/ufw.conf ENABLED=yes
check 'and denies all else' has etc/default/ufw 'DEFAULT_INPUT_POLICY="DROP"'
jails() {
    local found
    found=$(inside fail2ban-client -d | sed -n "s/^\['add', '\([^']*\)'.*/\1/p" | sort | tr '\n' ' ')
    [[ $found == 'sshd tandem-auth tandem-basic-auth tandem-limits ' ]] || { echo "$found"; return 1; }
}
check 'jails: sshd, tandem-auth, tandem-basic-auth, tandem-limits' jails
for unit in ufw.service ssh.service fail2ban.service unattended-upgrades.service prometheus-node-exporter.service prometheus-nginx-exporter.service; do
    check "at boot: $unit" is_enabled "$unit"
done
check "not at boot: nginx.service" quietly_fails is_enabled nginx.service
for unit in tandem-gateway@.service tandem-stateless@.service tandem-stateful@.service tandem-nginx.service; do
    check "there is $unit" test -s "$root/etc/systemd/system/$unit"
done
sshd_says() { inside /usr/sbin/sshd -T -C user=ada,host=localhost,addr=127.0.0.1 >"$place/sshd" && for line; do grep -qx "$line" "$place/sshd" || { echo "sshd does not say: $line"; return 1; }; done; }
check 'SSH: keys of ada alone, on the new port' sshd_says 'port 2222' 'permitrootlogin no' 'passwordauthentication no' 'pubkeyauthentication yes' 'allowusers ada' 'maxauthtries 3'
check 'sudo needs no password, which ada lacks' inside visudo --check --quiet --file=/etc/sudoers.d/tandem-ada
check 'secrets are readable by root alone' test "$(stat -c %a "$root/etc/tandem/gateway.env" "$root/etc/tandem/control_token" | sort -u)" = 600
check "Nginx accepts what nginx.sh renders" inside sh -c 'set -a; . /etc/tandem/nginx.env; mkdir -p /run/tandem-nginx; /opt/tandem/infra/server/nginx.sh render'
check 'exporters listen on loopback' grep -q 'listen-address=127.0.0.1:9100' "$root/etc/default/prometheus-node-exporter"
check 'logs are rotated' inside logrotate --debug /etc/logrotate.d/tandem-nginx
programs_with_units() {
    for name in gateway stateless-svc stateful-svc; do install -m 755 /dev/null "$root/usr/local/bin/$name"; done
    local faults
    faults=$(inside systemd-analyze verify --man=no /etc/systemd/system/tandem-{gateway@a,stateless@1,stateful@1,nginx}.service 2>&1) || { echo "$faults"; return 1; }
    [[ -z $faults ]] || { echo "$faults"; return 1; }
}
check 'systemd accepts the units where they are' programs_with_units

# --- HTTPS ----------------------------------------------------------------------------------------------------------------
check 'an authority to test with' inside apt-get install --yes --no-install-recommends --quiet=2 pebble
check 'a certificate is issued and renewed, and no request fails' alone /opt/tandem/infra/server/test-ssl.sh
sed -n 's/^issued/    issued/p' "$place/output"

# --- Nor later ------------------------------------------------------------------------------------------------------------
chmod 775 "$root/home/ada/.ssh"
sed -i 's/^MaxAuthTries.*/MaxAuthTries 4/' "$root/opt/tandem/infra/server/files/ssh/00-tandem.conf.template"
check 'a key that sshd ignores: SSH stays' says 'others can write' setup --operator=ada --mode=binaries --ssh-port=2222 --no-upgrade
chmod 700 "$root/home/ada/.ssh"
inside chown root: /home/ada/.ssh/authorized_keys
check 'a key that ada cannot read: SSH stays' says 'ada cannot read' setup --operator=ada --mode=binaries --ssh-port=2222 --no-upgrade
inside chown ada: /home/ada/.ssh/authorized_keys
echo 'DenyGroups sudo' >"$root/etc/ssh/sshd_config.d/50-site.conf"
check 'groups that are refused: SSH stays' says 'DenyGroups' setup --operator=ada --mode=binaries --ssh-port=2222 --no-upgrade
rm "$root/etc/ssh/sshd_config.d/50-site.conf"
check 'and it is as before' grep -qx 'MaxAuthTries 3' "$root/etc/ssh/sshd_config.d/00-tandem.conf"
sed -i 's/^MaxAuthTries.*/MaxAuthTries many/' "$root/opt/tandem/infra/server/files/ssh/00-tandem.conf.template"
check 'settings that sshd rejects: the old ones are put back' says 'the old configuration is in force' setup --operator=ada --mode=binaries --ssh-port=2222 --no-upgrade
check 'and they are' grep -qx 'MaxAuthTries 3' "$root/etc/ssh/sshd_config.d/00-tandem.conf"
sed -i 's/^MaxAuthTries.*/MaxAuthTries 3/; s/^AllowUsers.*/AllowUsers somebody-else/' "$root/opt/tandem/infra/server/files/ssh/00-tandem.conf.template"
check 'settings that lock ada out: the old ones are put back' says 'sshd does not allow ada' setup --operator=ada --mode=binaries --ssh-port=2222 --no-upgrade
check 'and ada may log in' sshd_says 'allowusers ada'
sed -i 's/^AllowUsers.*/AllowUsers @@OPERATOR@@/' "$root/opt/tandem/infra/server/files/ssh/00-tandem.conf.template"

# --- Booted ---------------------------------------------------------------------------------------------------------------
check 'a Redis to test with' inside apt-get install --yes --no-install-recommends --quiet=2 redis-server iproute2 python3 procps
boot() { "$here/test-boot.sh" "$root" "$place/key" "$bin"; }
if boot >"$place/boot" 2>&1; then
    checks=$((checks + 1))
    echo "ok         $(tail -n 1 "$place/boot")"
elif (($? == 77)); then
    cat "$place/boot"
else
    checks=$((checks + 1)) failed=$((failed + 1))
    echo 'FAILED     booted'
    sed 's/^/    /' "$place/boot"
fi

# --- For containers, without Docker, whose engine cannot run here ----------------------------------------------------------
check 'for containers' setup --operator=ada --mode=compose --docker=none --ssh-port=2222 --domain=api.example.org --no-upgrade
check 'for containers, again' setup --operator=ada --mode=compose --docker=none --ssh-port=2222 --domain=api.example.org --no-upgrade
cp "$place/output" "$place/fourth"
check 'which changed nothing' grep -qx '0 changes' "$place/fourth"
check 'its secrets are there' test -s "$root/opt/tandem/infra/compose/secrets/production/control_token"
check 'production, on the usual ports' grep -qx 'HTTPS_PORT=443' "$root/opt/tandem/infra/compose/.env"
check 'jails read the journal' jails

echo "$checks checks, $failed failed"
exit $((failed > 0))
