#!/usr/bin/env python3
"""Checks the manifests of infra/k8s as far as that goes without a cluster.

    check.py                    renders each overlay by `kubectl kustomize` (or `kustomize build`) and checks it; then it breaks the
                                rendered manifests in a dozen ways, and each must be found
    check.py --files            where neither is installed: checks each file of base/ and components/ by itself, against the schemas

Each object of Kubernetes itself is validated strictly against the schemas of two versions. Those of operators have no schema
here; their kinds are listed below. Beyond schemas: what must fit together (selectors, ports, ConfigMaps, targets), what each
container must have, and that the times of a stop add up.
"""

import copy
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "infra/k8s"
# The oldest that is supported: before it, minReadySeconds did not delay the rollout of a StatefulSet whose policy is Parallel. And
# the newest that the schemas of kubernetes-validate know.
VERSIONS = ("1.34", "1.37")
OF_OPERATORS = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("postgresql.cnpg.io/v1", "Cluster"),
    ("redis.redis.opstreelabs.in/v1beta2", "RedisReplication"),
    ("redis.redis.opstreelabs.in/v1beta2", "RedisSentinel"),
}
WORKLOADS = ("Deployment", "StatefulSet")
# Made by hand or by an operator: docs/KUBERNETES.md.
SECRETS = {"tandem", "tandem-token-keys", "tandem-tls", "tandem-files", "tandem-managed", "postgres-app"}
# Labels that operators give their Pods.
PODS_OF_OPERATORS = [{"app": "redis-sessions"}, {"app": "redis-sessions-sentinel"}, {"cnpg.io/cluster": "postgres"}]
NAME = "app.kubernetes.io/name"


class Manifests:
    """The objects of one overlay."""

    def __init__(self, objects):
        self.objects = objects

    def of(self, *kinds):
        """Those of these kinds."""
        return [it for it in self.objects if it["kind"] in kinds]

    def named(self, kind, name):
        """One object, or None."""
        return next((it for it in self.of(kind) if it["metadata"]["name"] == name), None)

    def pods(self):
        """Each workload with the template of its Pods."""
        return [(it, it["spec"]["template"]) for it in self.of(*WORKLOADS)]

    def environment(self, container):
        """Name and value of each variable, with those of the ConfigMaps."""
        found = {}
        for source in container.get("envFrom", []):
            config = self.named("ConfigMap", source.get("configMapRef", {}).get("name"))
            found |= config["data"] if config else {}
        return found | {it["name"]: it.get("value", "") for it in container.get("env", [])}

    def gateway_toml(self):
        """The configuration of the gateway."""
        name = next(it["configMap"]["name"] for it in self.template("gateway")["spec"]["volumes"] if it["name"] == "config")
        return tomllib.loads(self.named("ConfigMap", name)["data"]["gateway.toml"])

    def template(self, name):
        """The template of a workload."""
        return self.workload(name)["spec"]["template"]

    def workload(self, name):
        """A Deployment or StatefulSet."""
        return next(it for it in self.of(*WORKLOADS) if it["metadata"]["name"] == name)

    def container(self, name):
        """The container of a workload that has its name; others are exporters."""
        return next(it for it in self.template(name)["spec"]["containers"] if it["name"] == name)


def title(it):
    """Kind and name."""
    return f"{it.get('kind')} {it.get('metadata', {}).get('name')}"


