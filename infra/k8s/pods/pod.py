"""A Pod as containers, strictly by its template: what a kubelet does from its start to its end."""

import asyncio
import re
import time

from . import kernel
from .cluster import Unsupported, only, quantity
from .docker import docker, inspect, run
from .probes import Probes
from .volumes import Volumes

# How long a kubelet waits for the end of a container whose preStop has used up the grace period.
LEAST_GRACE_S = 2
DEFAULT_GRACE_S = 30


def expanded(text, environment):
    """$(NAME) is the value of a variable, and $$ is $."""
    return re.sub(r"\$\$|\$\(([^)]*)\)", lambda it: "$" if it[0] == "$$" else environment.get(it[1], it[0]), text)


class Container:
    """One container of a Pod."""

    def __init__(self, pod, spec):
        only(
            *(f"{pod.name}, container {spec.get('name')}", spec, "name", "image", "command", "args", "env", "envFrom", "ports"),
            *("startupProbe", "readinessProbe", "livenessProbe", "lifecycle", "resources", "securityContext", "volumeMounts"),
        )
        self.pod, self.spec, self.name = pod, spec, spec["name"]
        self.docker_name = f"{pod.cluster.network.name}-{pod.name}-{self.name}"
        own = only(pod.name, spec["securityContext"], "allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities")
        if own["capabilities"] != {"drop": ["ALL"]} or own["allowPrivilegeEscalation"] is not False or own["readOnlyRootFilesystem"] is not True:
            raise Unsupported(f"{pod.name}: its security is not that of the others: {own}")
        self.ended = asyncio.Event()
        self.exit_status = None
        self.stop_signal = None
        self.passed = False

    def environment(self):
        """Name and value of each variable."""
        cluster, pod, found = self.pod.cluster, self.pod, {}
        for source in self.spec.get("envFrom", []):
            only(pod.name, source, "configMapRef")
            found |= {key: value.decode() for key, value in cluster.config_map(source["configMapRef"]["name"]).items()}
        for variable in self.spec.get("env", []):
            only(pod.name, variable, "name", "value", "valueFrom")
            if "valueFrom" not in variable:
                found[variable["name"]] = expanded(variable.get("value", ""), found)
                continue
            (kind, source), = variable["valueFrom"].items()
            if kind == "fieldRef":
                fields = {"metadata.name": pod.name, "metadata.namespace": pod.namespace, "status.podIP": pod.address}
                found[variable["name"]] = fields[source["fieldPath"]]
            elif kind == "secretKeyRef":
                found[variable["name"]] = cluster.secret(source["name"])[source["key"]].decode()
            elif kind == "configMapKeyRef":
                found[variable["name"]] = cluster.config_map(source["name"])[source["key"]].decode()
            else:
                raise Unsupported(f"{pod.name}: {kind} is not handled by infra/k8s/pods")
        return found

    def options(self):
        """The options of `docker run`."""
        pod, spec = self.pod, self.spec
        limits, requests = spec["resources"]["limits"], spec["resources"]["requests"]
        # The first container holds the network of the Pod.
        network = ["--network", f"container:{pod.containers[0].docker_name}"]
        if self is pod.containers[0]:
            network = ["--network", pod.cluster.network.name, "--ip", pod.address, "--hostname", pod.name]
            network += ["--mount", f"type=bind,source={pod.cluster.work / 'resolv.conf'},destination=/etc/resolv.conf"]
        memory = int(quantity(limits["memory"]))
        return [
            *("--name", self.docker_name, "--label", pod.cluster.network.label, "--pull", "never", "--no-healthcheck"),
            *pod.cluster.network.cgroup,
            *network,
            *("--user", f"{pod.security['runAsUser']}:{pod.security['runAsGroup']}", "--group-add", pod.volumes.group),
            *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--memory", memory, "--memory-swap", memory, "--cpus", quantity(limits["cpu"])),
            *("--cpu-shares", max(2, int(quantity(requests["cpu"]) * 1024))),
            *("--log-opt", "max-size=16m"),
            *pod.volumes.options(spec, f"{pod.name}, container {self.name}"),
        ]

    async def start(self):
        """Runs it."""
        environment = self.environment()
        options = self.options()
        for name, value in environment.items():
            options += ["--env", f"{name}={value}"]
        command = [expanded(word, environment) for word in self.spec.get("command", [])]
        arguments = [expanded(word, environment) for word in self.spec.get("args", [])]
        entrypoint = ["--entrypoint", command[0]] if command else []
        await docker("run", "--detach", *options, *entrypoint, self.spec["image"], *command[1:], *arguments)
        # Container runtimes send the signal of the image where it has one.
        self.stop_signal = (await inspect(self.docker_name))["Config"].get("StopSignal") or "SIGTERM"

    def end(self, exit_status):
        """Docker reports its end."""
        self.exit_status = exit_status
        self.ended.set()
        if self.pod.deleted_at is None:
            self.pod.cluster.fault(f"{self.docker_name} has ended by itself, with the status {exit_status}")

    async def stop(self, grace_s):
        """preStop, then the signal, then, after the rest of the grace period, SIGKILL."""
        cluster, begin = self.pod.cluster, time.monotonic()
        if not self.ended.is_set():
            await self.pre_stop(grace_s)
            left_s = max(LEAST_GRACE_S, grace_s - (time.monotonic() - begin))
            cluster.log(f"{self.pod.name}: {self.stop_signal} after {time.monotonic() - begin:.1f} s")
            await run("docker", "kill", "--signal", self.stop_signal, self.docker_name)
            try:
                await asyncio.wait_for(self.ended.wait(), left_s)
            except TimeoutError:
                cluster.fault(f"{self.docker_name}: SIGKILL after {time.monotonic() - begin:.1f} s, its grace period is {grace_s} s")
                await run("docker", "kill", self.docker_name)
                await self.ended.wait()
        described = await inspect(self.docker_name)
        if described["State"]["OOMKilled"]:
            cluster.fault(f"{self.docker_name}: it took more memory than its limit")
        await self.check_root()
        cluster.log(f"{self.pod.name}: gone after {time.monotonic() - begin:.1f} s, status {self.exit_status}")

    async def check_root(self):
        """Nothing may have been written to it."""
        for line in await kernel.written(self):
            self.pod.cluster.fault(f"{self.docker_name}: wrote to its root: {line}")

    async def pre_stop(self, grace_s):
        """The hook before the signal; longer than the grace period it is cut."""
        hook = only(self.pod.name, self.spec.get("lifecycle", {}), "preStop").get("preStop")
        if hook is None:
            return
        (kind, what), = hook.items()
        try:
            if kind == "sleep":
                await asyncio.wait_for(self.ended.wait(), min(what["seconds"], grace_s))
            elif kind == "exec":
                status, output = await run("docker", "exec", self.docker_name, *what["command"], timeout_s=grace_s)
                if status:
                    self.pod.cluster.fault(f"{self.docker_name}: preStop ended with the status {status}: {output}")
            else:
                raise Unsupported(f"{self.pod.name}: preStop by {kind} is not handled by infra/k8s/pods")
        except TimeoutError:
            pass


