#!/usr/bin/env python3
"""Tests the alerts on a running system: `make alerts-test`. Starts a local stack of its own, under a light load, and breaks it.

    try-alerts.py [folder of the programs, target/debug by default] [names of scenarios]

Each scenario is one cause. It lists the alerts that must fire, and similar ones that must not. Each alert has one true and two
false causes here, or is listed as untested with the reason. To finish within minutes, the rules use windows of seconds; the
promtool tests check the real ones. Exits with 1 on any fault.
"""

import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OFFSET = int(os.environ.get("PORT_OFFSET", "9500"))
# The rules' window here, and their evaluation interval.
WINDOW_S, INTERVAL_S = 20, 2
# Bounds; nearly all scenarios take seconds.
FIRES_WITHIN_S, QUIET_WITHIN_S = 90, 120

# Alerts that no local stack can cause, and why.
UNTESTED = {
    "CertificateExpires": "its series comes from certificate-expiry.sh through the node exporter",
    "CertificateExpiresSoon": "its series comes from certificate-expiry.sh through the node exporter",
    "BackupTooOld": "its series comes from backup.sh through the node exporter",
    "DiskFull": "it needs the node exporter, and the machine's own disk",
    "DiskFillsUp": "it needs the node exporter, and an hour",
    "MemoryLow": "it needs the machine's memory",
    "RedisMemoryHigh": "it needs a limit that local stacks do not set",
    "RedisEvictsSessions": "it needs a misconfigured Redis",
    "RedisPersistenceBroken": "it needs a Redis that runs without its file; on a full disk it exits",
    "RedisReplicaLags": "it needs replicas: make compose-test-ha",
    "PostgresReplicaLags": "it needs replicas: make compose-test-ha",
    "PostgresConnectionsHigh": "it needs more connections than the services open",
    "GatewaysDisagree": "it needs two gateways for a quarter of an hour",
    "RequestsShed": "it needs more load than fits beside the tests; gateway/tests/it/overload.rs causes it",
    "RetriesRefused": "it needs more load than fits beside the tests; gateway/tests/it/retries.rs causes it",
    "LatencyHighStateless": "a p99 beside the tests proves nothing",
    "LatencyHighStateful": "a p99 beside the tests proves nothing",
    "HandoverSlow": "its p99 needs more handovers than this load causes",
    "PasswordQueueLong": "it needs more logins than fit beside the tests; the tests of passwords.rs fill the queue",
    "AuditPartitionsUnchecked": "it needs three hours",
    "TokenKeysOld": "it needs three minutes without a stateless instance",
    "ConnectionPoolExhausted": "it needs more concurrent requests than this load has",
}