def selects(selector, labels):
    """Whether a selector matches labels."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions", []):
        if rule["operator"] != "In":
            raise ValueError(f"the operator {rule['operator']} is not known to this check")
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def schemas(manifests):
    """Strict validation against two versions."""
    for it in manifests.objects:
        if (it.get("apiVersion"), it.get("kind")) in OF_OPERATORS:
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(it, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                path = ".".join(map(str, error.path))
                yield f"{title(it)}: Kubernetes {version}: {path}: {error.message}"
            except kubernetes_validate.SchemaNotFoundError:
                yield f"{title(it)}: {it.get('apiVersion')} is neither in Kubernetes {version} nor among the operators' kinds"


def identities(manifests):
    """One object of a name, in one namespace."""
    seen = set()
    for it in manifests.objects:
        key = (it["kind"], it["metadata"]["name"])
        if key in seen:
            yield f"{title(it)}: there are two"
        seen.add(key)
        if it["kind"] != "Namespace" and it["metadata"].get("namespace") != "tandem":
            yield f"{title(it)}: it is not in the namespace tandem"


def containers(manifests):
    """What each container must have, beyond what the restricted profile rejects anyway."""
    for it, template in manifests.pods():
        pod = template["spec"]
        security = pod.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{title(it)}: its Pods may run as root, or without seccomp"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{title(it)}: its Pods get a token for Kubernetes"
        for container in pod["containers"]:
            what = f"{title(it)}, container {container['name']}"
            own = container.get("securityContext", {})
            if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{what}: it keeps privileges"
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{what}: its root file system is writable"
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if probe not in container:
                    yield f"{what}: it has no {probe}"
            resources = container.get("resources", {})
            for bound in ("requests", "limits"):
                for resource in ("cpu", "memory"):
                    if resource not in resources.get(bound, {}):
                        yield f"{what}: {bound} lack {resource}"
            tag = container["image"].rpartition("/")[2].partition(":")[2]
            if tag in ("", "latest"):
                yield f"{what}: its image has no version"
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                port = container.get(probe, {}).get("httpGet", {}).get("port")
                if isinstance(port, str) and port not in ports:
                    yield f"{what}: {probe} has the port {port}, which it lacks"
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            claims = {claim["metadata"]["name"] for claim in it["spec"].get("volumeClaimTemplates", [])}
            for volume in mounted - {volume["name"] for volume in pod.get("volumes", [])} - claims:
                yield f"{what}: it mounts {volume}, which is not there"


def references(manifests):
    """ConfigMaps, Secrets and claims that Pods name."""
    for it, template in manifests.pods():
        pod = template["spec"]
        configs, secrets, claims = set(), set(), set()
        for container in pod["containers"]:
            configs |= {source["configMapRef"]["name"] for source in container.get("envFrom", []) if "configMapRef" in source}
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                secrets |= {reference["name"]} if reference else set()
        for volume in pod.get("volumes", []):
            configs |= {volume["configMap"]["name"]} if "configMap" in volume else set()
            secrets |= {volume["secret"]["secretName"]} if "secret" in volume else set()
            claims |= {volume["persistentVolumeClaim"]["claimName"]} if "persistentVolumeClaim" in volume else set()
            secrets |= {source["secret"]["name"] for source in volume.get("projected", {}).get("sources", []) if "secret" in source}
        for name in configs:
            if not manifests.named("ConfigMap", name):
                yield f"{title(it)}: there is no ConfigMap {name}"
            if not re.search("-[a-z0-9]{10}$", name):
                yield f"{title(it)}: a changed ConfigMap {name} would keep its name, so no Pod would be replaced"
        for name in claims:
            if not manifests.named("PersistentVolumeClaim", name):
                yield f"{title(it)}: there is no PersistentVolumeClaim {name}"
        for name in secrets - SECRETS:
            yield f"{title(it)}: the Secret {name} is not among those of docs/KUBERNETES.md"


def selectors(manifests):
    """Services, budgets, policies, monitors and autoscalers match something."""
    labels = [template["metadata"]["labels"] for _, template in manifests.pods()]
    for it, template in manifests.pods():
        if not selects(it["spec"]["selector"], template["metadata"]["labels"]):
            yield f"{title(it)}: it does not select its own Pods"
        scaled = any(scaler["spec"]["scaleTargetRef"]["name"] == it["metadata"]["name"] for scaler in manifests.of("HorizontalPodAutoscaler"))
        if scaled and "replicas" in it["spec"]:
            yield f"{title(it)}: its replicas would be set back with each apply"
        if it["kind"] == "StatefulSet" and not manifests.named("Service", it["spec"]["serviceName"]):
            yield f"{title(it)}: there is no Service {it['spec']['serviceName']}"
    for it in manifests.of("Service"):
        found = [template for _, template in manifests.pods() if selects({"matchLabels": it["spec"]["selector"]}, template["metadata"]["labels"])]
        if len(found) != 1:
            yield f"{title(it)}: it selects the Pods of {len(found)} workloads"
        ports = {port["name"] for template in found for container in template["spec"]["containers"] for port in container.get("ports", [])}
        for port in it["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"{title(it)}: no container has the port {port['targetPort']}"
    for it in manifests.of("PodDisruptionBudget"):
        if sum(selects(it["spec"]["selector"], those) for those in labels) != 1:
            yield f"{title(it)}: it does not select the Pods of one workload"
    for it in manifests.of("HorizontalPodAutoscaler"):
        target = it["spec"]["scaleTargetRef"]
        if not manifests.named(target["kind"], target["name"]):
            yield f"{title(it)}: there is no {target['kind']} {target['name']}"
    for it in manifests.of("NetworkPolicy"):
        peers = [it["spec"]["podSelector"]]
        for rule in it["spec"].get("ingress", []) + it["spec"].get("egress", []):
            peers += [peer["podSelector"] for peer in rule.get("from", []) + rule.get("to", []) if "podSelector" in peer]
        for peer in peers:
            if not any(selects(peer, those) for those in labels + PODS_OF_OPERATORS):
                yield f"{title(it)}: it selects no Pod by {peer}"
    for it in manifests.of("ServiceMonitor"):
        for service in [one for one in manifests.of("Service") if selects(it["spec"]["selector"], one["metadata"].get("labels", {}))] or [None]:
            ports = {port["name"] for port in service["spec"]["ports"]} if service else set()
            if any(endpoint["port"] not in ports for endpoint in it["spec"]["endpoints"]):
                yield f"{title(it)}: no Service has its port"
    for it in manifests.of("PodMonitor"):
        if not any(selects(it["spec"]["selector"], those) for those in labels + PODS_OF_OPERATORS):
            yield f"{title(it)}: it selects no Pod"


def monitored(manifests):
    """Each template with a port that a monitor of this overlay reads, and that port's number."""
    for it in manifests.of("ServiceMonitor", "PodMonitor"):
        wanted = [endpoint["port"] for endpoint in it["spec"].get("endpoints", []) + it["spec"].get("podMetricsEndpoints", [])]
        if it["kind"] == "PodMonitor":
            read = [(it["spec"]["selector"], wanted)]
        else:
            services = [one for one in manifests.of("Service") if selects(it["spec"]["selector"], one["metadata"].get("labels", {}))]
            read = [({"matchLabels": one["spec"]["selector"]}, [port["targetPort"] for port in one["spec"]["ports"] if port["name"] in wanted]) for one in services]
        for selector, names in read:
            for workload, template in manifests.pods():
                if selects(selector, template["metadata"]["labels"]):
                    ports = [port for container in template["spec"]["containers"] for port in container.get("ports", [])]
                    yield from ((workload, template, port["containerPort"]) for port in ports if port["name"] in names)


