"""What makes alerts of products and files fire."""

import contextlib
import http.client
import itertools
import json
import subprocess
import threading
import urllib.parse
from pathlib import Path

from .causes import auth, component, registered

# Content that no file has.
STRAY = "019ac8f5-7a3b-7c35-8d21-5e0f6a7b8c9d"


def settings(stack):
    """The settings of a stateless instance."""
    pairs = Path(f"/proc/{stack.pid('stateless-1')}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def sql(stack, statement):
    url = settings(stack)["DATABASE_URL"]
    command = ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={url}", f"--command={statement}"]
    subprocess.run(command, check=True, capture_output=True)


def send(stack, method, path, token, body=b"", **headers):
    """Sends a request to the gateway; returns the status."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.data, timeout=20)
    connection.request(method, path, body, {"Authorization": f"Bearer {token}", **headers})
    response = connection.getresponse()
    response.read()
    return response.status


class Repeating(threading.Thread):
    """Does something again and again, some five times a second; failures are ignored."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.over = work, threading.Event()

    def run(self):
        while not self.over.wait(0.2):
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.work()

    def __enter__(self):
        self.start()

    def __exit__(self, *_):
        self.over.set()
        self.join()


def change_products(stack):
    password = (stack.state / "admin.password").read_text().strip()
    status, tokens = auth(stack, "login", username="admin", password=password)
    assert status == 200, status

    stocks = itertools.count(7)

    def change():
        # A change to what it is already writes nothing.
        body = json.dumps({"stock": next(stocks)})
        path = "/api/v1/stateless/products/p001"
        return send(stack, "PATCH", path, tokens["access_token"], body, **{"Content-Type": "application/merge-patch+json"})

    assert change() == 200
    return Repeating(change)


@contextlib.contextmanager
def products_are_changed(stack):
    with change_products(stack):
        yield


@contextlib.contextmanager
def products_are_changed_without_the_cache(stack):
    with change_products(stack), component(stack, "redis-cache"):
        yield


def user_who_uploads(stack):
    """A user, and a function that uploads a small file in its name."""
    user = registered(stack)
    token = auth(stack, "login", **user)[1]["access_token"]
    headers = {"Content-Disposition": "attachment; filename=a"}
    return user["username"], lambda: send(stack, "POST", "/api/v1/files", token, b"x", **headers)


@contextlib.contextmanager
def files_are_uploaded(stack):
    _, upload = user_who_uploads(stack)
    assert upload() == 201
    with Repeating(upload):
        yield


@contextlib.contextmanager
def uploads_die(stack):
    """As if an instance died with so many in flight, a lease ago."""
    owner, _ = user_who_uploads(stack)
    sql(
        stack,
        "INSERT INTO files (id, owner, state, charged, lease_until) "
        f"SELECT gen_random_uuid(), '{owner}', 'uploading', 4096, now() FROM generate_series(1, 80)",
    )
    yield


@contextlib.contextmanager
def content_has_no_row(stack):
    folder = Path(urllib.parse.unquote(urllib.parse.urlparse(settings(stack)["FILES_URL"]).path)) / STRAY[-2:]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STRAY).write_text("left")
    sql(stack, "UPDATE file_scans SET next_at = now()")
    yield


@contextlib.contextmanager
def a_quota_is_used_up(stack):
    owner, upload = user_who_uploads(stack)
    sql(
        stack,
        "INSERT INTO files (id, owner, state, charged, name, size, sha256, content_type) "
        f"VALUES (gen_random_uuid(), '{owner}', 'stored', 1 << 30, 'all', 0, sha256(''), 'text/plain')",
    )
    assert upload() == 409
    with Repeating(upload):
        yield
