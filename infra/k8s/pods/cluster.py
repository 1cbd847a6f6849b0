"""What the API server of a cluster knows: the objects of an overlay, Secrets, and the Pods that exist."""

import asyncio
import base64
import collections
import re
import time


class Unsupported(Exception):
    """A manifest has what these modules do not do. Nothing is left out silently."""


def only(what, it, *known):
    """Fails for a field that is not handled."""
    unknown = set(it) - set(known)
    if unknown:
        raise Unsupported(f"{what}: {', '.join(sorted(unknown))} is not handled by infra/k8s/pods")
    return it


def quantity(text):
    """A number of Kubernetes: 500m, 64Mi, 2."""
    value, unit = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text)).groups()
    units = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return float(value) * units[unit]


class Cluster:
    """The state that all parts share, and what was found wrong."""

    def __init__(self, manifests, secrets, network, work):
        self.manifests, self.secrets, self.network, self.work = manifests, secrets, network, work
        self.pods, self.workloads = {}, {}
        self.faults, self.probes, self.peaks = [], collections.Counter(), {}
        self.started = time.monotonic()
        self.listeners = []
        # An address is used once, so that nothing is served by a successor at the address of an old Pod.
        self.addresses = iter(range(0x100, 0x800))
        self.tasks = set()

    def log(self, text):
        """A line of the output."""
        print(f"{time.monotonic() - self.started:7.1f}  {text}", flush=True)

    def fault(self, text):
        """Something that must not happen."""
        self.faults.append(text)
        self.log(f"FAULT    {text}")

    def spawn(self, coroutine):
        """Runs beside the others; an exception is a fault."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)

        def done(task):
            self.tasks.discard(task)
            if not task.cancelled() and task.exception():
                self.fault(f"{type(task.exception()).__name__}: {task.exception()}")

        task.add_done_callback(done)
        return task

    def next_address(self):
        """The address of a new Pod."""
        return str(self.network.subnet[next(self.addresses)])

    def notify(self):
        """A Pod has changed: endpoints are computed again."""
        for listener in self.listeners:
            listener()

    def selected(self, selector):
        """Pods with these labels that exist."""
        return [pod for pod in self.pods.values() if all(pod.labels.get(key) == value for key, value in selector.items())]

    def config_map(self, name):
        """Its data."""
        found = self.manifests.named("ConfigMap", name)
        if found is None:
            raise Unsupported(f"there is no ConfigMap {name}")
        binary = {key: base64.b64decode(value) for key, value in found.get("binaryData", {}).items()}
        return {key: value.encode() for key, value in found.get("data", {}).items()} | binary

    def secret(self, name, optional=False):
        """Its data."""
        if name not in self.secrets:
            if optional:
                return {}
            raise Unsupported(f"there is no Secret {name}")
        return self.secrets[name]
