"""The DNS of the cluster, as late as CoreDNS is where its records live for 30 s."""

import asyncio
import random
import time

from dnslib import QTYPE, RCODE, RR, A, DNSRecord

# kubeadm's Corefile: `ttl 30` of the block `kubernetes`, and `cache 30` before it.
LIFE_S = 30
ZONE = "cluster.local"


def resolv_conf(address, namespace):
    """What a Pod with dnsPolicy ClusterFirst has."""
    return f"search {namespace}.svc.{ZONE} svc.{ZONE} {ZONE}\nnameserver {address}\noptions ndots:5\n"


class Dns(asyncio.DatagramProtocol):
    """Responds with the addresses of Services and of Pods behind headless ones."""

    def __init__(self, address, services, life_s=LIFE_S):
        self.address, self.services, self.life_s = address, services, life_s
        # Name → when its record ends, and its addresses; None where there is no such name.
        self.cache = {}
        self.transport = None

    async def serve(self):
        """Listens on port 53."""
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(self.address, 53))

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        request = DNSRecord.parse(data)
        reply = request.reply()
        name = str(request.q.qname).rstrip(".").lower()
        until, addresses = self.cached(name)
        if addresses is None:
            reply.header.rcode = RCODE.NXDOMAIN
        elif request.q.qtype == QTYPE.A:
            for address in random.sample(addresses, len(addresses)):
                reply.add_answer(RR(request.q.qname, QTYPE.A, ttl=max(1, round(until - time.monotonic())), rdata=A(address)))
        self.transport.sendto(reply.pack(), addr)

    def cached(self, name):
        """A record, new if the last one has ended."""
        now = time.monotonic()
        if name not in self.cache or self.cache[name][0] <= now:
            self.cache[name] = (now + self.life_s, self.look_up(name))
        return self.cache[name]

    def look_up(self, name):
        """Addresses; none where the name has no Pod; None where there is no name."""
        if name == f"kube-dns.kube-system.svc.{ZONE}":
            return [self.address]
        for service in self.services:
            own = f"{service.name}.{service.namespace}.svc.{ZONE}"
            if name == own:
                return service.names()
            if name.endswith(f".{own}") and service.headless:
                found = [pod.address for pod in service.endpoints() if pod.name == name.removesuffix(f".{own}")]
                return found or None
        return None
