#!/usr/bin/env python3
"""Runs the Pods of an overlay as containers on this machine and replaces them under load: `make k8s-test`.

    test-pods.py [options] [folder of the programs, target/debug by default]

Each Pod of infra/k8s/overlays/dev is started strictly by its manifest: image, command, environment, user, read-only root,
limits, volumes, probes, preStop, grace period. Pods find each other by a DNS that is as late as that of most clusters. Then each
workload is rolled as `kubectl rollout restart` does it, and the StatefulSet is scaled up and down, under 200 requests/s. Each
request must succeed, no message may be lost, each probe must pass, no root may be written to, and no container may outlive its
grace period. Exits with 1 on any fault.

It needs Linux, root, Docker with the images of the overlay, openssl, `kubectl` or `kustomize`, and the programs of `cargo build
--workspace --bins`. docs/KUBERNETES.md says what is as on a cluster, and what is not.
"""

import argparse
import asyncio
import contextlib
import copy
import ipaddress
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import check
from pods import planted
from pods.cluster import Cluster, Unsupported
from pods.docker import DockerError, Network, missing_images
from pods.kept import Kept
from pods.load import Load
from pods.names import Dns, resolv_conf
from pods.services import Services
from pods.workloads import workloads

ROOT = Path(__file__).resolve().parents[2]
SECRETS = ROOT / "infra/compose/secrets/development"
# So late a load balancer learns of a Pod that comes or goes: two checks, 10 s apart.
LOAD_BALANCER_S = 20
# Of the range for benchmarks (RFC 2544), which no setting here knows: each has a rate limit of its own at the gateway.
CLIENTS = [f"198.18.0.{number}" for number in range(1, 65)]
STARTED_WITHIN_S = 400


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description="Runs the Pods of an overlay as containers, and replaces them under load.")
    parser.add_argument("programs", nargs="?", default="target/debug", help="the folder of loadtest")
    parser.add_argument("--overlay", default="dev")
    parser.add_argument("--steps", default="nginx gateway stateless-svc stateful-svc up down redis-cache", help="workloads to roll, up, down")
    parser.add_argument("--rate", type=int, default=200, help="requests/s")
    parser.add_argument("--port", type=int, default=28443, help="the port of clients on 127.0.0.1")
    parser.add_argument("--subnet", type=ipaddress.ip_network, default=ipaddress.ip_network("10.243.0.0/20"))
    parser.add_argument("--cgroup-parent", help="a control group for all Pods, as kubepods is for a kubelet; its weight is yours to set")
    parser.add_argument("--image", metavar="IMAGE=OTHER", action="append", default=[], help="another image for one of the manifests")
    parser.add_argument("--without-pre-stop", metavar="WORKLOAD", action="append", default=[], help="to see that this test fails then")
    parser.add_argument("--without-min-ready", metavar="WORKLOAD", action="append", default=[], help="the same for minReadySeconds")
    parser.add_argument("--grace-period", metavar="WORKLOAD=SECONDS", action="append", default=[], help="the same for another grace period")
    return parser.parse_args()


def changed(manifests, options):
    """The manifests with what the options change."""
    manifests = check.Manifests(copy.deepcopy(manifests.objects))
    others = dict(change.split("=", 1) for change in options.image)
    containers = [container for _, template in manifests.pods() for container in template["spec"]["containers"]]
    unknown = set(others) - {container["image"] for container in containers}
    if unknown:
        sys.exit(f"error: no Pod has the image {', '.join(unknown)}")
    for container in containers:
        container["image"] = others.get(container["image"], container["image"])
    for name in options.without_pre_stop:
        del manifests.container(name)["lifecycle"]["preStop"]
    for name in options.without_min_ready:
        del manifests.workload(name)["spec"]["minReadySeconds"]
    for change in options.grace_period:
        name, _, seconds = change.partition("=")
        manifests.template(name)["spec"]["terminationGracePeriodSeconds"] = int(seconds)
    return manifests