def scrapes(manifests):
    """A policy admits Prometheus to each port that it reads."""

    def admits(policy, template, port):
        from_monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
        return selects(policy["spec"]["podSelector"], template["metadata"]["labels"]) and any(
            from_monitoring in rule.get("from", []) and port in [one["port"] for one in rule.get("ports", [])] for rule in policy["spec"].get("ingress", [])
        )

    for workload, template, port in monitored(manifests):
        if not any(admits(policy, template, port) for policy in manifests.of("NetworkPolicy")):
            yield f"{title(workload)}: no policy admits Prometheus to its port {port}"


def pre_stop_s(container):
    """How long its preStop takes."""
    hook = container["lifecycle"]["preStop"]
    if "sleep" in hook:
        return hook["sleep"]["seconds"]
    return int(re.search(r"sleep (\d+)$", hook["exec"]["command"][-1])[1])


def times(manifests):
    """A stop fits into its grace period, and an announcement is seen."""
    gateway = manifests.gateway_toml()
    interval_s = gateway["health"]["interval_ms"] / 1000
    for name in ("stateless-svc", "stateful-svc"):
        pod = manifests.template(name)["spec"]
        variables = manifests.environment(manifests.container(name))
        announce_s, timeout_s = (float(variables[f"SHUTDOWN_{what}_S"]) for what in ("ANNOUNCE", "TIMEOUT"))
        if announce_s <= 2 * interval_s:
            yield f"{name}: SHUTDOWN_ANNOUNCE_S is {announce_s:g}, not more than two health checks of {interval_s:g} s"
        # Three seconds to release what it shares, and some to end.
        if pod["terminationGracePeriodSeconds"] < announce_s + timeout_s + 5:
            yield f"{name}: its grace period is shorter than its stop"
    for name, stop_s in (("gateway", gateway["server"]["announce_s"] + gateway["server"]["grace_period_s"]), ("nginx", 35)):
        pod = manifests.template(name)["spec"]
        delay_s = pre_stop_s(manifests.container(name))
        if pod["terminationGracePeriodSeconds"] < delay_s + stop_s + 5:
            yield f"{name}: its grace period is shorter than its preStop and its stop"
    for name, least_s in (("stateful-svc", 30 + 2 * interval_s), ("stateless-svc", 30 + 2 * interval_s), ("gateway", 30)):
        if manifests.workload(name)["spec"].get("minReadySeconds", 0) < least_s:
            yield f"{name}: the next Pod may be replaced before this one is found: minReadySeconds is less than {least_s:g}"