class Pod:
    """A Pod of a workload, from its creation until nothing of it is left."""

    def __init__(self, cluster, workload, name, revision):
        template = workload.template
        self.cluster, self.workload, self.name, self.revision = cluster, workload.name, name, revision
        self.namespace = workload.namespace
        self.labels, self.spec = template["metadata"]["labels"], template["spec"]
        only(
            *(name, self.spec, "containers", "volumes", "securityContext", "terminationGracePeriodSeconds"),
            # Of the scheduler; tokens and variables that the Pods do without.
            *("topologySpreadConstraints", "automountServiceAccountToken", "enableServiceLinks"),
        )
        if self.spec.get("automountServiceAccountToken") is not False or self.spec.get("enableServiceLinks") is not False:
            raise Unsupported(f"{name}: a token or the variables of Services")
        self.security = only(name, self.spec["securityContext"], "runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "seccompProfile")
        # Docker's own profile, as RuntimeDefault is that of the container runtime.
        if self.security["seccompProfile"] != {"type": "RuntimeDefault"}:
            raise Unsupported(f"{name}: another seccomp profile")
        self.claims = workload.claims
        self.grace_s = self.spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_S)
        self.address = cluster.next_address()
        self.containers = [Container(self, spec) for spec in self.spec["containers"]]
        self.volumes = Volumes(cluster, self)
        self.probes = Probes(self)
        self.ready_at = self.deleted_at = None
        self.gone = False
        cluster.pods[name] = self

    @property
    def ready(self):
        """All containers are."""
        return self.ready_at is not None

    @property
    def terminating(self):
        """It was deleted and is not gone."""
        return self.deleted_at is not None

    def available(self, min_ready_s):
        """Ready for long enough, and not to be deleted."""
        return self.ready and not self.terminating and time.monotonic() - self.ready_at >= min_ready_s

    def has_ended(self):
        """Whether a container of it has."""
        return any(container.ended.is_set() for container in self.containers)

    async def start(self):
        """Starts the containers and their probes."""
        for container in self.containers:
            await container.start()
        self.cluster.notify()
        self.probes.start()

    def set_ready(self):
        """By the readiness probes of all containers."""
        ready = all(container.passed for container in self.containers)
        if ready == self.ready:
            return
        self.ready_at = time.monotonic() if ready else None
        self.cluster.log(f"{self.name}: {'ready' if ready else 'not ready'}, {self.address}")
        self.cluster.notify()

    async def check(self):
        """Compares the running containers with the manifest."""
        for container in self.containers:
            for fault in await kernel.differences(self, container):
                self.cluster.fault(fault)
            await container.check_root()
        await self.weigh()

    async def weigh(self):
        """How large its volumes are, and how much memory it has taken so far."""
        for fault in self.volumes.too_large():
            self.cluster.fault(f"{self.name}: {fault}")
        for container in self.containers:
            key, peak = f"{self.workload}/{container.name}", await kernel.peak_memory(container) or 0
            self.cluster.peaks[key] = max(peak, self.cluster.peaks.get(key, 0))

    async def delete(self):
        """Endpoints learn of it at the moment at which preStop begins."""
        self.cluster.log(f"{self.name}: deleted")
        self.cluster.notify()
        self.probes.stop()
        await asyncio.gather(self.weigh(), *(container.stop(self.grace_s) for container in self.containers))
        for container in reversed(self.containers):
            await docker("rm", "--volumes", container.docker_name)
        self.volumes.remove()
        self.gone = True
        del self.cluster.pods[self.name]
        self.cluster.notify()
