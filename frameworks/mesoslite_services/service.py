"""A service of numbered members that keep their places: what Kafka and its like have in common.

What it decides, and where:

- `subscribed`: what the store knows of the members; what an earlier life has left is looked for
- `resource_offers`: a member without a place reserves one and makes its volume; one whose volume is
  in the offer runs nowhere, and is launched there
- `status_update`: a member that ended comes back on its volume, a bit later each time

Members are placed one after another, each on an agent of its own while there are enough. A volume
is in no offer while a task uses it: so no member ever runs twice, whatever a scheduler believes.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mesoslite import (
    CreateVolume,
    Offer,
    OperationState,
    OperationStatus,
    Refusal,
    Reserve,
    Resources,
    Scheduler,
    Shortfall,
    Task,
    TaskState,
    TaskStatus,
    Uri,
    VolumeMount,
)
from mesoslite_services.members import Identity, Member, Place, adopted
from mesoslite_services.reaching import address_of, rack_of
from mesoslite_services.roster import Roster, kept_as

PLACING = "place"  # the one request: for the next member that has no place
ENDPOINT, WAITS_FOR = "endpoint/", "waits-for"  # keys of the store that people are shown
TOOL = "exec/"  # labels of tasks: what people may run beside them
RESERVING, MAKING = "r-", "v-"  # what the ids of operations begin with, behind their member
CPUS_MIN = 0.001  # the least that there is of a resource; a place keeps what it was made with
MEMBERS_MAX = 100  # of one service; each is two entries of the store
#: For offers of what an earlier life of the framework has left to arrive, before anything is placed
#: anew: a master sends them at once to who has just subscribed. For agents that are away
#: `mesoslite framework run` has waited by then.
LOOK_S = 5.0
BACKOFF_S_MIN, BACKOFF_S_MAX = 1.0, 60.0
#: Who ran for so long had nothing wrong with its start: its next end is the first again.
STEADY_S = 60.0


@dataclass(frozen=True, slots=True)
class Needs:
    """What each member needs. Sizes in MiB."""

    cpus: float
    mem_mib: int
    disk_mib: int
    ports: int

    @property
    def amount(self) -> Resources:
        """All but the ports, of which any will do."""
        return Resources(cpus=self.cpus, mem=self.mem_mib, disk=self.disk_mib)

    def __str__(self) -> str:
        return f"{self.amount} and {self.ports} ports"


@dataclass(frozen=True, slots=True)
class Running:
    """What a member runs."""

    command: Sequence[str]
    environment: Mapping[str, str]
    uris: Sequence[Uri]
    kill_grace_s: float
    tools: Mapping[str, str] = field(default_factory=dict)
    """What `mesoslite framework exec` runs beside it: a line for `sh` by name, words as "$@"."""


class Service(Scheduler):
    """Keeps its members running, each on its place. Subclasses say what a member is."""

    noun = "member"
    """Members are called after it: `broker-0`."""
    volume_path = "data"
    """Where a member finds its volume in its sandbox."""
    exits: Mapping[int, str] = {}
    """What to tell people about exit codes."""
    founders_max = MEMBERS_MAX
    """Members that all others are told of, at most."""

    def __init__(self, count: int, needs: Needs) -> None:
        """Raises ValueError for a number of members that can not be."""
        if not 1 <= count <= MEMBERS_MAX:
            raise ValueError(f"1 to {MEMBERS_MAX} {self.noun}s, not {count}")
        if not needs.cpus >= CPUS_MIN:
            raise ValueError(f"--cpus is {CPUS_MIN} at least, not {needs.cpus:g}")
        self.count = count
        self.needs = needs
        self.log = logging.getLogger(type(self).__module__)
        self.roster = Roster(self.noun, count, self.log)
        self._looking = True
        """Nothing is placed yet: an earlier life may have left its places."""
        self._on_agents_of_their_own = True
        self._asked_where: str | None = ""
        self._waits_for = ""
        self._ask(None)  # or everything would be offered until there is something to ask for

    # --- what a service is ------------------------------------------------------------------------

    def running(self, member: Member) -> Running:
        """What this member is to run, now that it may."""
        raise NotImplementedError

    def why_not_yet(self, member: Member) -> str:
        """Why a member with a place is not to be launched yet; empty: it is."""
        return "" if self.roster.founders_placed() else "the others have no places yet"

    def endpoint(self, place: Place) -> str:
        """What is told to people and clients."""
        return f"{place.address}:{place.ports[0]}"

    async def all_up(self) -> None:
        """All members run. Called whenever that becomes true."""

    @property
    def all_run(self) -> bool:
        """Whether there are members, and none of them is down."""
        return bool(self.members) and all(member.up for member in self.members.values())

    @property
    def needs_people(self) -> str:
        """What keeps a member from running until somebody does something; empty: nothing."""
        wrong = set(self.exits.values())
        found = (
            f"{one.name}: {one.trouble}" for one in self.members.values() if one.trouble in wrong
        )
        return next(found, "")

    @property
    def identity(self) -> Identity | None:
        """What all members share; None: it is not known yet."""
        return self.roster.identity

    @property
    def members(self) -> Mapping[str, Member]:
        """All of them by name, in order."""
        return self.roster.members

    # --- what is known ----------------------------------------------------------------------------

    async def subscribed(self, framework_id: str) -> None:
        """Read what the store knows; a service without any is new, or was torn down before."""
        if await self.roster.load(self.store):
            self._looking = False
        elif self._looking:
            _later(LOOK_S, self.look_no_more)
        self._place_next()
        await self._tell()

    def look_no_more(self) -> None:
        """What an earlier life has left was offered by now: begin to place what has no place."""
        if not self._looking:
            return
        self._looking = False
        if self.identity is None:
            founders = min(self.count, self.founders_max)
            self.roster.begin(Identity(self.new_cluster_id(), founders, self.count))
        self._place_next()

    def new_cluster_id(self) -> str:
        """An identity for a new service."""
        return uuid.uuid4().hex

    # --- offers -----------------------------------------------------------------------------------

    async def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Each offer serves the members whose places it holds, else the next without a place."""
        complete = self.roster.founders_placed()
        for offer in offers:
            await self._adopt(offer)
            if not await self._launch(offer) and not await self._place(offer):
                self.decline(offer, refuse_s=self._patience_s(offer))
        self._place_next()
        if not complete and self.roster.founders_placed():
            self.revive()  # who waited for the others is to see its volume again now
        await self._tell()

    async def _adopt(self, offer: Offer) -> None:
        """Take up what an earlier life of the framework has reserved here."""
        for reservation in offer.reservations:
            if reservation.labels.get("service") != self.name:
                continue
            try:
                name, identity, place = adopted(reservation, offer.hostname, offer.agent_id)
            except (KeyError, ValueError) as error:
                self.log.warning("%s is no member: %s", reservation.reservation_id, error)
                continue
            await self.roster.adopt(self.store, name, identity, place)

    async def _launch(self, offer: Offer) -> bool:
        """Launch the members whose volumes are here: they run nowhere."""
        there = {volume.volume_id for volume in offer.volumes}
        tasks: dict[str, Task] = {}
        changes: dict[str, tuple[bytes, int]] = {}
        mending: list[CreateVolume] = []
        for member in self.roster.on(offer.agent_id):
            assert member.place is not None
            part = offer.resources.of_reservation(kept_as(self.name, member))
            if kept_as(self.name, member) not in there:
                # Reserved, but its volume was not made.
                if part.disk >= member.place.resources.disk:
                    mending.append(self._volume(member, member.place))
                continue
            if not part or self.why_not_yet(member) or time.monotonic() < member.not_before_s:
                continue
            member.attempt += 1
            member.up = False
            tasks[member.name] = self._task(member, part)
            changes |= self.roster.entries(member)
        if mending and not tasks:
            self.accept(offer, mending)
            return True
        if not tasks:
            return False
        self.launch(offer, list(tasks.values()), store=changes)
        for name in tasks:
            await self.roster.read(self.store, self.members[name])
        return True

    def _task(self, member: Member, part: Resources) -> Task:
        what = self.running(member)
        return Task(
            member.task_id,
            what.command,
            part,
            name=member.name,
            environment=what.environment,
            uris=what.uris,
            kill_grace_ms=round(what.kill_grace_s * 1_000),
            volumes=[VolumeMount(kept_as(self.name, member), self.volume_path)],
            labels={f"{TOOL}{name}": line for name, line in what.tools.items()},
        )

    async def _place(self, offer: Offer) -> bool:
        """Reserve for the next member that has no place, with its volume, in one go with the word
        that it is there (D16)."""
        member = self.roster.next_to_place()
        free = offer.resources.unreserved()
        if self._looking or member is None or self.identity is None:
            return False
        if self._on_agents_of_their_own and self.roster.on(offer.agent_id):
            return False
        if not free.covers(self.needs.amount):
            return False
        try:
            ports = free.take_ports(self.needs.ports)
        except Shortfall:
            return False
        address = await asyncio.to_thread(address_of, offer, self.log)
        place = Place(
            offer.agent_id, offer.hostname, address, rack_of(offer), self.needs.amount + ports
        )
        labels = self.identity.labels(self.name, member, place)
        reserve = Reserve(
            kept_as(self.name, member),
            place.resources,
            labels,
            operation_id=_operation(member, RESERVING),
        )
        member.place, member.reserving = place, reserve.operation_id
        making = self._volume(member, place)
        self.accept(offer, [reserve, making], store=self.roster.entries(member))
        await self.roster.read(self.store, member)
        if member.place is not None:
            self.log.info(
                "%s has its place on %s: %s", member.name, offer.hostname, place.resources
            )
        return True

    def _volume(self, member: Member, place: Place) -> CreateVolume:
        size = Resources(disk=place.resources.disk)
        return CreateVolume(
            kept_as(self.name, member),
            size,
            kept_as(self.name, member),
            operation_id=_operation(member, MAKING),
        )

    def _patience_s(self, offer: Offer) -> float | None:
        """For how long what is offered is of no use."""
        if self._looking:
            return LOOK_S
        now_s = time.monotonic()
        waits_s = [one.not_before_s - now_s for one in self.roster.on(offer.agent_id) if not one.up]
        later_s = [each for each in waits_s if each > 0]
        return min(later_s) if later_s else BACKOFF_S_MIN

    # --- what is asked for ------------------------------------------------------------------------

    def _place_next(self) -> None:
        """Ask for a place for the next member that has none, or for nothing."""
        if self._looking or self.roster.next_to_place() is None:
            self._ask(None)
            return
        hosts = {one.place.hostname for one in self.members.values() if one.place is not None}
        if not self._on_agents_of_their_own:
            hosts = set()
        names = ", ".join(f'"{host}"' for host in sorted(hosts))
        self._ask(f"hostname not in ({names})" if hosts else "")

    def _ask(self, where: str | None) -> None:
        """Request one place, there; None: none."""
        if where == self._asked_where:
            return
        self._asked_where = where
        self.request(
            count=0 if where is None else 1,
            resources=self.needs.amount,
            ports=self.needs.ports,
            where=where or "",
            request_id=PLACING,
        )

    async def request_unsatisfiable(self, request_id: str, refusal: Refusal, message: str) -> None:
        """There are fewer agents than members: several share one. Or none is large enough."""
        hosts = any(one.place is not None for one in self.members.values())
        if hosts and self._on_agents_of_their_own and refusal is Refusal.NO_AGENT_FITS:
            self._on_agents_of_their_own = False
            self.log.info("there are fewer agents than %ss: some share one", self.noun)
            self._place_next()
        elif (member := self.roster.next_to_place()) is not None:
            member.trouble = f"no agent can hold it: {message}"
        await self._tell()

    # --- what becomes of it -----------------------------------------------------------------------

    async def operation_update(self, status: OperationStatus) -> None:
        """A place that could not be had is looked for anew."""
        name, _, _ = status.operation_id.rpartition(".")
        member = self.members.get(name)
        lost = status.state.final or status.state is OperationState.UNKNOWN
        if member is None or not lost or status.state is OperationState.FINISHED:
            return
        self.log.warning("%s: %s", member.name, status.message or status.state.value)
        # Of a volume that could not be made the disk stays reserved, and is offered. Of an earlier
        # place's end, which may be said again, the present one hears nothing.
        reserving = member.reserving == status.operation_id
        if reserving and not member.attempt and await self.roster.drop(self.store, member):
            self._place_next()
        await self._tell()

    async def status_update(self, status: TaskStatus) -> None:
        """Keep the books; who ended comes back when its volume is offered again."""
        member = self.members.get(status.task_id.rpartition(".")[0])
        if member is None or status.task_id != member.task_id or member.place is None:
            return
        before, now_s = member.up, time.monotonic()
        member.up = status.state is TaskState.RUNNING
        if member.up:
            member.trouble = ""
            if not before:
                member.up_since_s = now_s
                await self._is_up(member, member.place)
        elif status.terminal:
            if before and now_s - member.up_since_s > STEADY_S:
                member.failures = 0
            self._has_ended(member, status, now_s)
        elif status.state is TaskState.UNREACHABLE:
            member.trouble = f"its agent on {member.place.hostname} is not heard of"
            self.log.warning("%s: %s", member.name, member.trouble)
        await self._tell()

    async def _is_up(self, member: Member, place: Place) -> None:
        where = self.endpoint(place)
        self.log.info("%s was started on %s, at %s", member.name, place.hostname, where)
        key = f"{ENDPOINT}{member.name}"
        entry = await self.store.get(key)
        if entry is None or entry.value != where.encode():
            await self.store.put(key, where.encode())
        if self.identity is not None and all(one.up for one in self.members.values()):
            await self.all_up()

    def _has_ended(self, member: Member, status: TaskStatus, now_s: float) -> None:
        told = self.exits.get(status.exit_code) if status.exit_code is not None else None
        why = told or status.message or (status.reason.value if status.reason else "it ended")
        if status.state is TaskState.GONE_BY_OPERATOR:
            why = "its agent was given up for good, with its data"
        member.trouble = why
        wait_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2**member.failures)
        member.failures += 1
        member.not_before_s = now_s + wait_s
        self.log.warning("%s ended: %s", member.name, why)

    # --- what people are told ---------------------------------------------------------------------

    async def _tell(self) -> None:
        """Keep what is waited for where people can see it, when it has changed."""
        text = self._what_is_missing()
        if text == self._waits_for:
            return
        self._waits_for = text
        if text:
            await self.store.put(WAITS_FOR, text.encode())
        else:
            await self.store.delete(WAITS_FOR)
            self.log.info(
                "all %d %ss run: %s", len(self.members), self.noun, self.endpoints(),
            )  # fmt: skip

    def endpoints(self) -> str:
        """Where clients begin, as they take it."""
        places = [one.place for one in self.members.values() if one.place is not None]
        return ",".join(self.endpoint(place) for place in places)

    def _what_is_missing(self) -> str:
        """For people: of all that is missing what the rest waits for."""
        if self.identity is None:
            return "what an earlier run may have left"
        down = [member for member in self.members.values() if not member.up]
        for member in down:
            if member.trouble:
                return f"{member.name}: {member.trouble}"
        for member in down:
            if member.place is None and member.index < self.identity.kept:
                return (
                    f"{member.name}: the place that an earlier run has reserved for it, on an "
                    "agent that is away or full; stopping with --release gives all of them up"
                )
            if member.place is None:
                return f"{member.name}: a place with {self.needs}"
        if not down:
            return ""
        return f"{down[0].name}: {self.why_not_yet(down[0]) or 'its start'}"


def _operation(member: Member, what: str) -> str:
    return f"{member.name}.{what}{uuid.uuid4().hex[:16]}"


def _later(delay_s: float, function: Callable[[], None]) -> None:
    """Call it then; at once where time is virtual."""
    try:
        asyncio.get_running_loop().call_later(delay_s, function)
    except RuntimeError:
        function()
