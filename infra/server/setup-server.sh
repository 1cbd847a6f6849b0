#!/usr/bin/env bash
# Sets up a server of its own for Tandem on Debian 12 or later, or Ubuntu 22.04 or later: packages, firewall, fail2ban, security
# updates, SSH, Docker or the units of the bare programs, limits, exporters. It can run again at any time: what is as it should be
# stays, and the last line counts the changes.
#
#   setup-server.sh --operator=NAME [--operator-key=FILE] [--mode=compose|binaries] [--docker=docker.com|debian|none]
#                   [--ssh-port=22] [--domain=api.example.org] [--no-upgrade]
#
#   --operator        the one user who may log in. It must be able to by a key: else SSH stays as it is, and the exit status is 1
#   --operator-key    creates that user if it is missing, with this public key and sudo
#   --mode            what runs here: containers (the default), or the programs themselves
#   --docker          where Docker comes from: docker.com (its signed repository, the default), debian (its packages), or none
#   --ssh-port        the old port stays open in the firewall until you remove it
#   --domain          for redirects, and for setup-ssl.sh
#
# Where systemd is not running (a container, an image that is being built), nothing is started and nothing is loaded into the
# kernel: that is for the next boot.
set -euo pipefail

usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
    exit 64
}
fail() {
    echo "error: $*" >&2
    exit 1
}

operator=${SUDO_USER:-} operator_key='' mode=compose docker=docker.com ssh_port=22 domain='' upgrade=1
for option; do
    case $option in
        --operator=*) operator=${option#*=} ;;
        --operator-key=*) operator_key=${option#*=} ;;
        --mode=compose | --mode=binaries) mode=${option#*=} ;;
        --docker=docker.com | --docker=debian | --docker=none) docker=${option#*=} ;;
        --ssh-port=*) ssh_port=${option#*=} ;;
        --domain=*) domain=${option#*=} ;;
        --no-upgrade) upgrade=0 ;;
        *) usage ;;
    esac
done
[[ $operator =~ ^[a-z][a-z0-9_-]*$ && $operator != root ]] || fail "--operator is '$operator'; for example: --operator=ada (root cannot log in afterwards)"
[[ $ssh_port =~ ^[1-9][0-9]{0,4}$ && $ssh_port -lt 65536 ]] || fail "--ssh-port is '$ssh_port'; for example: --ssh-port=2222"
[[ -z $domain || $domain =~ ^[a-z0-9.-]+$ ]] || fail "--domain is '$domain'; for example: --domain=api.example.org"
((EUID == 0)) || fail 'this sets up the machine, which takes root; run it by sudo'
[[ $mode != binaries || $docker != docker.com ]] || docker=none
# shellcheck source=/dev/null
source /etc/os-release
[[ ${ID:-} == debian || ${ID:-} == ubuntu ]] || fail "this is ${PRETTY_NAME:-an unknown system}; it is for Debian and Ubuntu"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tandem=$(cd "$here/../.." && pwd)
files=$here/files
[[ -d /run/systemd/system ]] && booted=1 || booted=0
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
changes=0
changed() {
    echo "changed    $*"
    changes=$((changes + 1))
}

# put FILE MODE: writes standard input to FILE if it differs. Succeeds if it did.
put() {
    local file=$1 mode=$2 new
    mkdir -p "$(dirname "$file")"
    new=$(mktemp "$file.XXXXXX")
    cat >"$new"
    chmod "$mode" "$new"
    if [[ -e $file ]] && cmp -s "$new" "$file" && [[ $(stat -c %a "$file") == "$mode" ]]; then
        rm "$new"
        return 1
    fi
    mv "$new" "$file"
    changed "$file"
}
enable_unit() { # unit …: at boot, and now
    local unit state
    for unit; do
        if ! systemctl is-enabled --quiet "$unit" 2>/dev/null; then
            systemctl enable --quiet "$unit"
            changed "$unit is enabled"
        fi
        # `activating`: it waits for its next try.
        state=$(systemctl is-active "$unit" 2>/dev/null) || true
        if ((booted)) && [[ $state != active && $state != activating ]]; then
            systemctl start "$unit"
            changed "$unit is started"
        fi
    done
}
when_booted() { if ((booted)); then "$@"; fi; }