def settings(manifests):
    """Each variable of our programs is listed, and each file of a secret is mounted."""
    page = (ROOT / "docs/SETTINGS.md").read_text()
    for it, template in manifests.pods():
        for container in template["spec"]["containers"]:
            if not re.search(r"tandem/(gateway|stateless-svc|stateful-svc)\b", container["image"]):
                continue
            variables = manifests.environment(container)
            for name in variables:
                if f"`{name}`" not in page:
                    yield f"{title(it)}: docs/SETTINGS.md does not list {name}"
            paths = set()
            for mount in container.get("volumeMounts", []):
                volume = next((one for one in template["spec"].get("volumes", []) if one["name"] == mount["name"]), {})
                sources = [volume.get("secret", {})] + [source.get("secret", {}) for source in volume.get("projected", {}).get("sources", [])]
                paths |= {f"{mount['mountPath']}/{item['path']}" for source in sources for item in source.get("items", [])}
            for name, value in variables.items():
                if name.endswith("_FILE") and name != "GATEWAY_STATE_FILE" and value not in paths:
                    yield f"{title(it)}: {name} is {value}, which no Secret has"


def resources_of_kind(manifests, overlay):
    """What an overlay has at least: an empty one would pass every other check."""
    wanted = {"nginx", "gateway", "stateless-svc", "stateful-svc", "redis-cache"}
    missing = wanted - {it["metadata"]["name"] for it in manifests.of(*WORKLOADS)}
    yield from (f"there is no workload {name}" for name in sorted(missing))
    scaled = {it["metadata"]["name"] for it in manifests.of("HorizontalPodAutoscaler")}
    if overlay != "dev" and scaled != {"nginx", "gateway", "stateless-svc", "stateful-svc"}:
        yield f"autoscalers are there for {sorted(scaled)}"
    if overlay != "dev" and len(manifests.of("PrometheusRule")) != len(list((ROOT / "infra/monitoring/prometheus/rules").glob("*.yml"))):
        yield "there is no PrometheusRule for each file of rules"


def faults(manifests, overlay):
    """All faults of an overlay."""
    found = list(schemas(manifests))
    # With a wrong shape the others would fail over it.
    if not found:
        for check in (identities, containers, references, selectors, scrapes, times, settings):
            found += check(manifests)
        found += resources_of_kind(manifests, overlay)
    return found


def settings_of(text):
    """The lines of a configuration of Redis, without comments and the folder."""
    return {line for line in text.splitlines() if line and not line.startswith(("#", "dir "))}


def copies():
    """Files that kustomize cannot take from elsewhere are copies."""
    for copied, original in (
        ("base/redis-cache.conf", "redis/cache.conf"),
        ("components/data/redis-sessions.conf", "redis/sessions.conf"),
    ):
        if (K8S / copied).read_text() != (ROOT / "infra/compose" / original).read_text():
            yield f"infra/k8s/{copied} differs from infra/compose/{original}"
    own, compose = ((K8S / path).read_text() for path in ("components/operators/redis-additional.conf", "../compose/redis/sessions.conf"))
    if settings_of(own) != settings_of(compose):
        yield "infra/k8s/components/operators/redis-additional.conf differs from infra/compose/redis/sessions.conf"


def rename_settings(manifests):
    """A ConfigMap, and who reads it, without the hash."""
    source = manifests.container("stateful-svc")["envFrom"][1]["configMapRef"]
    manifests.named("ConfigMap", source["name"])["metadata"]["name"] = "stateful-svc"
    source["name"] = "stateful-svc"


