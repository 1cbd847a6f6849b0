"""Deployments and StatefulSets: which Pod is created or deleted next, in the order of Kubernetes' controllers."""

import asyncio
import math
import random
import time

from .cluster import Unsupported, only
from .pod import DEFAULT_GRACE_S, Pod

# Of a Pod that a workload waits for, beyond minReadySeconds.
READY_WITHIN_S = 300


def share(value, replicas, up):
    """A number or a percentage of the replicas."""
    if isinstance(value, str) and value.endswith("%"):
        return (math.ceil if up else math.floor)(replicas * int(value[:-1]) / 100)
    return int(value)


def suffix(length):
    """Random letters as in the names of Pods."""
    return "".join(random.choices("bcdfghjklmnpqrstvwxz2456789", k=length))


class Workload:
    """What Deployments and StatefulSets have in common."""

    def __init__(self, cluster, it):
        self.cluster, self.name, self.namespace = cluster, it["metadata"]["name"], it["metadata"]["namespace"]
        self.spec, self.template = it["spec"], it["spec"]["template"]
        self.replicas = self.spec.get("replicas", 1)
        self.min_ready_s = self.spec.get("minReadySeconds", 0)
        self.claims = self.spec.get("volumeClaimTemplates", [])
        self.revision = suffix(10)
        cluster.workloads[self.name] = self

    def pods(self):
        """Those that exist, also while they end."""
        return [pod for pod in self.cluster.pods.values() if pod.workload == self.name]

    def living(self):
        """Those that are not deleted."""
        return [pod for pod in self.pods() if not pod.terminating]

    def create(self, name):
        """A Pod by the newest template."""
        pod = Pod(self.cluster, self, name, self.revision)
        self.cluster.log(f"{name}: created")
        self.cluster.spawn(pod.start())
        return pod

    def delete(self, pod):
        """Begins to delete it."""
        # At once, so that nobody counts it any more; what follows runs later.
        pod.deleted_at = time.monotonic()
        self.cluster.spawn(pod.delete())

    def complete(self):
        """All replicas are available, by the newest template, and no other Pod is left."""
        pods = self.pods()
        return len(pods) == self.replicas and all(pod.revision == self.revision and pod.available(self.min_ready_s) for pod in pods)

    def limit_s(self):
        """A bound for everything that a rollout waits for."""
        grace_s = self.template["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_S)
        return (READY_WITHIN_S + self.min_ready_s + grace_s) * (self.replicas + 1)

    async def reconcile(self):
        """Takes steps until the workload is complete."""
        deadline = time.monotonic() + self.limit_s()
        while not self.complete():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} is not complete after {self.limit_s()} s")
            # A kubelet would start it again; here it is a fault, and nothing to wait for.
            if any(pod.has_ended() for pod in self.living()):
                raise RuntimeError(f"{self.name}: a container has ended by itself")
            self.step()
            await asyncio.sleep(0.1)

    async def restart(self):
        """As `kubectl rollout restart`: the template has a new revision."""
        self.revision = suffix(10)
        await self.reconcile()

    async def scale(self, replicas):
        """As `kubectl scale`."""
        self.replicas = replicas
        await self.reconcile()

    def step(self):
        """Creates and deletes what may be created and deleted now."""
        raise NotImplementedError


class Deployment(Workload):
    """Pods with random names, replaced within maxSurge and maxUnavailable."""

    def __init__(self, cluster, it):
        super().__init__(cluster, it)
        only(f"Deployment {self.name}", self.spec, "minReadySeconds", "replicas", "selector", "strategy", "template")
        strategy = only(f"Deployment {self.name}", self.spec.get("strategy", {}), "type", "rollingUpdate")
        self.recreates = strategy.get("type", "RollingUpdate") == "Recreate"
        bounds = strategy.get("rollingUpdate", {})
        self.max_surge = share(bounds.get("maxSurge", "25%"), self.replicas, True)
        self.max_unavailable = share(bounds.get("maxUnavailable", "25%"), self.replicas, False)

    def step(self):
        living = self.living()
        new = [pod for pod in living if pod.revision == self.revision]
        old = [pod for pod in living if pod.revision != self.revision]
        if self.recreates:
            for pod in old:
                self.delete(pod)
            # Not before the last one is gone.
            if len(self.pods()) > len(new):
                return
        surge = 0 if self.recreates else self.max_surge
        # Pods that are being deleted do not count.
        for _ in range(min(self.replicas - len(new), self.replicas + surge - len(living))):
            self.create(f"{self.name}-{self.revision}-{suffix(5)}")
        # Old ones that are not available go first, and cost nothing.
        available = sum(pod.available(self.min_ready_s) for pod in living)
        for pod in sorted(old, key=lambda pod: pod.available(self.min_ready_s)):
            if pod.available(self.min_ready_s):
                if available <= self.replicas - self.max_unavailable:
                    break
                available -= 1
            self.delete(pod)
        for pod in new[self.replicas :] if not old else []:
            self.delete(pod)


class StatefulSet(Workload):
    """Pods with the names of their ordinals, replaced one after the other from the highest down."""

    def __init__(self, cluster, it):
        super().__init__(cluster, it)
        only(
            *(f"StatefulSet {self.name}", self.spec, "minReadySeconds", "replicas", "selector", "serviceName", "template"),
            *("podManagementPolicy", "updateStrategy", "volumeClaimTemplates"),
        )
        strategy = only(f"StatefulSet {self.name}", self.spec.get("updateStrategy", {}), "type", "rollingUpdate")
        if strategy.get("type", "RollingUpdate") != "RollingUpdate" or strategy.get("rollingUpdate", {"partition": 0}) != {"partition": 0}:
            raise Unsupported(f"StatefulSet {self.name}: {strategy}")
        self.parallel = self.spec.get("podManagementPolicy", "OrderedReady") == "Parallel"

    def step(self):
        pods = {int(pod.name.rpartition("-")[2]): pod for pod in self.pods()}
        for ordinal in range(self.replicas):
            if ordinal not in pods:
                pods[ordinal] = self.create(f"{self.name}-{ordinal}")
            if not self.parallel and not pods[ordinal].available(self.min_ready_s):
                return
        condemned = sorted((ordinal for ordinal in pods if ordinal >= self.replicas), reverse=True)
        for ordinal in condemned:
            if not pods[ordinal].terminating:
                self.delete(pods[ordinal])
            if not self.parallel:
                return
        for ordinal in range(self.replicas - 1, -1, -1):
            pod = pods[ordinal]
            if pod.revision != self.revision and not pod.terminating:
                self.delete(pod)
                return
            # Since Kubernetes 1.34 for minReadySeconds, too, where the policy is Parallel.
            if not pod.available(self.min_ready_s):
                return


def workloads(cluster):
    """All of the overlay."""
    kinds = {"Deployment": Deployment, "StatefulSet": StatefulSet}
    return [kinds[it["kind"]](cluster, it) for it in cluster.manifests.of(*kinds)]
