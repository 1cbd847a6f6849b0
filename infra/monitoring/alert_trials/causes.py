"""What makes alerts fire: context managers that break something, and mend it afterwards."""

import contextlib
import http.client
import json
import secrets
import socket
import subprocess
import threading
from pathlib import Path

from .stack import OFFSET


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


@contextlib.contextmanager
def a_canary_fails(stack):
    """The command puts it back and fails; the gateway counts it."""
    failing = Failing(8101 + OFFSET)
    failing.start()
    control = f"http://127.0.0.1:{stack.control_port}"
    options = ["--control", control, "--token-file", stack.state / "control.token"]
    canary = [stack.programs / "gateway", "ctl", *options, "canary", "stateless", f"127.0.0.1:{failing.port}"]
    done = subprocess.run(list(map(str, canary)), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1 and "is put back" in done.stderr, done
    try:
        yield
    finally:
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
