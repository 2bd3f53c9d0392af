"""The scheduler of Kafka: which broker is where, with what, and which topics there are to be.

What keeps brokers on their places is `mesoslite_services.service`; here is what a broker is.
"""

from __future__ import annotations

import re
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Annotated

from mesoslite import Offer, Resources, Task, TaskState, TaskStatus
from mesoslite_kafka.settings import BROKER, JAVA, LOG4J, TOPICS, VOTERS_MAX, properties
from mesoslite_services.jars import locked
from mesoslite_services.java import what_to_install
from mesoslite_services.members import Member, Place
from mesoslite_services.reaching import host_and_port
from mesoslite_services.service import BACKOFF_S_MAX, Needs, Running, Service
from mesoslite_services.sizes import heap_within, mem_for, mib

PORTS = 2  # one for clients and brokers, one for controllers
STOP_GRACE_S = 60.0  # a controlled shutdown hands its partitions over
#: Beside the heap: 374 MB were resident with one of 256, and the page cache wants some.
BESIDE_HEAP_MIB = 256
MAKING_TOPICS = "topics"
TOPIC = "topic/"  # in the store: topics that were made
TOPIC_NEEDS = Resources(cpus=0.5, mem=256)  # of less a Java takes a minute only to start
TOPICS_MAX = 500  # from the command line; each is an entry of the store
_TOPIC = re.compile(r"([A-Za-z0-9._-]{1,249})(?::([1-9]\d{0,4}))?(?::([1-9]\d?))?\Z")


class Kafka(Service):
    """Apache Kafka (KRaft, no ZooKeeper): brokers that keep their data, each on its own agent.

    The first three brokers are controllers too; with fewer than three the first one alone. What it
    is told at first decides what its places hold: later only the number of brokers can grow.
    """

    name = "kafka"
    roles = ("kafka",)
    noun = "broker"
    exits = what_to_install(JAVA)

    def __init__(
        self,
        brokers: Annotated[int, "How many; later runs may raise it."] = 3,
        heap: Annotated[str, "Of each broker's Java."] = "512MiB",
        disk: Annotated[str, "Of each broker's volume."] = "2GiB",
        cpus: Annotated[float, "Of each broker."] = 0.5,
        topic: Annotated[Sequence[str], "A topic to make, as NAME[:PARTITIONS[:REPLICAS]]."] = (),
        config: Annotated[Mapping[str, str], "Any setting of a broker."] | None = None,
    ) -> None:
        """Raises ValueError for what is not to be understood."""
        self.heap_mib = mib("--heap", heap)
        self.founders_max = VOTERS_MAX if brokers >= VOTERS_MAX else 1
        self.config = dict(config or {})
        self.topics = dict(_topic(text, min(3, brokers)) for text in topic[:TOPICS_MAX])
        self.jars = locked("mesoslite_kafka").uris()
        self._topics_made: set[str] = set()
        self._making = ""
        self._topics_tried = 0
        self._topics_not_before_s = 0.0
        super().__init__(
            brokers,
            Needs(
                cpus=cpus,
                mem_mib=mem_for(self.heap_mib, BESIDE_HEAP_MIB),
                disk_mib=mib("--disk", disk),
                ports=PORTS,
            ),
        )

    # --- brokers ----------------------------------------------------------------------------------

    def new_cluster_id(self) -> str:
        """16 random bytes in 22 characters, as Kafka wants it; none that looks like an option."""
        while (made := urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22]).startswith("-"):
            continue
        return made

    def endpoint(self, place: Place) -> str:
        """For clients' `bootstrap.servers`."""
        return host_and_port(place.address, place.ports[0])

    def running(self, member: Member) -> Running:
        """A broker, and a controller if it is one of the first."""
        assert self.identity is not None
        assert member.place is not None
        heap = min(self.heap_mib, heap_within(int(member.place.resources.mem), BESIDE_HEAP_MIB))
        settings = properties(
            member, self.roster.founders(), self.identity.members, self.config, self.volume_path
        )
        environment = {
            "SERVER_PROPERTIES": settings,
            "LOG4J_PROPERTIES": LOG4J,
            "CLUSTER_ID": self.identity.cluster_id,
            "HEAP": f"{heap}m",
        }
        return Running(["sh", "-c", BROKER], environment, self.jars, STOP_GRACE_S)

    # --- topics -----------------------------------------------------------------------------------

    async def subscribed(self, framework_id: str) -> None:
        """Know what the store knows, topics too."""
        keys = await self.store.keys(TOPIC)
        self._topics_made = {key.removeprefix(TOPIC) for key in keys}
        await super().subscribed(framework_id)

    def missing_topics(self) -> list[str]:
        """Those that are to be there and are not."""
        return [name for name in self.topics if name not in self._topics_made]

    async def all_up(self) -> None:
        """Now topics can be made."""
        if self.missing_topics() and not self._making:
            self._ask_to_make_topics(1)

    def _ask_to_make_topics(self, count: int) -> None:
        self.request(count=count, resources=TOPIC_NEEDS, request_id=MAKING_TOPICS)

    async def resource_offers(self, offers: Sequence[Offer]) -> None:
        """An offer for topics is taken by the task that makes them; all others are for brokers."""
        rest = []
        for offer in offers:
            if offer.request_id != MAKING_TOPICS:
                rest.append(offer)
            elif self._making or not self.missing_topics():
                self.decline(offer)
            elif (wait_s := self._topics_not_before_s - time.monotonic()) > 0:
                self.decline(offer, refuse_s=wait_s)
            else:
                self._make_topics(offer)
        await super().resource_offers(rest)

    def _make_topics(self, offer: Offer) -> None:
        self._making = f"topics.{uuid.uuid4().hex[:8]}"
        wanted = {name: self.topics[name] for name in self.missing_topics()}
        environment = {
            "TOPICS": " ".join(f"{name}:{shape}" for name, shape in wanted.items()),
            "BOOTSTRAP": self.endpoints(),
        }
        command = ["sh", "-c", TOPICS]
        task = Task(
            self._making, command, TOPIC_NEEDS, environment=environment, uris=self.jars,
            labels={"topics": ",".join(wanted)[:1_000]},
        )  # fmt: skip
        self.launch(offer, task)

    async def status_update(self, status: TaskStatus) -> None:
        """Of topics: they are made, or are tried again. Else it is a broker's."""
        if status.task_id != self._making:
            await super().status_update(status)
            return
        if not status.terminal:
            return
        self._making = ""
        if status.state is TaskState.FINISHED:
            for name in self.missing_topics():
                await self.store.put(f"{TOPIC}{name}", self.topics[name].encode())
                self._topics_made.add(name)
                self.log.info("topic %s is there", name)
            self._ask_to_make_topics(0)
            return
        self._topics_not_before_s = time.monotonic() + min(BACKOFF_S_MAX, 2**self._topics_tried)
        self._topics_tried += 1
        why = status.message or status.state.name
        self.log.warning("topics could not be made, and are tried again: %s", why)
        self._ask_to_make_topics(1)


def _topic(text: str, copies: int) -> tuple[str, str]:
    """Its name, and partitions and replicas as `3:2`."""
    found = _TOPIC.match(text)
    if found is None:
        raise ValueError(f"--topic is NAME[:PARTITIONS[:REPLICAS]], not {text!r}")
    return found[1], f"{found[2] or copies}:{found[3] or copies}"
