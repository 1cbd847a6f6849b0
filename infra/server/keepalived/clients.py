#!/usr/bin/env python3
"""Clients of test-keepalived.sh: eight threads write to ten sessions each through one address, with keys, and repeat what failed.

    clients.py ADDRESS STOP_FILE     writes until the file is there, then reads every session and compares

Exits with 1 if a session or an acknowledged message is lost or doubled, or if a request failed longer than ten seconds.
"""

import http.client
import json
import os
import ssl
import sys
import threading
import time
import uuid

ADDRESS, STOP = sys.argv[1:]
THREADS, SESSIONS = 8, 10
TIMEOUT_S = 1
GIVE_UP_S = 10
TLS = ssl._create_unverified_context()


class Client:
    """One connection at a time, opened again after each failure."""

    def __init__(self):
        self.connection = None
        self.longest_s = 0.0
        self.failures = 0

    def once(self, method, path, body, headers):
        """One attempt."""
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(ADDRESS, timeout=TIMEOUT_S, context=TLS)
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        content = response.read()
        if response.status >= 500:
            raise OSError(f"{response.status} {content[:200]!r}")
        if response.status >= 400:
            raise AssertionError(f"{method} {path}: {response.status} {content[:200]!r}")
        return json.loads(content)

    def request(self, method, path, body=None):
        """Until it succeeds: safe to repeat, since a write has a key."""
        began = time.monotonic()
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())} if body is not None else {}
        while True:
            try:
                result = self.once(method, path, json.dumps(body) if body is not None else None, headers)
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                return result
            except (OSError, http.client.HTTPException) as error:
                self.failures += 1
                self.connection = None
                if time.monotonic() - began > GIVE_UP_S:
                    raise AssertionError(f"{method} {path} failed for {GIVE_UP_S} s: {error}") from error
                time.sleep(0.02)


def work(number, clients, ledgers, faults):
    """One thread: creates its sessions, writes in turn, and compares at the end."""
    client = clients[number]
    try:
        root = "/api/v1/stateful/sessions"
        ledger = {client.request("POST", root, {"client_data": {"name": f"client {number}"}})["session_id"]: [] for _ in range(SESSIONS)}
        ledgers[number] = ledger
        while not os.path.exists(STOP):
            for session, messages in ledger.items():
                text = f"message {len(messages) + 1}"
                client.request("POST", f"{root}/{session}/messages", {"message": text})
                messages.append(text)
            time.sleep(0.02)
        for session, messages in ledger.items():
            found, cursor = [], ""
            while cursor is not None:
                page = client.request("GET", f"{root}/{session}/history?limit=100" + (f"&cursor={cursor}" if cursor else ""))
                found += [one["message"] for one in page["messages"]]
                cursor = page.get("next_cursor")
            if found != messages:
                raise AssertionError(f"a session has {len(found)} messages, {len(messages)} were acknowledged: {found[-3:]} {messages[-3:]}")
    except AssertionError as error:
        faults.append(str(error))
    except Exception as error:  # a thread that dies would count as one without faults
        faults.append(repr(error))


def main():
    """Runs the threads."""
    clients = [Client() for _ in range(THREADS)]
    ledgers = [{} for _ in range(THREADS)]
    faults = []
    threads = [threading.Thread(target=work, args=(number, clients, ledgers, faults)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    while not faults and not all(ledger and all(ledger.values()) for ledger in ledgers):
        time.sleep(0.05)
    print("began", flush=True)
    for thread in threads:
        thread.join()
    messages = sum(len(messages) for ledger in ledgers for messages in ledger.values())
    sessions = sum(len(ledger) for ledger in ledgers)
    print(
        f"{sessions} sessions, {messages} acknowledged messages, {len(faults)} faults; "
        f"{sum(client.failures for client in clients)} attempts failed and were repeated, "
        f"the longest wait was {max(client.longest_s for client in clients):.1f} s"
    )
    for fault in faults:
        print(fault)
    sys.exit(1 if faults or sessions != THREADS * SESSIONS else 0)


if __name__ == "__main__":
    main()
