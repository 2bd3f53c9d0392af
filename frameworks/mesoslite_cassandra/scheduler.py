"""The scheduler of Cassandra: seeds first, one node after another, each on its data for good.

What keeps nodes on their places is `mesoslite_services.service`; here is what a node is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Annotated

from mesoslite import Offer
from mesoslite_cassandra.settings import (
    JAVA,
    JMX,
    LOGBACK,
    NATIVE,
    NODE,
    NODETOOL,
    SEEDS_MAX,
    rack_properties,
    yaml,
)
from mesoslite_services.jars import locked
from mesoslite_services.java import what_to_install
from mesoslite_services.members import Member, Place
from mesoslite_services.reaching import host_and_port
from mesoslite_services.service import Needs, Running, Service
from mesoslite_services.sizes import heap_within, mem_for, mib

PORTS = 3  # among nodes, for clients, and for nodetool on the same host
STOP_GRACE_S = 60.0  # it drains: what is in memory goes to the disk
#: Beside the heap: 970 MB were resident with one of 512.
BESIDE_HEAP_MIB = 640
HEAP_MIB_MIN = 384
CONNECT_S_MAX = 1.0


class Cassandra(Service):
    """Apache Cassandra: nodes that keep their data, each on its own agent.

    Nodes join one after another: the next is started when the one before serves clients. What it is
    told at first decides what its places hold: later only the number of nodes can grow.
    """

    name = "cassandra"
    roles = ("cassandra",)
    noun = "node"
    exits = what_to_install(JAVA, JAVA)
    founders_max = SEEDS_MAX

    def __init__(
        self,
        nodes: Annotated[int, "How many; later runs may raise it."] = 3,
        heap: Annotated[str, "Of each node's Java."] = "512MiB",
        disk: Annotated[str, "Of each node's volume."] = "4GiB",
        cpus: Annotated[float, "Of each node."] = 0.5,
        config: Annotated[Mapping[str, str], "Any setting of cassandra.yaml."] | None = None,
        java_option: Annotated[Sequence[str], "For each node's Java, as -Dkey=value."] = (),
    ) -> None:
        """Raises ValueError for what is not to be understood."""
        self.heap_mib = mib("--heap", heap, HEAP_MIB_MIN)
        self.config = dict(config or {})
        self.java_options = " ".join(java_option)
        self.jars = locked("mesoslite_cassandra").uris()
        self._joined: set[str] = set()
        super().__init__(
            nodes,
            Needs(
                cpus=cpus,
                mem_mib=mem_for(self.heap_mib, BESIDE_HEAP_MIB),
                disk_mib=mib("--disk", disk),
                ports=PORTS,
            ),
        )

    def endpoint(self, place: Place) -> str:
        """For clients: CQL."""
        return host_and_port(place.address, place.ports[NATIVE])

    async def resource_offers(self, offers: Sequence[Offer]) -> None:
        """See who has joined: it decides who may be started."""
        for member in self.members.values():
            if member.up and member.name not in self._joined and await self._serves(member):
                self._joined.add(member.name)
        await super().resource_offers(offers)

    def why_not_yet(self, member: Member) -> str:
        """A new node waits for the one before; one that has data joins whenever it can."""
        if (why := super().why_not_yet(member)) or member.attempt:
            return why
        if self.identity is not None and member.index < self.identity.kept:
            return ""  # an earlier life of the framework has launched it
        before = [one for one in self.members.values() if one.index < member.index]
        late = next((one.name for one in before if one.name not in self._joined), None)
        return f"{late} has not joined yet" if late is not None else ""

    async def _serves(self, member: Member) -> bool:
        """Whether clients can connect: a node listens for them when it has joined."""
        assert member.place is not None
        address, port = member.place.address, member.place.ports[NATIVE]
        with contextlib.suppress(OSError, TimeoutError):
            connecting = asyncio.open_connection(address, port)
            _, writer = await asyncio.wait_for(connecting, CONNECT_S_MAX)
            writer.close()
            return True
        return False

    def running(self, member: Member) -> Running:
        """A node."""
        assert member.place is not None
        heap = min(self.heap_mib, heap_within(int(member.place.resources.mem), BESIDE_HEAP_MIB))
        environment = {
            "CASSANDRA_YAML": yaml(self.name, member, self.roster.founders(), self.config),
            "LOGBACK_XML": LOGBACK,
            "RACK_PROPERTIES": rack_properties(member),
            "JMX_PORT": str(member.place.ports[JMX]),
            "HEAP": f"{heap}m",
            "DIRECT": f"{heap // 2}m",
            "JAVA_OPTIONS": self.java_options,
        }
        return Running(
            ["sh", "-c", NODE], environment, self.jars, STOP_GRACE_S, {"nodetool": NODETOOL}
        )
