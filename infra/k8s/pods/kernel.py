"""What the kernel says of the processes of a container, beside what the manifest says of them."""

import re
from pathlib import Path

from .cluster import quantity
from .docker import docker, inspect

CGROUPS = Path("/sys/fs/cgroup")


def status(pid):
    """The fields of /proc/PID/status."""
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def root_is_read_only(pid):
    """Whether the process sees a root that it cannot write to."""
    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    # The last mount at a place counts.
    return "ro" in [mount[5] for mount in mounts if mount[4] == "/"][-1].split(",")


class Cgroup:
    """The control group of a container, of either version."""

    def __init__(self, pid):
        self.paths = {}
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                self.paths[controller] = path.lstrip("/")

    def read(self, controller, old, new):
        """A file of version 1 or 2."""
        if (CGROUPS / "cgroup.controllers").exists():
            return (CGROUPS / self.paths[""] / new).read_text().strip()
        return (CGROUPS / controller / self.paths[controller] / old).read_text().strip()

    def memory_limit(self):
        """Bytes."""
        limit = self.read("memory", "memory.limit_in_bytes", "memory.max")
        return None if limit == "max" else int(limit)

    def memory_peak(self):
        """Bytes, with the cache of files; None before Linux 5.19 in version 2."""
        try:
            return int(self.read("memory", "memory.max_usage_in_bytes", "memory.peak"))
        except FileNotFoundError:
            return None

    def processors(self):
        """The limit of the processor time; None or negative without one."""
        if (CGROUPS / "cgroup.controllers").exists():
            quota, period = self.read("cpu", "", "cpu.max").split()
        else:
            quota, period = (self.read("cpu", f"cpu.cfs_{what}_us", "") for what in ("quota", "period"))
        return None if quota == "max" else int(quota) / int(period)


async def differences(pod, container):
    """How the processes of a running container differ from its manifest."""
    found = []
    described = await inspect(container.docker_name)
    pids = [int(pid) for pid in (await docker("top", container.docker_name, "-eo", "pid")).split()[1:]]
    user, group = pod.security["runAsUser"], pod.security["runAsGroup"]
    for pid in pids:
        try:
            fields = status(pid)
            writable = not root_is_read_only(pid)
        except (FileNotFoundError, ProcessLookupError):
            # A probe that has ended meanwhile.
            continue
        who = f"{container.docker_name}, {fields['Name']}"
        users, groups = (set(fields[name].split()) for name in ("Uid", "Gid"))
        if users != {str(user)} or user == 0:
            found.append(f"{who}: runs as the user {fields['Uid']}, not {user}")
        if groups != {str(group)}:
            found.append(f"{who}: runs as the group {fields['Gid']}, not {group}")
        if str(pod.volumes.group) not in set(fields["Groups"].split()) | groups:
            found.append(f"{who}: is not in the group {pod.volumes.group} of its volumes")
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            if int(fields[name], 16):
                found.append(f"{who}: keeps capabilities, {name} {fields[name]}")
        if fields["NoNewPrivs"] != "1":
            found.append(f"{who}: may gain privileges")
        if fields["Seccomp"] != "2":
            found.append(f"{who}: has no seccomp filter")
        if writable:
            found.append(f"{who}: its root is writable")
    cgroup, limits = Cgroup(described["State"]["Pid"]), container.spec["resources"]["limits"]
    if cgroup.memory_limit() != int(quantity(limits["memory"])):
        found.append(f"{container.docker_name}: its memory limit is {cgroup.memory_limit()}, not {limits['memory']}")
    if cgroup.processors() != quantity(limits["cpu"]):
        found.append(f"{container.docker_name}: its CPU limit is {cgroup.processors()}, not {limits['cpu']}")
    return found


async def peak_memory(container):
    """The most that a container has held, bytes; None when it has ended."""
    try:
        return Cgroup((await inspect(container.docker_name))["State"]["Pid"]).memory_peak()
    except (FileNotFoundError, ProcessLookupError):
        return None


async def written(container):
    """What a container has changed in its root. Docker itself creates the places of mounts there."""
    places = [mount["mountPath"] for mount in container.spec.get("volumeMounts", [])] + ["/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/dev"]
    found = []
    for line in (await docker("diff", container.docker_name)).splitlines():
        path = re.fullmatch(r"[ACD] (/.*)", line).group(1)
        if not any(place == path or place.startswith(f"{path}/") for place in places):
            found.append(line)
    return found
