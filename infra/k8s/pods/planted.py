"""A container that has everything that kernel.py must find."""

import copy

from . import kernel
from .docker import docker

MUST_BE_FOUND = (
    *("runs as the user", "runs as the group", "is not in the group", "keeps capabilities", "may gain privileges", "has no seccomp filter"),
    *("its root is writable", "its memory limit is", "its CPU limit is", "A /planted"),
)


async def not_found(cluster, pod):
    """What kernel.py overlooks when a container of this Pod runs without all that its manifest says."""
    container = copy.copy(pod.containers[0])
    container.docker_name = f"{cluster.network.name}-planted"
    await docker(
        *("run", "--detach", "--name", container.docker_name, "--label", cluster.network.label, "--user", "0:0", "--security-opt", "seccomp=unconfined"),
        *("--entrypoint", "sleep", container.spec["image"], "60"),
    )
    await docker("exec", container.docker_name, "touch", "/planted")
    found = await kernel.differences(pod, container) + await kernel.written(container)
    await docker("rm", "--force", container.docker_name)
    return [words for words in MUST_BE_FOUND if not any(words in fault for fault in found)]
