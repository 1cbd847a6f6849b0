#!/usr/bin/env bash
# Installs what Tandem needs from Debian or Ubuntu and is missing. Starts, stops and changes nothing that is there:
# a Redis, PostgreSQL or Nginx that ran before runs on, and those that are installed now are not started.
#
#   install-packages.sh                install what is missing
#   install-packages.sh --for-bench    the other proxies that `make bench` compares the gateway with, too
#   install-packages.sh --for-lint     what `make lint-infra` checks files with, too
#   install-packages.sh --for-ui       what `make test-ui` opens pages with, too: Chromium (or Chrome), a font, Node.js, npm
#   install-packages.sh --for-clients  what `make test-clients` and `make fuzz-api` run, too: Python with venv, Node.js, npm
#   install-packages.sh --for-failover what `make postgres-failover-test` runs, too: etcd, HAProxy, and Python with venv for Patroni
#   install-packages.sh --for-backup   what backups are encrypted by and sent to S3 with, too, and what tests them: age, rclone
#   install-packages.sh --for-coverage what `make coverage` reads counters with, too, unless rustup has it (llvm-tools)
#   install-packages.sh --check        only say what is missing; exit status 1 when anything is
set -euo pipefail

check=0 for_bench=0 for_lint=0 for_coverage=0 for_ui=0 for_clients=0 for_failover=0 for_backup=0
for option; do
    case $option in
        --check) check=1 ;;
        --for-bench) for_bench=1 ;;
        --for-lint) for_lint=1 ;;
        --for-coverage) for_coverage=1 ;;
        --for-ui) for_ui=1 ;;
        --for-clients) for_clients=1 ;;
        --for-failover) for_failover=1 ;;
        --for-backup) for_backup=1 ;;
        *)
            echo "error: '$option' is no option: --check, --for-bench, --for-lint, --for-coverage, --for-ui, --for-clients, --for-failover, --for-backup" >&2
            exit 64
            ;;
    esac
done

missing=()
need_program() { # program package
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null || missing+=("$2")
}
need_file() { # pattern package
    compgen -G "$1" >/dev/null || missing+=("$2")
}
need_program nginx nginx
need_program redis-server redis-server
need_file '/usr/lib/postgresql/*/bin/initdb' postgresql
need_program prometheus prometheus
# For the tests: the `ha` overlay has it in front of PostgreSQL.
need_program pgbouncer pgbouncer
# What Prometheus cannot scrape by itself. The stack runs without those that a release lacks.
optional=()
for exporter in redis postgres nginx; do
    command -v "prometheus-$exporter-exporter" >/dev/null || optional+=("prometheus-$exporter-exporter")
done
# To build: a C compiler and make for ring, mimalloc and zlib, and CMake for a compression library of Pingora's.
need_program cc build-essential
need_program make build-essential
need_program cmake cmake
# To try the API by hand, as the README does.
need_program curl curl
need_program jq jq
if ((for_bench)); then
    need_program haproxy haproxy
    need_program valgrind valgrind
    need_program wrk wrk
    need_program python3 python3
    # A comparison leaves it out where a release lacks it.
    command -v caddy >/dev/null || optional+=(caddy)
fi
if ((for_lint)); then
    need_program haproxy haproxy
    need_program shellcheck shellcheck
    need_program amtool prometheus-alertmanager
    # The files of infra/server.
    need_program systemd-analyze systemd
    need_program sshd openssh-server
    need_program keepalived keepalived
    need_program fail2ban-regex fail2ban
    need_program openssl openssl
    # A venv has pip by it, which python3 alone does not.
    need_file '/usr/lib/python3*/ensurepip' python3-venv
fi
if ((for_backup)); then
    need_program age age
    need_program rclone rclone
fi
if ((for_coverage)) && [[ ! -x $(rustc --print target-libdir)/../bin/llvm-cov ]]; then
    llvm=$(rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\)\..*/\1/p')
    need_file "/usr/lib/llvm-$llvm/bin/llvm-cov" "llvm-$llvm"
fi
if ((for_ui)); then
    command -v google-chrome-stable >/dev/null || command -v google-chrome >/dev/null || need_program chromium chromium
    # Chromium needs one, and only recommends it.
    need_file '/usr/share/fonts/truetype/*/*.ttf' fonts-dejavu-core
    need_program node nodejs
    need_program npm npm
fi
if ((for_failover)); then
    need_program etcd etcd-server
    need_program haproxy haproxy
    need_file '/usr/lib/python3*/ensurepip' python3-venv
fi
if ((for_clients)); then
    need_program python3 python3
    need_file '/usr/lib/python3*/ensurepip' python3-venv
    need_program node nodejs
    need_program npm npm
fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u | sed '/^$/d')

# Nginx runs without these, and some releases lack them: they are installed along with it, where they exist.
extras=()
for module in filter static; do
    compgen -G "/usr/*/nginx/modules/ngx_http_brotli_${module}_module.so" >/dev/null ||
        extras+=("libnginx-mod-http-brotli-$module")
done

if ((${#missing[@]} == 0)) && ((${#optional[@]} == 0 || check || EUID != 0)); then
    exit 0
fi
if ((check)); then
    echo "missing: ${missing[*]}"
    exit 1
fi

command="apt-get update && apt-get install --no-install-recommends ${missing[*]}"
if ! command -v apt-get >/dev/null; then
    echo "error: these are missing, and this is no Debian or Ubuntu to install them on: ${missing[*]}" >&2
    exit 1
fi
if ((EUID == 0)); then
    as_root=()
elif command -v sudo >/dev/null && sudo --non-interactive true 2>/dev/null; then
    as_root=(sudo --non-interactive)
else
    echo "error: these packages are missing, and installing them takes root. Run:" >&2
    echo "    sudo sh -c '$command'" >&2
    exit 1
fi

# The distribution starts a server when it installs it. policy-rc.d forbids that for as long as we install; one that is
# there already is somebody's decision and stays.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
fi

log=$(mktemp)
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 "$@" >>"$log" 2>&1 </dev/null
}
fail() {
    tail -n 20 "$log" >&2
    echo "error: the packages could not be installed; the whole log is $log" >&2
    exit 1
}
if ((${#missing[@]} > 0)); then
    echo "Installing ${missing[*]} …"
    apt update || fail
    apt install --yes --no-install-recommends "${missing[@]}" || fail
else
    # Only what the stack can do without: what apt knows of now must do.
    extras=()
fi
for extra in "${extras[@]}" "${optional[@]}"; do
    apt install --yes --no-install-recommends "$extra" || echo "Going on without $extra."
done
rm -f "$log"

# Nor are they to start with the machine. Only those of packages that were missing a moment ago.
if [[ -d /run/systemd/system ]]; then
    for package in "${missing[@]}" "${optional[@]}"; do
        case $package in
            nginx | redis-server | postgresql | prometheus | prometheus-alertmanager | prometheus-*-exporter | pgbouncer | haproxy | caddy | keepalived | fail2ban)
                "${as_root[@]}" systemctl disable --quiet "$package.service" 2>/dev/null || true
                ;;
            etcd-server)
                "${as_root[@]}" systemctl disable --quiet etcd.service 2>/dev/null || true
                ;;
            openssh-server)
                "${as_root[@]}" systemctl disable --quiet ssh.service ssh.socket 2>/dev/null || true
                ;;
        esac
    done
fi
