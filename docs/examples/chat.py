#!/usr/bin/env python3
"""A conversation with Tandem: writes that are safe to repeat, and a stream that misses nothing.

    pip install httpx
    python chat.py https://127.0.0.1:8443 --ca .local/tls/ca.pem --messages 5
"""

import argparse
import json
import random
import ssl
import sys
import threading
import time
import uuid

import httpx

SESSIONS = "/api/v1/stateful/sessions"
# The outcome of a write that ends so may be unknown. With its key it can be repeated.
REPEATABLE = {429, 502, 503, 504}
ATTEMPTS = 12


class Tandem:
    """A client without cookies: its paths hold the session's id, which keeps it on one instance."""

    def __init__(self, url, ca):
        # A stream that is silent longer than this is dead: the server sends a comment every 15 s.
        timeout = httpx.Timeout(10, read=45)
        verify = ssl.create_default_context(cafile=ca) if ca else True
        self.streams = 0
        self.http = httpx.Client(base_url=url, verify=verify, timeout=timeout)

    def request(self, method, path, **options):
        """Repeats what failed on its way. All that this program sends is safe to repeat."""
        for attempt in range(ATTEMPTS):
            wait = min(0.1 * 2**attempt, 2) * random.uniform(0.5, 1)
            try:
                response = self.http.request(method, path, **options)
            except httpx.TransportError as error:
                print(f"{method}: {type(error).__name__}, repeating", file=sys.stderr)
            else:
                if response.status_code not in REPEATABLE:
                    return checked(response)
                wait = max(wait, float(response.headers.get("Retry-After", 0)))
                code = problem(response)["code"]
                print(f"{method}: {code}, repeating", file=sys.stderr)
            time.sleep(wait)
        raise SystemExit(f"{method} failed {ATTEMPTS} times")

    def write(self, method, path, body, **headers):
        """One key for one write, however often it is sent."""
        headers["Idempotency-Key"] = str(uuid.uuid4())
        return self.request(method, path, json=body, headers=headers)

    def events(self, session):
        """The events of a session from its first message on, each once."""
        last = "0"
        while True:
            headers = {"Last-Event-ID": last, "Accept": "text/event-stream"}
            self.streams += 1
            try:
                with self.http.stream("GET", f"{SESSIONS}/{session}/events", headers=headers) as stream:
                    if stream.status_code not in REPEATABLE:
                        stream.status_code == 200 or checked(stream)
                        for event in parsed(stream.iter_lines()):
                            last = event.get("id", last)
                            yield event["event"], json.loads(event["data"])
                            if event["event"] == "ended":
                                return
            except httpx.TransportError:
                pass
            print(f"stream: resuming after message {last}", file=sys.stderr)
            time.sleep(random.uniform(0.1, 0.3))


def parsed(lines):
    """Server-sent events: fields line by line, and an empty line after each event."""
    event = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name:
            event[name] = value.removeprefix(" ")
        elif not line and "event" in event:
            yield event
            event = {}


def problem(response):
    response.read()
    if response.headers.get("Content-Type", "").startswith("application/problem+json"):
        return response.json()
    return {"code": response.status_code, "detail": response.text[:200]}


def checked(response):
    if response.is_success or response.status_code in {304, 412}:
        return response
    error = problem(response)
    raise SystemExit(f"{error['code']}: {error['detail']} (request {error.get('request_id')})")


def history(tandem, session):
    """All messages, page by page."""
    query = {"limit": 50}
    while True:
        page = tandem.request("GET", f"{SESSIONS}/{session}/history", params=query).json()
        yield from page["messages"]
        if page["next_cursor"] is None:
            return
        query["cursor"] = page["next_cursor"]


def main():
    options = argparse.ArgumentParser()
    options.add_argument("url")
    options.add_argument("--ca", help="the certificate authority, such as .local/tls/ca.pem")
    options.add_argument("--messages", type=int, default=5)
    options = options.parse_args()
    tandem = Tandem(options.url, options.ca)

    created = tandem.write("POST", SESSIONS, {"client_data": {"name": "Ada"}})
    session, tag = created.json()["session_id"], created.headers["ETag"]
    received, opened = [], threading.Event()

    def listen():
        for event, data in tandem.events(session):
            opened.set()
            if event == "message":
                received.append(data["number"])

    listener = threading.Thread(target=listen)
    listener.start()
    assert opened.wait(60), "the stream did not open"

    # Only if nobody else has changed the session.
    patch = {"client_data": {"name": "Grace"}}
    assert tandem.write("PATCH", f"{SESSIONS}/{session}", patch, **{"If-Match": tag}).status_code == 200
    outdated = tandem.write("PATCH", f"{SESSIONS}/{session}", patch, **{"If-Match": tag})
    assert outdated.json()["code"] == "precondition_failed"

    for number in range(1, options.messages + 1):
        posted = tandem.write("POST", f"{SESSIONS}/{session}/messages", {"message": f"Hello {number}"})
        assert posted.json()["number"] == number, posted.text
        if number == 3:
            print(f"Talking to {posted.headers['X-Served-By']}", flush=True)
    stored = [message["message"] for message in history(tandem, session)]
    assert stored == [f"Hello {number}" for number in range(1, options.messages + 1)], stored

    # The stream ends when the session does.
    until = time.monotonic() + 60
    while len(received) < options.messages and time.monotonic() < until:
        time.sleep(0.05)
    tandem.request("DELETE", f"{SESSIONS}/{session}")
    listener.join(60)
    assert not listener.is_alive(), "the stream has not ended"
    assert received == list(range(1, options.messages + 1)), received
    print(f"{options.messages} messages, each stored and received once; streams: {tandem.streams}")


if __name__ == "__main__":
    main()
