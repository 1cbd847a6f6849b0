"""Volumes of a Pod as folders of this machine and as tmpfs, with the owners and modes that a kubelet gives them."""

import os
import shutil
import stat

from .cluster import Unsupported, only, quantity


def owned(path, mode, group):
    """Root's, readable by the group of the Pod."""
    os.chown(path, 0, group)
    os.chmod(path, mode)


def write_files(folder, files, group):
    """Files that a Pod reads: what fsGroup adds to a mode is that its group may read."""
    folder.mkdir(parents=True)
    owned(folder, 0o2755, group)
    for name, (content, mode) in files.items():
        path = folder / name
        path.write_bytes(content)
        owned(path, mode | 0o440, group)


def items(source, data, mode, what):
    """The chosen keys of a ConfigMap or Secret, as files."""
    chosen = source.get("items")
    if chosen is None:
        return {key: (value, mode) for key, value in data.items()}
    files = {}
    for item in chosen:
        only(what, item, "key", "path", "mode")
        if item["key"] in data:
            files[item["path"]] = (data[item["key"]], item.get("mode", mode))
        elif not source.get("optional"):
            raise Unsupported(f"{what}: there is no key {item['key']}")
    return files


class Volumes:
    """The volumes of one Pod."""

    def __init__(self, cluster, pod):
        spec = pod.spec
        self.group = spec["securityContext"]["fsGroup"]
        self.sources, self.limits = {}, {}
        self.folder = cluster.work / "pods" / pod.name
        self.folder.mkdir(parents=True)
        for volume in spec.get("volumes", []):
            self.add(cluster, self.folder / volume["name"], volume, f"{pod.name}, volume {volume['name']}")
        for claim in pod.claims:
            name = claim["metadata"]["name"]
            self.sources[name] = ("folder", self.claim(cluster, f"{name}-{pod.name}"))

    def add(self, cluster, folder, volume, what):
        """Prepares a volume of the template."""
        only(what, volume, "name", "configMap", "secret", "projected", "emptyDir", "persistentVolumeClaim")
        name = volume["name"]
        if "emptyDir" in volume:
            empty = only(what, volume["emptyDir"] or {}, "medium", "sizeLimit")
            limit = int(quantity(empty["sizeLimit"])) if "sizeLimit" in empty else None
            if empty.get("medium") == "Memory":
                self.sources[name] = ("tmpfs", limit)
                return
            folder.mkdir(parents=True)
            owned(folder, 0o2777, self.group)
            self.sources[name] = ("folder", folder)
            self.limits[name] = (folder, limit)
        elif "persistentVolumeClaim" in volume:
            claim = only(what, volume["persistentVolumeClaim"], "claimName")["claimName"]
            if cluster.manifests.named("PersistentVolumeClaim", claim) is None:
                raise Unsupported(f"{what}: there is no claim {claim}")
            self.sources[name] = ("folder", self.claim(cluster, claim))
        else:
            write_files(folder, self.files(cluster, volume, what), self.group)
            self.sources[name] = ("folder", folder)

    def files(self, cluster, volume, what):
        """The files of a ConfigMap, a Secret or several of them."""
        if "configMap" in volume:
            source = only(what, volume["configMap"], "name", "items", "defaultMode", "optional")
            return items(source, cluster.config_map(source["name"]), source.get("defaultMode", 0o644), what)
        if "secret" in volume:
            source = only(what, volume["secret"], "secretName", "items", "defaultMode", "optional")
            return items(source, cluster.secret(source["secretName"], source.get("optional", False)), source.get("defaultMode", 0o644), what)
        projected, files = only(what, volume["projected"], "sources", "defaultMode"), {}
        for one in projected["sources"]:
            for kind, source in only(what, one, "secret", "configMap").items():
                only(what, source, "name", "items", "optional")
                data = cluster.config_map(source["name"]) if kind == "configMap" else cluster.secret(source["name"], source.get("optional", False))
                files |= items(source, data, projected.get("defaultMode", 0o644), what)
        return files

    def claim(self, cluster, name):
        """A volume that outlives the Pod."""
        folder = cluster.work / "claims" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            owned(folder, 0o2775, self.group)
        return folder

    def options(self, container, what):
        """Options of `docker run` for the mounts of a container."""
        options = []
        for mount in container.get("volumeMounts", []):
            only(what, mount, "name", "mountPath", "readOnly")
            kind, source = self.sources[mount["name"]]
            if kind == "tmpfs":
                size = f",size={source}" if source else ""
                options += ["--tmpfs", f"{mount['mountPath']}:rw,exec,mode=2777,uid=0,gid={self.group}{size}"]
            else:
                read_only = ",readonly" if mount.get("readOnly") else ""
                options += ["--mount", f"type=bind,source={source},destination={mount['mountPath']}{read_only}"]
        return options

    def remove(self):
        """What ends with the Pod."""
        shutil.rmtree(self.folder)

    def too_large(self):
        """Volumes beyond their limit, for which a kubelet evicts the Pod."""
        for name, (folder, limit) in self.limits.items():
            used = sum(path.lstat().st_size for path in folder.rglob("*") if stat.S_ISREG(path.lstat().st_mode))
            if limit is not None and used > limit:
                yield f"{name} holds {used} bytes, its limit is {limit}"
