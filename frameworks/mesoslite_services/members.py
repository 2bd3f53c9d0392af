"""The members of a service: each has a number, an identity that goes with it, and a place.

A place is a reservation and a volume of the member's on one agent, with the address and the ports
that others know it by. It is kept twice: in the framework's store, and in the labels of the
reservation, which stay when the framework is torn down without releasing them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mesoslite import Reservation, Resources


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member is, for good."""

    agent_id: str
    hostname: str
    address: str
    """What clients and other members reach it by."""
    rack: str
    """What fails together with it; empty: not known."""
    resources: Resources
    """What is reserved for it, as unreserved amounts: ports and the disk of its volume too."""

    @property
    def ports(self) -> tuple[int, ...]:
        """Its ports, in order."""
        return tuple(port for low, high in self.resources.ports for port in range(low, high + 1))


@dataclass(slots=True)
class Member:
    """One of a service, and what became of it."""

    name: str
    index: int
    place: Place | None = None
    attempt: int = 0
    """Of its newest task, `NAME.ATTEMPT`; 0: none yet."""
    reserving: str = ""
    """The id of the operation that reserves its place; empty: an earlier life did."""
    version: int = 0
    """Of its entry in the store; 0: none."""
    up: bool = False
    trouble: str = ""
    """Why it is not up, for people; empty: nothing is known to be wrong."""
    failures: int = 0
    """Ends of its tasks since it last ran for long."""
    up_since_s: float = 0.0
    """By the monotonic clock, with `up`."""
    not_before_s: float = 0.0
    """By the monotonic clock: its next task is not launched earlier."""

    @property
    def task_id(self) -> str:
        """Of its newest task."""
        return f"{self.name}.{self.attempt}"

    def entry(self) -> bytes:
        """It as the store keeps it."""
        assert self.place is not None
        place = self.place
        document = {
            "agent": place.agent_id,
            "hostname": place.hostname,
            "address": place.address,
            "rack": place.rack,
            "resources": str(place.resources),
            "attempt": self.attempt,
            "reserving": self.reserving,
        }
        return json.dumps(document).encode()

    def restore(self, value: bytes, version: int) -> None:
        """Take what the store keeps."""
        document = json.loads(value)
        self.place = Place(
            document["agent"],
            document["hostname"],
            document["address"],
            document["rack"],
            Resources.parse(document["resources"]),
        )
        self.attempt = document["attempt"]
        self.reserving = document.get("reserving", "")
        self.version = version


@dataclass(frozen=True, slots=True)
class Identity:
    """What all members of a service share, for good."""

    cluster_id: str
    founders: int
    """How many members there were at first: those others are told of."""
    members: int
    """How many there are to be."""
    kept: int = 0
    """So many of them an earlier life had: their places are somewhere, and are never made anew."""

    def entry(self) -> bytes:
        """It as the store keeps it."""
        document = {
            "id": self.cluster_id,
            "founders": self.founders,
            "members": self.members,
            "kept": self.kept,
        }
        return json.dumps(document).encode()

    @classmethod
    def of_entry(cls, value: bytes) -> Identity:
        """What the store keeps."""
        document = json.loads(value)
        return cls(document["id"], document["founders"], document["members"], document["kept"])

    def grown(self, members: int, kept: int) -> Identity:
        """With so many members at least, and so many of an earlier life."""
        kept = max(kept, self.kept)
        return replace(self, members=max(members, self.members, kept), kept=kept)

    def labels(self, service: str, member: Member, place: Place) -> dict[str, str]:
        """What a reservation keeps of it and of its member."""
        return {
            "service": service,
            "member": member.name,
            "cluster": self.cluster_id,
            "founders": str(self.founders),
            "members": str(self.members),
            "address": place.address,
            "rack": place.rack,
        }


def adopted(reservation: Reservation, hostname: str, agent_id: str) -> tuple[str, Identity, Place]:
    """The member that an earlier life of the service has reserved for, with all that it was.

    Raises KeyError or ValueError for labels that are no service's.
    """
    labels: Mapping[str, str] = reservation.labels
    members = int(labels["members"])
    identity = Identity(labels["cluster"], int(labels["founders"]), members, members)
    place = Place(agent_id, hostname, labels["address"], labels["rack"], reservation.resources)
    return labels["member"], identity, place