def certificate(work):
    """An authority, and a certificate for localhost: what cert-manager would put into the Secret."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    (work / "extensions").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for command in (
        ["req", "-x509", *key, "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Tandem test authority"],
        ["req", "-new", *key, "-keyout", "tls.key", "-out", "request.pem", "-subj", "/CN=localhost"],
        ["x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions", "-out", "tls.crt"],
    ):
        subprocess.run(["openssl", *command], cwd=work, check=True, capture_output=True)
    return {name: (work / name).read_bytes() for name in ("tls.crt", "tls.key")}


def secrets(work):
    """As docs/KUBERNETES.md has them made."""
    files = {path.name: path.read_bytes() for path in SECRETS.iterdir() if path.is_file()}
    keys = {path.name: path.read_bytes() for path in (SECRETS / "token-keys").iterdir()}
    return {"tandem": files, "tandem-token-keys": keys, "tandem-tls": certificate(work)}


async def responds(port, authority):
    """Whether a request to either pool succeeds."""
    try:
        context = ssl.create_default_context(cafile=authority)
        for request in ("GET /api/v1/stateless/products?limit=1", "POST /api/v1/stateful/sessions"):
            reader, writer = await asyncio.open_connection("localhost", port, ssl=context, family=2)
            body = "" if request.startswith("GET") else "{}"
            head = f"Host: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            writer.write(f"{request} HTTP/1.1\r\n{head}\r\n\r\n{body}".encode())
            status = (await asyncio.wait_for(reader.readline(), 5)).split()
            writer.close()
            if status[1:2] not in ([b"200"], [b"201"]):
                return False
        return True
    except (OSError, TimeoutError):
        return False


class Test:
    """One run."""

    def __init__(self, options, manifests, work):
        self.options, self.work = options, work
        self.network = Network("tandem-k8s", options.subnet, options.cgroup_parent)
        self.cluster = Cluster(manifests, secrets(work), self.network, work)
        self.services = Services(self.cluster)
        self.workloads = workloads(self.cluster)
        self.url = f"https://localhost:{options.port}"
        self.load = Load(Path(options.programs) / "loadtest", self.url, work / "ca.pem", work, options.rate)
        self.kept = Kept(options.port, work / "ca.pem")
        self.rows = []

    async def start(self):
        """The network, DNS, Services, and all workloads at once."""
        await self.network.create()
        self.cluster.spawn(self.network.exits(self.container_ended))
        dns = Dns(str(self.options.subnet[0x800]), self.services.all)
        await self.network.add_address(dns.address)
        await dns.serve()
        (self.work / "resolv.conf").write_text(resolv_conf(dns.address, "tandem"))
        await self.services.serve(self.network, 0x801)
        for client in CLIENTS:
            await self.network.add_address(client)
        front = self.services.named("nginx")
        await front.forward("127.0.0.1", self.options.port, "https", LOAD_BALANCER_S, CLIENTS)
        async with asyncio.timeout(STARTED_WITHIN_S), asyncio.TaskGroup() as group:
            for workload in self.workloads:
                group.create_task(workload.reconcile())
        deadline = time.monotonic() + STARTED_WITHIN_S
        while not await responds(self.options.port, self.work / "ca.pem"):
            if time.monotonic() > deadline:
                raise TimeoutError("the system does not respond")
            await asyncio.sleep(1)
        await self.check()
        for words in await planted.not_found(self.cluster, self.cluster.workloads["nginx"].pods()[0]):
            self.cluster.fault(f"this test would not find that a container {words} …")

    def container_ended(self, name, status):
        """Docker reports the end of a container."""
        for pod in self.cluster.pods.values():
            for container in pod.containers:
                if container.docker_name == name:
                    container.end(status)

    async def check(self):
        """Every running container against its manifest."""
        for pod in list(self.cluster.pods.values()):
            if not pod.terminating:
                await pod.check()

    async def step(self, name):
        """One operation under load."""
        stateful = self.cluster.workloads["stateful-svc"]
        titles = {"up": ("scale stateful-svc up by one", 1), "down": ("scale stateful-svc down by one", -1)}
        title, by = titles.get(name, (f"roll {name}", 0))
        self.cluster.log(f"== {title}")
        faults = len(self.cluster.faults)
        operation = stateful.scale(stateful.replicas + by) if by else self.cluster.workloads[name].restart()
        report, error = await self.load.during(self.kept.during(operation))
        if error:
            self.cluster.fault(f"{title}: {type(error).__name__}: {error}")
        await self.check()
        by_kind = ", ".join(f"{count} {kind}" for kind, count in report["failed_by_kind"].items())
        if report["failed"]:
            self.cluster.fault(f"{title}: {report['failed']} failed within {report['failed_for_s']:.1f} s: {by_kind}")
        if self.kept.unannounced:
            self.cluster.fault(f"{title}: {len(self.kept.unannounced)} kept connections ended without a word: {self.kept.unannounced[0]}")
        # A load that the machine could not send shows nothing.
        if report["requests_per_s"] < 0.95 * self.options.rate:
            self.cluster.fault(f"{title}: only {report['requests_per_s']:.0f} requests/s were sent, not {self.options.rate}")
        streams = report["streams"]
        if streams["followed"] == 0 or streams["received"] == 0:
            self.cluster.fault(f"{title}: no stream was followed")
        self.rows.append((title, report["duration_s"], report["requests"], report["failed"], streams["received"], streams["resumed"], len(self.cluster.faults) - faults))

    async def run(self):
        """Starts, takes all steps, and prints what was measured."""
        await self.start()
        for name in self.options.steps.split():
            await self.step(name)
        self.summary()

    def summary(self):
        """Tables for people."""
        cluster = self.cluster
        print(f"\n{'operation':<34}{'s':>6}{'requests':>10}{'failed':>8}{'events':>8}{'resumed':>9}{'faults':>8}")
        for title, seconds, requests, failed, received, resumed, faults in self.rows:
            print(f"{title:<34}{seconds:>6.0f}{requests:>10}{failed:>8}{received:>8}{resumed:>9}{faults:>8}")
        print("\nprobes passed (failed, of startup before the program listens)")
        for workload in cluster.workloads.values():
            for container in workload.template["spec"]["containers"]:
                counts = []
                for kind in ("startup", "readiness", "liveness"):
                    passed, failed = (cluster.probes[(workload.name, container["name"], kind, outcome)] for outcome in ("passed", "failed"))
                    counts.append(f"{kind} {passed} ({failed})")
                    if f"{kind}Probe" in container and not passed:
                        cluster.fault(f"{workload.name}: its {kind} probe was never run")
                peak = cluster.peaks.get(f"{workload.name}/{container['name']}")
                limit = container["resources"]["limits"]["memory"]
                memory = f"; at most {peak / 2**20:.0f} MiB of {limit}" if peak else ""
                print(f"  {workload.name:<16}{', '.join(counts)}{memory}")

    def logs(self):
        """The ends of the containers' logs, for a fault."""
        for pod in self.cluster.pods.values():
            for container in pod.containers:
                print(f"\n-- {container.docker_name}", flush=True)
                subprocess.run(["docker", "logs", "--tail", "5", container.docker_name], stdout=sys.stdout, stderr=subprocess.STDOUT, check=False)


