"""Offers as protobuf, both ways: the one message whose largest part is the same again and again.

Building protobuf objects is the cost, not the wire: 4 us for an offer, 0.7 us when what is its
agent's is taken over as bytes, and an agent's resources come back unchanged whenever an offer is
declined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer as Repeated

from mesoslite.attributes import Attribute
from mesoslite.model import Offer
from mesoslite.reservations import RESERVATIONS_MAX, Reservation
from mesoslite.resources import Resources
from mesoslite.v1 import common_pb2
from mesoslite.v1 import scheduler_pb2 as pb
from mesoslite.wire import checks as check
from mesoslite.wire import limits as limit
from mesoslite.wire.amounts import (
    attributes_from_wire,
    resources_from_wire,
    write_attributes,
    write_resources,
)
from mesoslite.wire.checks import MalformedMessage
from mesoslite.wire.nouns import containerizers_from_wire
from mesoslite.wire.reservations import reservation_from_wire, write_reservation

_AGENTS_HEARD_MAX = 4_096  # of one scheduler's offers; 1 kB each


@dataclass(slots=True)
class _Body:
    """What of an agent's offers is encoded, and of what: equal things need no new encoding."""

    hostname: str
    attributes: tuple[Attribute, ...]
    containerizers: tuple[str, ...]
    domain: tuple[str, str]
    """Region and zone."""
    agent: bytes
    resources: Resources
    offer: bytes
    """An Offer with agent and resources, and without ids."""


class OfferEncoder:
    """Writes offers; remembers each agent's part. One for each master, in one thread.

    Bounded by `agents_max`: beyond it the agent that was new the longest ago is dropped.
    """

    def __init__(self, agents_max: int = limit.OFFER_AGENTS_MAX) -> None:
        self._agents_max = agents_max
        self._bodies: dict[str, _Body] = {}
        self._to = ("", "", 0, "")
        self._addressee = b""
        """An Offer with nothing but whom it is for, which offers that go out together share."""
        self.built = 0
        """How often a part had to be encoded: none for an unchanged agent that is offered again."""

    def __len__(self) -> int:
        return len(self._bodies)

    def forget(self, agent_id: str) -> None:
        """The agent has gone: drop what is kept of it, if anything."""
        self._bodies.pop(agent_id, None)

    def write(self, slots: Repeated[pb.Offer], offer: Offer) -> None:
        """Append the offer. About 0.7 us when its agent and resources are as they were, and it is
        for the same framework as the one before."""
        body = self._bodies.get(offer.agent_id)
        if body is None or not (
            body.attributes == offer.attributes
            and body.containerizers == offer.containerizers
            and body.hostname == offer.hostname
            and body.domain == (offer.region, offer.zone)
        ):
            body = self._keep(offer)
        elif body.resources is not offer.resources and body.resources != offer.resources:
            body.resources = offer.resources
            body.offer = body.agent + _encoded_resources(offer.resources)
            self.built += 1
        to = (offer.framework_id, offer.role, offer.lease_ms, offer.request_id)
        if to != self._to:
            self._to = to
            self._addressee = _encoded_addressee(offer)
        slot = slots.add()
        slot.MergeFromString(body.offer + self._addressee)
        slot.offer_id = offer.offer_id
        for reservation in offer.reservations:
            write_reservation(slot.reservations.add(), reservation)

    def _keep(self, offer: Offer) -> _Body:
        self.built += 1
        self.forget(offer.agent_id)
        if len(self._bodies) >= self._agents_max:
            del self._bodies[next(iter(self._bodies))]
        agent = _encoded_agent(offer)
        body = _Body(
            offer.hostname,
            offer.attributes,
            offer.containerizers,
            (offer.region, offer.zone),
            agent,
            offer.resources,
            agent + _encoded_resources(offer.resources),
        )
        self._bodies[offer.agent_id] = body
        return body


def _encoded_agent(offer: Offer) -> bytes:
    """An Offer with nothing but its agent. Two encodings, one after the other, are both (merge)."""
    slot = pb.Offer()
    agent = slot.agent
    agent.agent_id = offer.agent_id
    agent.hostname = offer.hostname
    write_attributes(agent.attributes, offer.attributes)
    agent.containerizers.extend(offer.containerizers)
    agent.region = offer.region
    agent.zone = offer.zone
    return slot.SerializeToString()


def _encoded_addressee(offer: Offer) -> bytes:
    """An Offer with nothing but its framework, role, lease and request."""
    slot = pb.Offer()
    slot.framework_id = offer.framework_id
    slot.role = offer.role
    slot.lease_ms = offer.lease_ms
    slot.request_id = offer.request_id
    return slot.SerializeToString()


def _encoded_resources(resources: Resources) -> bytes:
    """An Offer with nothing but its resources."""
    slot = pb.Offer()
    write_resources(slot.resources, resources)
    return slot.SerializeToString()


def offer_from_wire(slot: pb.Offer) -> Offer:
    """Raises MalformedMessage. About 3 us when the agent was heard of before."""
    agent = _agent(slot.agent.SerializeToString())
    agent_id, hostname, attributes, containerizers, region, zone = agent
    return Offer(
        check.identifier(slot.offer_id, "offer_id"),
        check.identifier(slot.framework_id, "framework_id"),
        agent_id,
        hostname,
        check.role(slot.role, "role"),
        resources_from_wire(slot.resources),
        attributes,
        containerizers,
        check.duration(slot.lease_ms, "lease_ms"),
        check.identifier_or_empty(slot.request_id, "request_id"),
        region,
        zone,
        _reservations(slot.reservations) if slot.reservations else (),
    )


def _reservations(slots: Sequence[common_pb2.Reservation]) -> tuple[Reservation, ...]:
    check.bounded(slots, "reservations", RESERVATIONS_MAX, "reservations")
    try:
        return tuple([reservation_from_wire(slot) for slot in slots])
    except MalformedMessage as why:
        raise why.inside("reservations") from None


@lru_cache(maxsize=_AGENTS_HEARD_MAX)
def _agent(encoded: bytes) -> tuple[str, str, tuple[Attribute, ...], tuple[str, ...], str, str]:
    """Checked once for each agent; its offers then share what it is."""
    slot = pb.OfferAgent.FromString(encoded)
    try:
        return (
            check.identifier(slot.agent_id, "agent_id"),
            check.name(slot.hostname, "hostname"),
            attributes_from_wire(slot.attributes),
            containerizers_from_wire(slot.containerizers) if slot.containerizers else (),
            check.name_or_empty(slot.region, "region", limit.DOMAIN_MAX),
            check.name_or_empty(slot.zone, "zone", limit.DOMAIN_MAX),
        )
    except MalformedMessage as why:
        raise why.inside("agent") from None