def mutations():
    """Ways to break an overlay, and a word of the fault that must be found."""
    return [
        ("an unknown field", "reenter", lambda m: m.workload("gateway")["spec"].update(reenter=1)),
        ("a text for a number", "minReadySeconds", lambda m: m.workload("gateway")["spec"].update(minReadySeconds="35")),
        ("an unknown version", "apps/v1beta9", lambda m: m.workload("gateway").update(apiVersion="apps/v1beta9")),
        ("no limit", "limits lack memory", lambda m: m.container("gateway")["resources"]["limits"].pop("memory")),
        ("a writable root", "root file system", lambda m: m.container("nginx")["securityContext"].pop("readOnlyRootFilesystem")),
        ("no probe", "readinessProbe", lambda m: m.container("stateful-svc").pop("readinessProbe")),
        ("a floating tag", "no version", lambda m: m.container("gateway").update(image="tandem/gateway:latest")),
        ("a wrong port", "no container has the port", lambda m: m.named("Service", "gateway")["spec"]["ports"][0].update(targetPort="htpp")),
        ("a wrong selector", "0 workloads", lambda m: m.named("Service", "stateful-svc")["spec"]["selector"].update({NAME: "statefull"})),
        ("a wrong policy", "selects no Pod", lambda m: m.named("NetworkPolicy", "nginx")["spec"]["podSelector"]["matchLabels"].update({NAME: "ngnix"})),
        ("a wall before Prometheus", "admits Prometheus", lambda m: m.template("postgres-exporter")["metadata"]["labels"].pop("app.kubernetes.io/part-of")),
        ("a short grace period", "grace period", lambda m: m.template("stateful-svc")["spec"].update(terminationGracePeriodSeconds=30)),
        ("a long preStop", "its preStop and its stop", lambda m: m.container("nginx")["lifecycle"]["preStop"]["exec"]["command"].append("sleep 60")),
        ("a hasty rollout", "minReadySeconds", lambda m: m.workload("stateful-svc")["spec"].update(minReadySeconds=0)),
        ("an unknown variable", "GATEWAY_URI", lambda m: m.container("stateless-svc")["env"].append({"name": "GATEWAY_URI", "value": "x"})),
        ("an unmounted secret", "which no Secret has", lambda m: m.container("gateway")["volumeMounts"].pop()),
        ("a ConfigMap without a hash", "would keep its name", rename_settings),
        ("a missing program", "no workload redis-cache", lambda m: m.objects.remove(m.workload("redis-cache"))),
    ]


def render(overlay):
    """The objects of an overlay, or None where no program renders it."""
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build"]
    else:
        sys.exit("neither kubectl nor kustomize is installed; check.py --files needs none")
    run = subprocess.run([*command, str(K8S / "overlays" / overlay)], capture_output=True, text=True, check=False)
    if run.returncode or run.stderr:
        sys.exit(f"{' '.join(command)} {overlay}: {run.stderr.strip()}")
    return Manifests([it for it in yaml.safe_load_all(run.stdout) if it])


def check_files():
    """Each whole object of base/ and components/, against the schemas alone."""
    found = []
    count = 0
    for path in sorted([*K8S.glob("base/*.yaml"), *K8S.glob("components/*/*.yaml"), *K8S.glob("overlays/*/*.yaml")]):
        objects = [it for it in yaml.safe_load_all(path.read_text()) if it]
        # Patches are no whole objects, and neither is what other programs read.
        whole = [it for it in objects if "apiVersion" in it and not it["apiVersion"].startswith(("kustomize", "kind.")) and not path.name.endswith("-exporter.yaml")]
        count += len(whole)
        found += [f"{path.relative_to(ROOT)}: {fault}" for fault in schemas(Manifests(whole))]
    return found, f"{count} objects of single files, without the overlays, fit Kubernetes {' and '.join(VERSIONS)}"


def check_overlays():
    """Each overlay, and that faults would be found."""
    found = []
    overlays = sorted(path.name for path in (K8S / "overlays").iterdir())
    rendered = {overlay: render(overlay) for overlay in overlays}
    for overlay, manifests in rendered.items():
        found += [f"{overlay}: {fault}" for fault in faults(manifests, overlay)]
    for what, word, change in [] if found else mutations():
        broken = Manifests(copy.deepcopy(rendered["production"].objects))
        change(broken)
        if not any(word in fault for fault in faults(broken, "production")):
            found.append(f"this check would not find {what}")
    counts = ", ".join(f"{overlay} {len(manifests.objects)}" for overlay, manifests in rendered.items())
    return found, f"objects: {counts}; each fits Kubernetes {' and '.join(VERSIONS)}, and {len(mutations())} faults would be found"


def main():
    """Prints the faults, or what was checked."""
    if sys.argv[1:] not in ([], ["--files"]):
        sys.exit("usage: check.py [--files]")
    found, summary = check_files() if sys.argv[1:] else check_overlays()
    found += copies()
    for fault in found:
        print(fault, file=sys.stderr)
    if found:
        sys.exit(1)
    print(summary)


if __name__ == "__main__":
    main()