async def main():
    """Returns the exit status."""
    options = arguments()
    os.chdir(ROOT)
    if os.geteuid() != 0:
        sys.exit("error: addresses of Services and the owners of volumes take root: make k8s-test")
    manifests = changed(check.render(options.overlay), options)
    images = {container["image"] for _, template in manifests.pods() for container in template["spec"]["containers"]}
    missing = await missing_images(images)
    if missing:
        sys.exit(f"error: cannot pull {', '.join(missing)}; infra/compose/compose.sh build makes the images of Tandem")
    work = Path(tempfile.mkdtemp(prefix="tandem-k8s-"))
    test = Test(options, manifests, work)
    running = asyncio.current_task()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, running.cancel)
    try:
        await test.run()
    except (TimeoutError, RuntimeError, DockerError, Unsupported, ExceptionGroup) as error:
        test.cluster.fault(f"{type(error).__name__}: {error}")
    finally:
        if test.cluster.faults:
            test.logs()
        for task in list(test.cluster.tasks):
            task.cancel()
        await test.network.remove()
        shutil.rmtree(work)
    for fault in test.cluster.faults:
        print(f"FAULT    {fault}", file=sys.stderr)
    print(f"{len(test.cluster.faults)} faults after {time.monotonic() - test.cluster.started:.0f} s", flush=True)
    return 1 if test.cluster.faults else 0


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        sys.exit(asyncio.run(main()))
    sys.exit(130)
