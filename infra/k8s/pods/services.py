"""Services: names of Pods, or an address whose connections are passed on to them, as kube-proxy and a load balancer do it.

The forwarder is a TCP one in this process. An endpoint that has ended gets no new connection; open ones stay.
"""

import asyncio
import contextlib
import itertools
import random
import time

from .cluster import Unsupported, only


class Service:
    """The endpoints of a Service."""

    def __init__(self, cluster, it):
        self.cluster, self.name, self.namespace = cluster, it["metadata"]["name"], it["metadata"]["namespace"]
        spec = only(
            *(f"Service {self.name}", it["spec"], "selector", "ports", "clusterIP", "type", "publishNotReadyAddresses"),
            *("externalTrafficPolicy",),
        )
        self.selector, self.ports = spec["selector"], spec["ports"]
        self.headless = spec.get("clusterIP") == "None"
        self.of_clients = spec.get("type", "ClusterIP") in ("LoadBalancer", "NodePort")
        self.publishes_all = spec.get("publishNotReadyAddresses", False)
        self.address = None
        self.history = [(time.monotonic(), [])]
        cluster.listeners.append(self.changed)

    def endpoints(self):
        """Pods that are ready and not deleted; with publishNotReadyAddresses, every one that is not gone."""
        return [pod for pod in self.cluster.selected(self.selector) if self.publishes_all or (pod.ready and not pod.terminating)]

    def names(self):
        """What its name resolves to."""
        return [pod.address for pod in self.endpoints()] if self.headless else [self.address]

    def changed(self):
        """Remembers the endpoints, for who learns of them late."""
        endpoints = self.endpoints()
        if endpoints != self.history[-1][1]:
            self.history.append((time.monotonic(), endpoints))

    def known(self, late_s):
        """The endpoints as they were so long ago."""
        return [endpoints for at, endpoints in self.history if at <= time.monotonic() - late_s or at == self.history[0][0]][-1]

    def target_port(self, pod, port):
        """The port of a Pod."""
        if isinstance(port, int):
            return port
        return next(one["containerPort"] for container in pod.containers for one in container.spec.get("ports", []) if one["name"] == port)

    async def forward(self, address, port, target, late_s=0, clients=()):
        """Accepts connections at an address. Each comes to a Pod from the next of the clients' addresses, where there are any."""
        clients = itertools.cycle(clients) if clients else itertools.repeat(None)

        async def connect(client):
            known = self.known(late_s)
            if not known:
                raise ConnectionRefusedError(f"{self.name} has no endpoint")
            pod, loop, source = random.choice(known), asyncio.get_running_loop(), next(clients)
            local = (source, 0) if source else None
            await loop.create_connection(lambda: Half(client), pod.address, self.target_port(pod, target), local_addr=local)

        await asyncio.get_running_loop().create_server(lambda: Half(None, connect), address, port)


class Half(asyncio.Protocol):
    """One end of a forwarded connection; what it reads, the other end writes."""

    def __init__(self, other, connect=None):
        self.other, self.connect, self.transport, self.ended = other, connect, None, False
        self.connecting = None

    def connection_made(self, transport):
        self.transport = transport
        if self.other:
            self.other.other = self
            self.other.transport.resume_reading()
            if self.other.transport.is_closing():
                transport.abort()
        else:
            transport.pause_reading()
            self.connecting = asyncio.get_running_loop().create_task(self.begin())

    async def begin(self):
        """Finds the other end; without one the client is refused."""
        try:
            await self.connect(self)
        except OSError:
            self.transport.abort()

    def data_received(self, data):
        self.other.transport.write(data)

    def eof_received(self):
        self.ended = True
        with contextlib.suppress(OSError):
            self.other.transport.write_eof()
        # Open until the other end has ended, too.
        return not self.other.ended

    def connection_lost(self, exc):
        if self.other and self.other.transport:
            if exc:
                self.other.transport.abort()
            else:
                self.other.transport.close()

    def pause_writing(self):
        self.other.transport.pause_reading()

    def resume_writing(self):
        with contextlib.suppress(RuntimeError):
            self.other.transport.resume_reading()


class Services:
    """All Services of the overlay, each with an address unless it is headless."""

    def __init__(self, cluster):
        self.all = [Service(cluster, it) for it in cluster.manifests.of("Service")]

    def named(self, name):
        """One of them."""
        return next(service for service in self.all if service.name == name)

    async def serve(self, network, first):
        """Opens the ports of those that have an address."""
        for number, service in enumerate(self.all):
            if service.headless:
                continue
            service.address = str(network.subnet[first + number])
            await network.add_address(service.address)
            for port in service.ports:
                if port.get("protocol", "TCP") != "TCP":
                    raise Unsupported(f"Service {service.name}: {port['protocol']}")
                await service.forward(service.address, port["port"], port["targetPort"])
