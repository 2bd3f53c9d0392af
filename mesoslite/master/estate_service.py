"""The operator service's calls about reservations and volumes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from mesoslite.master import estates
from mesoslite.master.protocol import Answer, EstateAsked, Event
from mesoslite.master.reads import ReadError
from mesoslite.master.records import Tables
from mesoslite.model import ID_PATTERN, Refusal
from mesoslite.reservations import (
    LABELS_BYTES_MAX,
    LABELS_MAX,
    Change,
    DestroyVolume,
    Reserve,
    Unreserve,
    why_not_change,
)
from mesoslite.resources import UNRESERVED, why_not_role
from mesoslite.v1 import operator_pb2 as pb
from mesoslite.wire import (
    MalformedMessage,
    resources_from_wire,
    write_reservation,
    write_resources,
    write_volume,
)
from mesoslite.wire.checks import text_map

ANSWER_S_MAX = 8.0  # for an agent's answer: less than the 10 s that the command waits for ours
#: What an operator reserves is nobody's: any framework of the role may change it.
PRINCIPAL = ""

Ask = Callable[[Callable[[int], Event]], Awaitable[Answer]]


class EstateService:
    """Answers them from the master's tables, or through its inbox by `ask`."""

    def __init__(self, tables: Tables, ask: Ask) -> None:
        self._tables = tables
        self._ask = ask

    def methods(self) -> dict[str, tuple[Any, Any]]:
        """The request's type and the method, by the name of the call."""
        return {
            "ListReservations": (pb.ListReservationsRequest, self.list_reservations),
            "CreateReservation": (pb.CreateReservationRequest, self.create_reservation),
            "RemoveReservation": (pb.RemoveReservationRequest, self.remove_reservation),
            "ListVolumes": (pb.ListVolumesRequest, self.list_volumes),
            "RemoveVolume": (pb.RemoveVolumeRequest, self.remove_volume),
        }

    async def list_reservations(
        self, request: pb.ListReservationsRequest
    ) -> pb.ListReservationsResponse:
        """A page of reservations."""
        page = estates.reservations(
            self._tables, request.agent, request.role, request.framework, request.after
        )
        answer = pb.ListReservationsResponse(more=page.more)
        for row in page.rows:
            slot = answer.reservations.add(
                key=row.key,
                agent_id=row.agent.info.agent_id,
                agent_hostname=row.agent.info.hostname,
                agent_state=row.agent.state.value,
                pending=row.pending,
                releasing=row.releasing,
            )
            write_reservation(slot.reservation, row.reservation)
            write_resources(slot.used, row.used)
        return answer

    async def list_volumes(self, request: pb.ListVolumesRequest) -> pb.ListVolumesResponse:
        """A page of volumes."""
        page = estates.volumes(
            self._tables, request.agent, request.role, request.framework, request.after
        )
        answer = pb.ListVolumesResponse(more=page.more)
        for row in page.rows:
            slot = answer.volumes.add(
                key=row.key,
                agent_id=row.agent.info.agent_id,
                agent_hostname=row.agent.info.hostname,
                agent_state=row.agent.state.value,
                pending=row.pending,
                releasing=row.releasing,
            )
            write_volume(slot.volume, row.volume)
            if row.use is not None:
                slot.used_bytes = row.use.used_bytes
                slot.measured_ms = row.use.measured_ms
            if row.user is not None:
                slot.user_framework_id = row.user.framework_id
                slot.user_task_id = row.user.task.task_id
        return answer

    async def create_reservation(
        self, request: pb.CreateReservationRequest
    ) -> pb.CreateReservationResponse:
        """Reserve something on an agent for a role, or more of it."""
        try:
            resources = resources_from_wire(request.resources)
            labels = text_map(request.labels, "labels", LABELS_MAX, LABELS_BYTES_MAX)
        except MalformedMessage as why:
            raise ReadError(Refusal.MALFORMED, str(why)) from None
        change = Reserve(request.reservation_id, resources, labels)
        await self._change(request.agent_id, request.role, change)
        answer = pb.CreateReservationResponse()
        agent = self._tables.agents[request.agent_id]
        made = agent.estate.reservations.get((request.role, request.reservation_id))
        if made is not None:
            write_reservation(answer.reservation, made)
        return answer

    async def remove_reservation(
        self, request: pb.RemoveReservationRequest
    ) -> pb.RemoveReservationResponse:
        """Give up a reservation of anybody's, or a part of it, that nothing uses."""
        try:
            resources = resources_from_wire(request.resources)
        except MalformedMessage as why:
            raise ReadError(Refusal.MALFORMED, str(why)) from None
        change = Unreserve(request.reservation_id, resources)
        await self._change(request.agent_id, request.role, change)
        return pb.RemoveReservationResponse()

    async def remove_volume(self, request: pb.RemoveVolumeRequest) -> pb.RemoveVolumeResponse:
        """Destroy a volume of anybody's, with its data, that no task uses."""
        await self._change(request.agent_id, request.role, DestroyVolume(request.volume_id))
        return pb.RemoveVolumeResponse()

    async def _change(self, agent_id: str, role: str, change: Change) -> None:
        """Raises ReadError with the reason for what can not be."""
        wrong = why_not_role(role) or why_not_change(change)
        if role == UNRESERVED:
            wrong = "nothing can be reserved for the role *"
        if ID_PATTERN.match(agent_id) is None:
            wrong = f"{agent_id!r} is no agent id"
        if wrong is not None:
            raise ReadError(Refusal.INVALID_OPERATION, wrong)
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                await self._ask(
                    lambda number: EstateAsked(number, agent_id, role, PRINCIPAL, change)
                )
        except TimeoutError:
            host = self._tables.agents[agent_id].info.hostname
            why = (
                f"{host} was told, and has not answered for {ANSWER_S_MAX:g} s: it may do it yet, "
                "so look what is there before you ask again"
            )
            raise ReadError(Refusal.AGENT_AWAY, why) from None
