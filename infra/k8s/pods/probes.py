"""The probes of a Pod, on the period, timeout and threshold of the manifest, as a kubelet runs them."""

import asyncio

from .cluster import Unsupported, only
from .docker import run

# What Kubernetes sets where a manifest is silent.
DEFAULTS = {"periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1, "initialDelaySeconds": 0}


async def http_get(address, port, path):
    """Whether the response has a status below 400."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}:{port}\r\nUser-Agent: kube-probe\r\nConnection: close\r\n\r\n".encode())
        status = int((await reader.readline()).split()[1])
        return 200 <= status < 400, f"status {status}"
    finally:
        writer.close()


class Probes:
    """The probes of all containers of a Pod."""

    def __init__(self, pod):
        self.pod, self.tasks = pod, []

    def start(self):
        """Runs them until the Pod is deleted."""
        for container in self.pod.containers:
            self.tasks.append(self.pod.cluster.spawn(self.of(container)))

    def stop(self):
        """A Pod that is being deleted is not probed."""
        for task in self.tasks:
            task.cancel()

    async def of(self, container):
        """The startup probe first; the others begin when it has passed."""
        if "startupProbe" in container.spec:
            await self.startup(container, DEFAULTS | container.spec["startupProbe"])
        async with asyncio.TaskGroup() as group:
            if "readinessProbe" in container.spec:
                group.create_task(self.readiness(container, DEFAULTS | container.spec["readinessProbe"]))
            else:
                container.passed = True
                self.pod.set_ready()
            if "livenessProbe" in container.spec:
                group.create_task(self.liveness(container, DEFAULTS | container.spec["livenessProbe"]))

    async def startup(self, container, probe):
        """Beyond its threshold a kubelet would start the container again."""
        await asyncio.sleep(probe["initialDelaySeconds"])
        for _ in range(probe["failureThreshold"]):
            passed, why = await self.once(container, "startup", probe)
            if passed:
                return
            await asyncio.sleep(probe["periodSeconds"])
        self.pod.cluster.fault(f"{container.docker_name}: its startup probe never passed: {why}")
        await asyncio.Event().wait()

    async def readiness(self, container, probe):
        """A Pod that is no longer ready is a fault: nothing here takes a dependency away."""
        async for passed, failed, why in self.repeated(container, "readiness", probe):
            if failed == probe["failureThreshold"] and container.passed:
                self.pod.cluster.fault(f"{container.docker_name}: its readiness probe failed {failed} times: {why}")
            if passed or failed >= probe["failureThreshold"]:
                container.passed = passed
                self.pod.set_ready()

    async def liveness(self, container, probe):
        """At its threshold a kubelet would start the container again."""
        async for _, failed, why in self.repeated(container, "liveness", probe):
            if failed == probe["failureThreshold"]:
                self.pod.cluster.fault(f"{container.docker_name}: its liveness probe failed {failed} times: {why}")

    async def repeated(self, container, kind, probe):
        """Each result, with the number of failures in a row and the last one's reason."""
        failed = 0
        await asyncio.sleep(probe["initialDelaySeconds"])
        while True:
            passed, why = await self.once(container, kind, probe)
            failed = 0 if passed else failed + 1
            yield passed, failed, why
            await asyncio.sleep(probe["periodSeconds"])

    async def once(self, container, kind, probe):
        """Whether it passes, and why not."""
        try:
            passed, why = await asyncio.wait_for(self.attempt(container, probe), probe["timeoutSeconds"])
        except TimeoutError:
            passed, why = False, f"no response within {probe['timeoutSeconds']} s"
        except (OSError, IndexError, ValueError) as error:
            passed, why = False, str(error) or type(error).__name__
        self.pod.cluster.probes[(self.pod.workload, container.name, kind, "passed" if passed else "failed")] += 1
        return passed, why

    async def attempt(self, container, probe):
        """One attempt."""
        what = f"{container.docker_name}, probe"
        only(what, probe, "httpGet", "tcpSocket", "exec", *DEFAULTS)
        if probe["successThreshold"] != 1:
            raise Unsupported(f"{what}: successThreshold")
        if "httpGet" in probe:
            get = only(what, probe["httpGet"], "path", "port")
            return await http_get(self.pod.address, self.port(container, get["port"]), get["path"])
        if "tcpSocket" in probe:
            _, writer = await asyncio.open_connection(self.pod.address, self.port(container, probe["tcpSocket"]["port"]))
            writer.close()
            return True, ""
        status, output = await run("docker", "exec", container.docker_name, *probe["exec"]["command"], timeout_s=probe["timeoutSeconds"])
        return status == 0, f"status {status}: {output}"

    def port(self, container, port):
        """A port by its name."""
        if isinstance(port, int):
            return port
        return next(one["containerPort"] for one in container.spec["ports"] if one["name"] == port)
