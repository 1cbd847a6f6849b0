"""The local stack of the trials, and its load."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import urllib.parse
import urllib.request
from pathlib import Path

OFFSET = int(os.environ.get("PORT_OFFSET", "9500"))
# The rules' window here, and their evaluation interval.
WINDOW_S, INTERVAL_S = 20, 2


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
