"""The command line of Docker: containers, one network, and what happens to the containers."""

import asyncio
import contextlib
import json
import os

LABEL = "tandem.k8s.pid"


class DockerError(Exception):
    """Docker has refused a command."""


async def end(process):
    """Kills a program, and reaps it; what it still prints is of no interest."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), 2)


async def run(*command, timeout_s=120):
    """Runs a program; returns its exit status and what it prints."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    except BaseException:
        await end(process)
        raise
    return process.returncode, output.decode(errors="replace").strip()


async def docker(*arguments, timeout_s=120):
    """What a command prints."""
    status, output = await run("docker", *arguments, timeout_s=timeout_s)
    if status:
        raise DockerError(f"docker {' '.join(map(str, arguments[:2]))} …: {output}")
    return output


async def inspect(what):
    """Docker's description of a container or an image."""
    return json.loads(await docker("inspect", what))[0]


async def missing_images(names):
    """Those that are neither on this machine nor in their registry."""
    absent = [name for name in sorted(names) if (await run("docker", "image", "inspect", name))[0]]
    return [name for name in absent if (await run("docker", "pull", "--quiet", name, timeout_s=600))[0]]


class Network:
    """A bridge with the addresses of Pods, Services and clients. Needs root for the addresses of the last two."""

    def __init__(self, name, subnet, cgroup_parent=None):
        self.name, self.subnet = name, subnet
        self.cgroup = ["--cgroup-parent", cgroup_parent] if cgroup_parent else []
        self.label = f"{LABEL}={os.getpid()}"

    async def create(self):
        """Removes what an interrupted test has left, and creates the bridge."""
        await self.remove_left()
        node = str(self.subnet[1])
        await docker(
            *("network", "create", "--driver", "bridge", "--subnet", self.subnet, "--gateway", node),
            *("--opt", f"com.docker.network.bridge.name={self.name}", "--label", self.label, self.name),
        )

    async def add_address(self, address):
        """An address of this machine that Pods reach."""
        status, output = await run("ip", "address", "add", f"{address}/32", "dev", self.name)
        if status:
            raise DockerError(f"ip address add: {output}")

    async def remove_left(self):
        """Containers and networks of tests whose process is gone."""
        for kind, listed in (("container", ("ps", "--all")), ("network", ("network", "ls"))):
            for one in (await docker(*listed, "--quiet", "--filter", f"label={LABEL}")).split():
                described = await inspect(one)
                labels = described["Config"]["Labels"] if kind == "container" else described["Labels"]
                if os.path.exists(f"/proc/{labels[LABEL]}"):
                    raise DockerError(f"another test runs, as process {labels[LABEL]}")
                await docker(kind, "rm", *(["--force"] if kind == "container" else []), one)

    async def remove(self):
        """Removes the containers of this test and the bridge."""
        for one in (await docker("ps", "--all", "--quiet", "--filter", f"label={self.label}")).split():
            await docker("rm", "--force", "--volumes", one)
        await run("docker", "network", "rm", self.name)

    async def exits(self, ended):
        """Calls `ended` with the name and the exit status of each container that ends; runs until it is cancelled."""
        process = await asyncio.create_subprocess_exec(
            *("docker", "events", "--filter", f"label={self.label}", "--filter", "event=die", "--format", "{{json .Actor.Attributes}}"),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async for line in process.stdout:
                attributes = json.loads(line)
                ended(attributes["name"], int(attributes["exitCode"]))
            raise DockerError("docker events has ended")
        finally:
            await end(process)