# --- Packages -------------------------------------------------------------------------------------------------------------
packages=(ca-certificates curl git jq openssl gnupg openssh-server sudo ufw fail2ban python3-systemd unattended-upgrades logrotate certbot
    prometheus-node-exporter)
[[ $mode == compose ]] || packages+=(nginx prometheus-nginx-exporter redis-tools postgresql-client)
[[ $docker != debian ]] || packages+=(docker.io docker-compose)
install_packages() {
    local package missing=()
    for package; do
        [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    update_lists
    apt_get install --no-install-recommends "${missing[@]}"
    changed "installed: ${missing[*]}"
}
apt_get() { # its output is shown only if it fails
    local log
    log=$(mktemp)
    apt-get -o DPkg::Lock::Timeout=300 --yes --quiet=2 "$@" >"$log" 2>&1 || { cat "$log" >&2 && fail "apt-get $*"; }
    rm -f "$log"
}
lists_are_new=0
update_lists() {
    ((lists_are_new)) || apt-get -o DPkg::Lock::Timeout=300 update --quiet=2
    lists_are_new=1
}
((!upgrade)) || update_lists
if ((upgrade)) && apt-get --simulate --quiet=2 upgrade | grep -q '^Inst'; then
    apt_get -o Dpkg::Options::=--force-confold upgrade
    changed 'packages are upgraded'
fi
install_packages "${packages[@]}"
# Nginx of the package would own port 80; ours is a unit of its own.
if [[ $mode == binaries ]] && systemctl is-enabled --quiet nginx.service 2>/dev/null; then
    systemctl disable --quiet nginx.service
    when_booted systemctl stop nginx.service
    changed 'nginx.service is disabled; tandem-nginx.service takes its place'
fi

# --- Security updates -----------------------------------------------------------------------------------------------------
put /etc/apt/apt.conf.d/20auto-upgrades 644 <"$files/apt/20auto-upgrades" || true
put /etc/apt/apt.conf.d/52tandem-unattended-upgrades 644 <"$files/apt/52tandem-unattended-upgrades" || true
enable_unit unattended-upgrades.service

# --- Kernel and limits ----------------------------------------------------------------------------------------------------
if put /etc/sysctl.d/60-tandem.conf 644 <"$files/sysctl/60-tandem.conf"; then
    when_booted sysctl --quiet --load=/etc/sysctl.d/60-tandem.conf
fi
put /etc/security/limits.d/60-tandem.conf 644 <"$files/limits/60-tandem.conf" || true

# --- The operator, and SSH ------------------------------------------------------------------------------------------------
if ! id "$operator" >/dev/null 2>&1 && [[ -n $operator_key ]]; then
    ssh-keygen -l -f "$operator_key" >/dev/null 2>&1 || fail "$operator_key is no public key of SSH"
    useradd --create-home --shell /bin/bash --groups sudo "$operator"
    install -d -m 700 -o "$operator" -g "$operator" "/home/$operator/.ssh"
    install -m 600 -o "$operator" -g "$operator" "$operator_key" "/home/$operator/.ssh/authorized_keys"
    # It has no password, by which sudo could be used.
    echo "$operator ALL=(ALL:ALL) NOPASSWD: ALL" >"/etc/sudoers.d/.tandem-$operator"
    chmod 440 "/etc/sudoers.d/.tandem-$operator"
    visudo --check --quiet --file="/etc/sudoers.d/.tandem-$operator"
    mv "/etc/sudoers.d/.tandem-$operator" "/etc/sudoers.d/tandem-$operator"
    changed "the user $operator"
fi

# Why the operator could not log in with the settings in force, or nothing. Everything by sshd's own reading of its files.
cannot_log_in() {
    local effective keys file home found=0
    id "$operator" >/dev/null 2>&1 || { echo "there is no user $operator; create it, or give --operator-key=FILE"; return; }
    home=$(getent passwd "$operator" | cut -d: -f6)
    id -nG "$operator" | tr ' ' '\n' | grep -qx sudo || { echo "$operator is not in the group sudo, so nobody could administrate this server"; return; }
    effective=$(/usr/sbin/sshd -T -C "user=$operator,host=localhost,addr=127.0.0.1" 2>/dev/null) || { echo 'sshd rejects its configuration'; return; }
    grep -qx 'pubkeyauthentication yes' <<<"$effective" || { echo 'sshd accepts no keys'; return; }
    if grep -Eq '^(allowgroups|denyusers|denygroups) ' <<<"$effective"; then
        echo 'sshd has AllowGroups, DenyUsers or DenyGroups, which may refuse the operator; remove them first'
        return
    fi
    if grep -q '^allowusers ' <<<"$effective" && ! grep -qx "allowusers $operator" <<<"$effective"; then
        echo "sshd does not allow $operator"
        return
    fi
    keys=$(sed -n 's/^authorizedkeysfile //p' <<<"$effective")
    for file in $keys; do
        file=${file//%u/$operator}
        file=${file//%h/$home}
        [[ $file == /* ]] || file=$home/$file
        if [[ -s $file ]] && ssh-keygen -l -f "$file" >/dev/null 2>&1; then
            found=1
            # StrictModes: sshd reads the file as the user, and ignores it if others own it, or can write to it or to its folders.
            runuser --user="$operator" -- test -r "$file" || { echo "$operator cannot read $file, so sshd ignores it"; return; }
            [[ -z $(find "$file" "$(dirname "$file")" "$home" -maxdepth 0 ! -user root ! -user "$operator") ]] || { echo "$file or its folders belong to another user, so sshd ignores it"; return; }
            [[ -z $(find "$file" "$(dirname "$file")" "$home" -maxdepth 0 -perm /022) ]] || { echo "others can write to $file or its folders, so sshd ignores it"; return; }
        fi
    done
    ((found)) || echo "$operator has no public key in ${keys// / or }"
}

ssh_failed=''
harden_ssh() {
    local ours=/etc/ssh/sshd_config.d/00-tandem.conf before='' fault
    grep -Eq '^Include /etc/ssh/sshd_config\.d/\*\.conf' /etc/ssh/sshd_config || {
        ssh_failed='/etc/ssh/sshd_config has no line "Include /etc/ssh/sshd_config.d/*.conf"; add it at the top'
        return
    }
    # Before anything changes: with the key that is there now.
    fault=$(cannot_log_in)
    # Settings in force that refuse the operator are what ours correct.
    if [[ -n $fault && $fault != 'sshd does not allow'* && $fault != 'sshd accepts no keys' ]]; then
        ssh_failed=$fault
        return
    fi
    [[ ! -e $ours ]] || before=$(mktemp)
    [[ -z $before ]] || cp -p "$ours" "$before"
    if ! sed -e "s/@@PORT@@/$ssh_port/; s/@@OPERATOR@@/$operator/" "$files/ssh/00-tandem.conf.template" | put "$ours" 644; then
        [[ -z $before ]] || rm -f "$before"
        return
    fi
    changes=$((changes + 1)) # counted in the pipe's own process
    fault=$(/usr/sbin/sshd -t 2>&1) || true
    [[ -n $fault ]] || fault=$(cannot_log_in)
    if [[ -z $fault ]] && ((booted)); then
        load_ssh || fault="sshd does not respond on port $ssh_port with it"
    fi
    if [[ -n $fault ]]; then
        if [[ -n $before ]]; then mv "$before" "$ours"; else rm -f "$ours"; fi
        changes=$((changes - 1))
        when_booted load_ssh || true
        ssh_failed="$fault; the old configuration is in force"
        return
    fi
    [[ -z $before ]] || rm -f "$before"
}
# Open sessions stay open.
load_ssh() {
    if systemctl is-active --quiet ssh.socket; then
        systemctl daemon-reload
        systemctl restart ssh.socket
    else
        systemctl reload ssh.service
    fi
    for _ in {1..20}; do
        ! timeout 5 ssh-keyscan -T 2 -p "$ssh_port" 127.0.0.1 2>/dev/null | grep -q . || return 0
        sleep 0.5
    done
    return 1
}

# --- The firewall, before SSH may change its port -------------------------------------------------------------------------
ufw_rule() { # port/tcp, why
    local rule="allow $1"
    # From its files: the rules of the kernel are not read, and not changed for what is there.
    ! ufw show added | grep -q "^ufw $rule\\( comment .*\\)\\{0,1\\}$" || return 0
    if ((booted)) || ! grep -qx 'ENABLED=yes' /etc/ufw/ufw.conf; then
        ufw allow "$1" comment "$2" >/dev/null
    else
        # Only its files: it is not this kernel's firewall.
        local status=0
        sed -i 's/^ENABLED=.*/ENABLED=no/' /etc/ufw/ufw.conf
        ufw allow "$1" comment "$2" >/dev/null || status=$?
        sed -i 's/^ENABLED=.*/ENABLED=yes/' /etc/ufw/ufw.conf
        ((status == 0)) || fail "ufw $rule"
    fi
    changed "ufw $rule ($2)"
}
# sshd wants it even to read its files.
mkdir -p /run/sshd
present_ssh_ports=$(/usr/sbin/sshd -T 2>/dev/null | sed -n 's/^port //p') || true
for port in $present_ssh_ports "$ssh_port"; do ufw_rule "$port/tcp" SSH; done
ufw_rule 80/tcp 'HTTP: redirects, and certbot'
ufw_rule 443/tcp HTTPS
for default in 'incoming deny INPUT DROP' 'outgoing allow OUTPUT ACCEPT'; do
    read -r direction policy chain target <<<"$default"
    if ! grep -qx "DEFAULT_${chain}_POLICY=\"$target\"" /etc/default/ufw; then
        ufw default "$policy" "$direction" >/dev/null
        changed "ufw default $policy $direction"
    fi
done
if ! grep -qx 'ENABLED=yes' /etc/ufw/ufw.conf; then
    if ((booted)); then ufw --force enable >/dev/null; else sed -i 's/^ENABLED=.*/ENABLED=yes/' /etc/ufw/ufw.conf; fi
    changed 'ufw is enabled'
fi
enable_unit ufw.service

harden_ssh
[[ -z $ssh_failed ]] || echo "NOT DONE   SSH stays as it was: $ssh_failed" >&2
# Lines of these add up, so those of other files hold, too.
others=$(/usr/sbin/sshd -T 2>/dev/null | grep -E '^(port|allowusers) ' | grep -vx -e "port $ssh_port" -e "allowusers $operator" | paste -s -d ,) || true
[[ -z $others ]] || echo "note: another file of /etc/ssh has also: $others; remove that when it is not wanted" >&2
enable_unit ssh.service

# --- Docker ---------------------------------------------------------------------------------------------------------------
add_dockers_repository() {
    local key=/etc/apt/keyrings/docker.asc fingerprint=9DC858229FC7DD38854AE2D88D81803C0EBFCD88
    if [[ ! -s $key ]]; then
        mkdir -p /etc/apt/keyrings
        curl --fail --silent --show-error --location --output "$key.new" "https://download.docker.com/linux/$ID/gpg" ||
            fail "Docker's repository cannot be reached; --docker=debian installs Debian's packages"
        gpg --batch --quiet --show-keys --with-colons "$key.new" 2>/dev/null | grep -q "^fpr:::::::::$fingerprint:" ||
            fail "the key of Docker's repository has another fingerprint than $fingerprint"
        chmod 644 "$key.new"
        mv "$key.new" "$key"
        changed "$key"
    fi
    if put /etc/apt/sources.list.d/docker.sources 644 <<SOURCES; then
Types: deb
URIs: https://download.docker.com/linux/$ID
Suites: $VERSION_CODENAME
Components: stable
Architectures: $(dpkg --print-architecture)
Signed-By: $key
SOURCES
        lists_are_new=0
        update_lists
    fi
}
if [[ $docker != none ]]; then
    if [[ $docker == docker.com ]]; then
        add_dockers_repository
        install_packages docker-ce docker-ce-cli containerd.io docker-buildx-plugin docker-compose-plugin
    fi
    # With userns-remap the daemon has another folder of data: what is there would be hidden.
    if ((booted)) && ! grep -qs userns-remap /etc/docker/daemon.json && [[ -n $(docker ps --all --quiet && docker volume ls --quiet) ]]; then
        fail 'Docker has containers or volumes, which userns-remap would hide; back them up and remove them first, or give --docker=none'
    fi
    if put /etc/docker/daemon.json 644 <"$files/docker/daemon.json"; then
        # userns-remap takes effect at a restart.
        when_booted systemctl restart docker.service
    fi
    enable_unit docker.service
fi

# --- Exporters: on loopback -----------------------------------------------------------------------------------------------
mkdir -p /var/lib/prometheus/node-exporter
exporter() { # name, arguments
    if put "/etc/default/prometheus-$1" 644 <<<"ARGS=\"$2\""; then when_booted systemctl restart "prometheus-$1.service"; fi
    enable_unit "prometheus-$1.service"
}
exporter node-exporter '--web.listen-address=127.0.0.1:9100 --collector.textfile.directory=/var/lib/prometheus/node-exporter'

# --- What runs here -------------------------------------------------------------------------------------------------------
secret() { # file, bytes: a new one, if it is missing
    [[ ! -s $1 ]] || return 0
    (umask 077 && openssl rand -hex "$2" | tr -d '\n' >"$1")
    changed "$1"
}
create() { # file: with standard input, readable by root alone, if it is missing. It is the operator's from then on.
    if [[ ! -e $1 ]]; then
        (umask 077 && cat >"$1")
        changed "$1"
    else
        cat >/dev/null
    fi
}
install_units() {
    local unit any=0
    for unit; do
        if put "/etc/systemd/system/$unit" 644 <"$here/$unit"; then any=1; fi
    done
    if ((any)); then when_booted systemctl daemon-reload; fi
}
install -d -m 755 /etc/tandem /var/lib/tandem-acme
# Units, backups and hooks have this path.
if [[ $tandem != /opt/tandem && ! -e /opt/tandem ]]; then
    ln -s "$tandem" /opt/tandem
    changed "/opt/tandem is a link to $tandem"
fi
units=(tandem-backup@.service tandem-backup@create.timer tandem-backup@recent.timer tandem-backup@base.timer tandem-drill.service tandem-drill.timer)
if [[ $mode == compose ]]; then
    install_units "${units[@]}" tandem-compose.service
    create /etc/tandem/compose.env <<<'OVERLAYS="server"'
    env=$tandem/infra/compose/.env
    if [[ ! -e $env ]]; then
        sed -e 's/^TANDEM_MODE=.*/TANDEM_MODE=production/; s/^HTTPS_PORT=.*/HTTPS_PORT=443/; s/^HTTP_PORT=.*/HTTP_PORT=80/' \
            -e "s/^SERVER_NAME=.*/SERVER_NAME=$domain/" "$env.example" >"$env"
        changed "$env"
    fi
    production=$tandem/infra/compose/secrets/production
    if [[ ! -s $production/control_token ]]; then
        "$tandem/infra/compose/make-secrets.sh" >/dev/null
        changed "$production"
    fi
    certificate=$production/tls_certificate key=$production/tls_key key_mode=644
    # Docker's own rules come before ufw's, so a ban must be there, too.
    source_of_log=$'backend = systemd\njournalmatch = CONTAINER_TAG=tandem-nginx\nbanaction = iptables-allports[chain=DOCKER-USER]'
else
    id tandem >/dev/null 2>&1 || { useradd --system --home-dir /var/lib/tandem --shell /usr/sbin/nologin tandem && changed 'the user tandem'; }
    install_units "${units[@]}" tandem-gateway@.service tandem-stateless@.service tandem-stateful@.service tandem-nginx.service
    put /etc/logrotate.d/tandem-nginx 644 <"$files/logrotate/tandem-nginx" || true
    install -d -m 755 /var/log/tandem-nginx
    # fail2ban does not start without it.
    [[ -e /var/log/tandem-nginx/access.log ]] || install -m 640 -o www-data -g adm /dev/null /var/log/tandem-nginx/access.log
    for name in control_token instance_token metrics_password; do secret "/etc/tandem/$name" 32; done
    for name in session_id_secret idempotency_secret; do secret "/etc/tandem/$name" 32; done
    install -d -m 750 -o root -g tandem /etc/tandem/token-keys
    if ! compgen -G '/etc/tandem/token-keys/*.pem' >/dev/null; then
        (umask 027 && openssl genpkey -algorithm ed25519 -out /etc/tandem/token-keys/1.pem)
        chgrp tandem /etc/tandem/token-keys/1.pem
        changed /etc/tandem/token-keys/1.pem
    fi
    create /etc/tandem/gateway.env <<ENV
TANDEM_MODE=production
CONTROL_TOKEN=$(cat /etc/tandem/control_token)
INSTANCE_TOKEN=$(cat /etc/tandem/instance_token)
GATEWAY_STATELESS_INSTANCES=127.0.0.1:8101,127.0.0.1:8102
GATEWAY_STATEFUL_INSTANCES=127.0.0.1:8201,127.0.0.1:8202
JWT_JWKS_URL=http://127.0.0.1:8000/.well-known/jwks.json
ENV
    create /etc/tandem/stateless-svc.env <<ENV
TANDEM_MODE=production
INSTANCE_TOKEN=$(cat /etc/tandem/instance_token)
IDEMPOTENCY_SECRET=$(cat /etc/tandem/idempotency_secret)
AUTH_KEYS_DIR=/etc/tandem/token-keys
FILES_URL=file:///var/lib/tandem-files
# CHANGE: your PostgreSQL, and a Redis for the cache.
DATABASE_URL=postgresql://tandem:CHANGE@127.0.0.1:5432/tandem
CACHE_REDIS_URL=redis://127.0.0.1:6380
ENV
    create /etc/tandem/stateful-svc.env <<ENV
TANDEM_MODE=production
INSTANCE_TOKEN=$(cat /etc/tandem/instance_token)
SESSION_ID_SECRET=$(cat /etc/tandem/session_id_secret)
JWT_JWKS_URL=http://127.0.0.1:8000/.well-known/jwks.json
# CHANGE: your Redis for the sessions, with appendonly yes and appendfsync always.
SESSION_REDIS_URL=redis://127.0.0.1:6379
ENV
    create /etc/tandem/nginx.env <<ENV
CERTIFICATE=/etc/tandem/tls/certificate.pem
KEY=/etc/tandem/tls/key.pem
SERVER_NAME=$domain
GATEWAY_ADDRESSES=127.0.0.1:8000
ENV
    if [[ ! -e /etc/tandem/gateway.toml ]]; then
        install -m 644 "$tandem/gateway/config/gateway.toml" /etc/tandem/gateway.toml
        changed /etc/tandem/gateway.toml
    fi
    # It ends when Nginx is not there yet.
    if put /etc/systemd/system/prometheus-nginx-exporter.service.d/tandem.conf 644 <<<$'[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=5'; then
        when_booted systemctl daemon-reload
    fi
    exporter nginx-exporter '-web.listen-address=127.0.0.1:9113 -nginx.scrape-uri=http://127.0.0.1:8081/nginx_status'
    install -d -m 700 /etc/tandem/tls
    certificate=/etc/tandem/tls/certificate.pem key=/etc/tandem/tls/key.pem key_mode=600
    source_of_log=$'backend = auto\nlogpath = /var/log/tandem-nginx/access.log'
fi
# Until setup-ssl.sh has one, a certificate that no browser trusts, so that Nginx starts and certbot can prove the domain.
if [[ ! -s $certificate || ! -s $key ]]; then
    (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=${domain:-localhost}" \
        -addext "subjectAltName=DNS:${domain:-localhost}" -keyout "$key" -out "$certificate" 2>/dev/null)
    chmod 644 "$certificate"
    chmod "$key_mode" "$key"
    changed "$certificate: self-signed, until setup-ssl.sh"
fi

# --- fail2ban -------------------------------------------------------------------------------------------------------------
jails=0
for filter in tandem-auth tandem-basic-auth tandem-limits; do
    if put "/etc/fail2ban/filter.d/$filter.conf" 644 <"$files/fail2ban/filter.d/$filter.conf"; then jails=1; fi
done
jail=$(<"$files/fail2ban/jail.d/tandem.conf.template")
jail=${jail//@@SOURCE@@/$source_of_log}
if put /etc/fail2ban/jail.d/tandem.conf 644 <<<"${jail//@@SSH_PORT@@/$ssh_port}"; then jails=1; fi
fail2ban-client -t >/dev/null || fail 'fail2ban rejects its configuration: fail2ban-client -t'
if ((jails)); then when_booted systemctl restart fail2ban.service; fi
enable_unit fail2ban.service

echo "$changes changes"
[[ -z $ssh_failed ]] || exit 1