class Stack:
    """A local stack, its gateway and its Prometheus."""

    def __init__(self, programs):
        self.programs = programs
        self.state = Path(tempfile.mkdtemp(prefix="tandem-alerts-"))
        self.data, self.control_port, self.prometheus = 8000 + OFFSET, 8001 + OFFSET, f"http://127.0.0.1:{8090 + OFFSET}"

    def run(self, *arguments):
        command = [self.programs / "local-stack", "--state", self.state, *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=180)
        if done.returncode:
            raise RuntimeError(f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def pid(self, component):
        for line in self.run("status").splitlines():
            if line.split()[:1] == [component]:
                return int(line.split()[2])
        raise RuntimeError(f"there is no {component}")

    def control(self, method, path, body=None):
        """Sends a change to the control API; returns the status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=20)
        token = (self.state / "control.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request(method, f"/control/v1/{path}", json.dumps(body) if body is not None else None, headers)
        return connection.getresponse().status

    def strategy(self, strategy):
        assert self.control("PUT", "pools/stateful/strategy", {"strategy": strategy}) == 200

    @contextlib.contextmanager
    def configured(self, change):
        """Reloads the gateway with a changed configuration, and restores it afterwards."""
        file = self.state / "gateway" / "gateway.toml"
        before = file.read_text()
        try:
            file.write_text(change(before))
            self.control("POST", "reload")
            yield
        finally:
            file.write_text(before)
            assert self.control("POST", "reload") == 200

    def shorten_windows(self):
        """Gives the rules windows of seconds."""
        folder = self.state / "prometheus"
        for file in (folder / "rules").glob("*.yml"):
            text = re.sub(r"(?m)^(\s+for:) .*$", rf"\1 {INTERVAL_S}s", file.read_text())
            file.write_text(re.sub(r"\[\d+[smhd]\]", f"[{WINDOW_S}s]", text))
        main = folder / "prometheus.yml"
        main.write_text(re.sub(r"_interval: 5s", f"_interval: {INTERVAL_S}s", main.read_text()))
        os.kill(self.pid("prometheus"), signal.SIGHUP)

    def query(self, path, **parameters):
        url = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)["data"]

    def alerts(self, since_s=None, states="firing"):
        """The alerts that fire, or fired within the last `since_s` seconds."""
        series = f'ALERTS{{alertstate=~"{states}"}}'
        query = f"last_over_time({series}[{int(since_s)}s])" if since_s else series
        return {sample["metric"]["alertname"] for sample in self.query("query", query=query)["result"]}

    def end(self):
        with contextlib.suppress(Exception):
            self.run("down")
        shared = self.state / "shared"
        if shared.exists():
            shutil.rmtree(shared.read_text().strip(), ignore_errors=True)
        shutil.rmtree(self.state, ignore_errors=True)


class Load(threading.Thread):
    """Some ten requests per second of each kind; failures are ignored."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.sessions, self.over = port, [], threading.Event()

    def send(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()

    def run(self):
        number = 0
        while not self.over.wait(0.05):
            number += 1
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                self.send("GET", "/api/v1/stateless/info")
                if len(self.sessions) < 40:
                    status, body = self.send("POST", "/api/v1/stateful/sessions", "{}")
                    if status == 201:
                        self.sessions.append(json.loads(body)["session_id"])
                elif self.sessions:
                    path = f"/api/v1/stateful/sessions/{self.sessions[number % len(self.sessions)]}"
                    status, _ = self.send("GET", path)
                    if status == 404:
                        self.sessions.clear()
                    if number % 3 == 0 and self.sessions:
                        self.send("POST", f"{path}/messages", '{"message":"m"}')


@contextlib.contextmanager
def component(stack, name):
    """Kills a component, and starts it again afterwards."""
    stack.run("kill", name)
    try:
        yield
    finally:
        stack.run("start", name)


@contextlib.contextmanager
def whole_pool(stack):
    with component(stack, "stateless-1"), component(stack, "stateless-2"):
        yield


@contextlib.contextmanager
def round_robin(stack):
    stack.strategy("round_robin")
    try:
        yield
    finally:
        stack.strategy("sticky")


@contextlib.contextmanager
def sessions_are_flushed(stack):
    """It cannot be undone."""
    subprocess.run(["redis-cli", "-p", str(8379 + OFFSET), "FLUSHALL"], check=True, capture_output=True)
    yield


@contextlib.contextmanager
def state_file_on_a_full_disk(stack):
    """Makes the gateway's write fail with the kernel's own ENOSPC."""
    beside = (stack.state / "gateway" / "state.json").with_suffix(f".{stack.pid('gateway')}.new")
    beside.symlink_to("/dev/full")
    try:
        assert stack.control("PUT", "pools/stateful/strategy", {"strategy": "round_robin"}) == 507
        yield
    finally:
        beside.unlink()


@contextlib.contextmanager
def few_descriptors(stack):
    pid = stack.pid("stateless-1")
    used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={used + 2}:"], check=True)
    try:
        yield
    finally:
        subprocess.run(["prlimit", f"--pid={pid}", "--nofile=4096:"], check=True)


class Failing(threading.Thread):
    """A stateless instance that is healthy and responds 500 to every request."""

    NAME = "stateless-9"

    def __init__(self, original):
        super().__init__(daemon=True)
        import http.server

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                connection = http.client.HTTPConnection("127.0.0.1", original, timeout=3)
                connection.request("GET", "/health")
                model = connection.getresponse()
                body, is_health = model.read(), self.path in ("/health", "/readyz")
                self.send_response(200 if is_health else 500)
                for name, value in model.getheaders():
                    if name.lower() not in ("content-length", "date", "connection", "transfer-encoding"):
                        self.send_header(name, Failing.NAME if name.lower() == "x-instance-id" else value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def run(self):
        self.server.serve_forever()


@contextlib.contextmanager
def one_responds_500(stack):
    failing = Failing(8101 + OFFSET)
    failing.start()
    status = stack.control("POST", "pools/stateless/instances", {"addr": f"127.0.0.1:{failing.port}"})
    assert status == 201, status
    try:
        yield
    finally:
        assert stack.control("DELETE", f"pools/stateless/instances/{Failing.NAME}") == 204
        failing.server.shutdown()


def nothing(_stack):
    return contextlib.nullcontext()


def unresolvable_discovery(stack):
    section = "[pools.stateful]"
    return stack.configured(lambda text: text.replace(section, f'{section}\ndiscover = "nobody.invalid:1"'))


def address_of_the_other_pool(stack):
    first = f'"127.0.0.1:{8201 + OFFSET}"'
    return stack.configured(lambda text: text.replace(first, f'"127.0.0.1:{8101 + OFFSET}", {first}'))


class Holding(threading.Thread):
    """Holds as many connections as one address may have."""

    def __init__(self, port, number):
        super().__init__(daemon=True)
        self.port, self.number, self.over = port, number, threading.Event()

    def run(self):
        while not self.over.is_set():
            with contextlib.ExitStack() as held:
                for _ in range(self.number):
                    with contextlib.suppress(OSError):
                        held.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=3))
                self.over.wait(2)


@contextlib.contextmanager
def connections_are_held(stack):
    """Nobody is a trusted proxy, and an address may have few connections."""
    holding = Holding(stack.data, 4)
    few = '[server]\ntrusted_proxies = ["192.0.2.1/32"]'
    with stack.configured(lambda text: text.replace("[server]", few) + "\n[clients]\nmax_connections_per_address = 4\n"):
        holding.start()
        try:
            yield
        finally:
            holding.over.set()
            holding.join()


def auth(stack, operation, token=None, **body):
    """Calls an operation of accounts; returns the status, and the response's fields."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    connection = http.client.HTTPConnection("127.0.0.1", stack.data, timeout=10)
    connection.request("POST", f"/api/v1/auth/{operation}", json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read()
    return response.status, json.loads(text) if text else None


def registered(stack):
    """Registers a user; returns its credentials."""
    user = {"username": f"alerts-{secrets.token_hex(6)}", "password": secrets.token_urlsafe(16)}
    status, _ = auth(stack, "register", name="Alerts", **user)
    assert status == 201, status
    return user


class Guessing(threading.Thread):
    """Guesses a user's password, some ten times a second."""

    def __init__(self, stack, user):
        super().__init__(daemon=True)
        self.stack, self.user, self.over = stack, user, threading.Event()

    def run(self):
        while not self.over.wait(0.1):
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                auth(self.stack, "login", username=self.user["username"], password="a wrong one")


@contextlib.contextmanager
def a_password_is_guessed(stack):
    guessing = Guessing(stack, registered(stack))
    guessing.start()
    try:
        yield
    finally:
        guessing.over.set()
        guessing.join()


def tokens_of_a_login(stack):
    status, tokens = auth(stack, "login", **registered(stack))
    assert status == 200, status
    return tokens


@contextlib.contextmanager
def a_refresh_token_is_reused(stack):
    """Its successor has been used, so this is no lost response."""
    first = tokens_of_a_login(stack)["refresh_token"]
    second = auth(stack, "refresh", refresh_token=first)[1]["refresh_token"]
    assert auth(stack, "refresh", refresh_token=second)[0] == 200
    assert auth(stack, "refresh", refresh_token=first)[0] == 401
    yield


def log_out_everywhere(stack, tokens):
    status, _ = auth(stack, "logout", token=tokens["access_token"], everywhere=True)
    assert status == 204, status


@contextlib.contextmanager
def nobody_takes_revocations(stack):
    tokens = tokens_of_a_login(stack)
    with component(stack, "stateful-1"), component(stack, "stateful-2"):
        log_out_everywhere(stack, tokens)
        yield


@contextlib.contextmanager
def all_is_well_with_a_user(stack):
    """Who once mistypes the password, repeats a refresh as if its response were lost, and logs out everywhere."""
    tokens = tokens_of_a_login(stack)
    log_out_everywhere(stack, tokens)
    first = tokens_of_a_login(stack)["refresh_token"]
    assert auth(stack, "refresh", refresh_token=first)[0] == 200
    assert auth(stack, "refresh", refresh_token=first)[0] == 200
    assert auth(stack, "login", username="nobody", password="a wrong one")[0] == 401
    yield


def broken_configuration(stack):
    return stack.configured(lambda text: text + "\n[nonsense]\nx = 1\n")


def valid_configuration(stack):
    return stack.configured(lambda text: text)


BURNS = "AvailabilityBurnsFast AvailabilityBurnsSlowly AvailabilityBurnsAway ErrorsHigh"
# Cause: how to bring it about, the alerts that must fire, and those that must not.
SCENARIOS = {
    "all is well": (nothing, "", "all"),
    "an instance of the stateful pool is killed": (
        lambda stack: component(stack, "stateful-1"),
        "InstanceDown AffinityBroken TargetDown",
        f"InstanceEjected InstanceRefused PoolDown GatewayDown AffinityOff SessionLost SessionStoreUnavailable ReadsUnverified {BURNS}",
    ),
    "an instance of the other service is in the pool": (
        address_of_the_other_pool,
        "InstanceRefused",
        f"InstanceDown InstanceEjected PoolDown TargetDown AffinityBroken SessionLost ConfigReloadFailed {BURNS}",
    ),
    "a whole pool is killed": (
        whole_pool,
        f"PoolDown InstanceDown {BURNS}",
        "InstanceEjected InstanceRefused GatewayDown AffinityBroken AffinityOff SessionStoreUnavailable LeaseNotHeld",
    ),
    "one instance responds 500": (
        one_responds_500,
        "InstanceEjected",
        "InstanceDown InstanceRefused PoolDown TargetDown AffinityBroken",
    ),
    "the strategy is switched": (
        round_robin,
        "AffinityOff",
        f"AffinityBroken PoolDown SessionLost ReadsUnverified StateFileNotWritten ConfigReloadFailed {BURNS}",
    ),
    "the sessions' Redis is killed": (
        lambda stack: component(stack, "redis-sessions"),
        f"RedisDown SessionStoreUnavailable ReadsUnverified LeaseNotHeld {BURNS}",
        "PostgresDown NginxDown PoolDown InstanceEjected InstanceDown SessionLost TargetDown AffinityBroken AffinityOff",
    ),
    "the cache's Redis is killed": (
        lambda stack: component(stack, "redis-cache"),
        "RedisDown",
        f"PostgresDown NginxDown PoolDown InstanceEjected SessionStoreUnavailable ReadsUnverified LeaseNotHeld SessionLost {BURNS}",
    ),
    "PostgreSQL is killed": (
        lambda stack: component(stack, "postgres"),
        "PostgresDown",
        "RedisDown NginxDown PoolDown InstanceEjected TargetDown SessionStoreUnavailable",
    ),
    "Nginx is killed": (
        lambda stack: component(stack, "nginx"),
        "NginxDown",
        f"RedisDown PostgresDown PoolDown GatewayDown TargetDown {BURNS}",
    ),
    "the sessions are flushed": (
        sessions_are_flushed,
        "SessionLost",
        "SessionStoreUnavailable PoolDown InstanceEjected AffinityBroken",
    ),
    "the gateway is killed": (
        lambda stack: component(stack, "gateway"),
        "GatewayDown",
        "PoolDown InstanceDown TargetDown LeaseNotHeld DiscoveryFailing ConnectionsRefused",
    ),
    "the state file cannot be written": (
        state_file_on_a_full_disk,
        "StateFileNotWritten",
        f"ConfigReloadFailed AffinityOff GatewayDown FileDescriptorsLow DiscoveryFailing {BURNS}",
    ),
    "an invalid configuration is loaded": (
        broken_configuration,
        "ConfigReloadFailed",
        "StateFileNotWritten DiscoveryFailing GatewayDown FileDescriptorsLow",
    ),
    "a valid configuration is loaded": (valid_configuration, "", "ConfigReloadFailed StateFileNotWritten"),
    "a DNS name does not resolve": (
        unresolvable_discovery,
        "DiscoveryFailing",
        "PoolDown InstanceDown ConfigReloadFailed TargetDown",
    ),
    "a process has few descriptors left": (
        few_descriptors,
        "FileDescriptorsLow",
        "InstanceEjected PoolDown StateFileNotWritten ConnectionsRefused",
    ),
    "one address holds all its connections": (
        connections_are_held,
        "ConnectionsRefused",
        "FileDescriptorsLow PoolDown InstanceDown InstanceEjected GatewayDown ConfigReloadFailed StateFileNotWritten",
    ),
    "a password is guessed": (
        a_password_is_guessed,
        "LoginsRefused",
        f"RefreshTokenReused RevocationsLate ConnectionsRefused InstanceEjected PoolDown {BURNS}",
    ),
    "a refresh token is used after its successor": (
        a_refresh_token_is_reused,
        "RefreshTokenReused",
        f"LoginsRefused SessionLost InstanceEjected {BURNS}",
    ),
    "revocations cannot be delivered": (
        nobody_takes_revocations,
        "RevocationsLate PoolDown InstanceDown",
        "LoginsRefused RefreshTokenReused InstanceEjected InstanceRefused GatewayDown",
    ),
    "all is well with a user": (all_is_well_with_a_user, "", "RefreshTokenReused LoginsRefused RevocationsLate"),
}


def within(limit_s, condition):
    """Whether the condition holds within the limit."""
    since = time.monotonic()
    while not condition():
        if time.monotonic() - since > limit_s:
            return False
        time.sleep(0.5)
    return True


def run_scenario(stack, name, known):
    """Runs a scenario; returns its faults."""
    cause, fires, quiet = SCENARIOS[name]
    fires, quiet = set(fires.split()), known - set(UNTESTED) if quiet == "all" else set(quiet.split())
    faults, since = [], time.monotonic()
    seen = set()

    def all_fire():
        seen.update(stack.alerts())
        return fires <= seen

    with cause(stack):
        if not within(FIRES_WITHIN_S, all_fire):
            faults.append(f"{name}: {', '.join(sorted(fires - seen))} did not fire")
        # Slower alerts get one more window.
        time.sleep(WINDOW_S)
        seen.update(stack.alerts(since_s=time.monotonic() - since))
    wrong = seen & quiet
    if wrong:
        faults.append(f"{name}: {', '.join(sorted(wrong))} fired")
    if not within(QUIET_WITHIN_S, lambda: not stack.alerts(states="firing|pending") - set(UNTESTED)):
        faults.append(f"{name}: {', '.join(sorted(stack.alerts(states='firing|pending')))} is still active afterwards")
    print(f"{'FAILED' if faults else 'ok':<7}{time.monotonic() - since:>5.0f} s  {name}: {', '.join(sorted(seen)) or 'quiet'}", flush=True)
    return faults


def coverage(known):
    """Each alert has one true and two false causes, or is listed as untested."""
    faults = []
    for alert in sorted(known):
        true = sum(alert in fires.split() for _, fires, _ in SCENARIOS.values())
        false = sum(quiet == "all" or alert in quiet.split() for _, _, quiet in SCENARIOS.values())
        if alert in UNTESTED:
            if true:
                faults.append(f"{alert} is tested, and listed as untested")
        elif true < 1 or false < 2:
            faults.append(f"{alert} has {true} true and {false} false causes here")
    return faults + [f"there is no alert {name}" for name in sorted(set(UNTESTED) - known)]


def main():
    arguments = sys.argv[1:]
    programs = Path(arguments[0] if arguments else ROOT / "target/debug").resolve()
    wanted = arguments[1:] or list(SCENARIOS)
    rules = "".join(file.read_text() for file in (ROOT / "infra/monitoring/prometheus/rules").glob("*.yml"))
    known = set(re.findall(r"- alert: (\w+)", rules))
    faults = coverage(known)
    stack = Stack(programs)
    try:
        stack.run("up", "--stateless=2", "--stateful=2", f"--port-offset={OFFSET}")
        stack.shorten_windows()
        load = Load(stack.data)
        load.start()
        time.sleep(2 * WINDOW_S)
        for name in wanted:
            faults += run_scenario(stack, name, known)
        load.over.set()
    finally:
        stack.end()
    for alert, why in sorted(UNTESTED.items()):
        print(f"not tested here: {alert}: {why}")
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
