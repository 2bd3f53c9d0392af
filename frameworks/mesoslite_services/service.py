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
import ipaddress
import logging
import re
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
    StoreConflict,
    Task,
    TaskState,
    TaskStatus,
    Uri,
    VolumeMount,
)
from mesoslite_services.members import Identity, Member, Place, adopted

PLACING = "place"  # the one request: for the next member that has no place
IDENTITY, MEMBER, ENDPOINT, WAITS_FOR = "identity", "member/", "endpoint/", "waits-for"
RESERVING, MAKING = "r-", "v-"  # what the ids of operations begin with, behind their member
MEMBERS_MAX = 100  # of one service; each is two entries of the store
#: For offers of what an earlier life of the framework has left to arrive, before anything is placed
#: anew: a master sends them at once to who has just subscribed.
LOOK_S = 5.0
BACKOFF_S_MIN, BACKOFF_S_MAX = 1.0, 60.0
#: Who ran for so long had nothing wrong with its start: its next end is the first again.
STEADY_S = 60.0
ADDRESS = "address"  # the attribute of an agent that says what it is reached by
RACK = "rack"
LOOPBACK = "127.0.0.1"
KEPT_AS_MAX = 128  # characters of the id of a reservation, or of a volume
_KEPT_AS = re.compile(rf"[A-Za-z0-9._-]{{1,{KEPT_AS_MAX}}}")


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
        self.count = count
        self.needs = needs
        self.identity: Identity | None = None
        self.members: dict[str, Member] = {}
        self.log = logging.getLogger(type(self).__module__)
        self._identity_version = 0
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
        return "" if self._founders_placed() else "the others have no places yet"

    def endpoint(self, place: Place) -> str:
        """What is told to people and clients."""
        return f"{place.address}:{place.ports[0]}"

    async def all_up(self) -> None:
        """All members run. Called whenever that becomes true."""

    def founders(self) -> list[Member]:
        """The members that all others are told of, in order."""
        assert self.identity is not None
        return [self.members[self._name(at)] for at in range(self.identity.founders)]

    def _founders_placed(self) -> bool:
        return self.identity is not None and all(one.place for one in self.founders())

    # --- what is known ----------------------------------------------------------------------------

    async def subscribed(self, framework_id: str) -> None:
        """Read what the store knows; a service without any is new, or was torn down before.

        Raises ValueError for a name that its places can not have.
        """
        entry = await self.store.get(IDENTITY)
        if entry is not None:
            self._identity_version = entry.version
            self._looking = False
            identity = Identity.of_entry(entry.value)
            self._be(identity)
            if self.identity != identity:
                await self._keep_identity()
            for key in await self.store.keys(MEMBER):
                kept = await self.store.get(key)
                member = self.members.get(key.removeprefix(MEMBER))
                if kept is not None and member is not None:
                    member.restore(kept.value, kept.version)
        elif self._looking:
            _check_name(self._kept_as(Member(self._name(MEMBERS_MAX), MEMBERS_MAX)))
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
            self._set_identity(Identity(self.new_cluster_id(), founders, self.count))
        self._place_next()

    def new_cluster_id(self) -> str:
        """An identity for a new service."""
        return uuid.uuid4().hex

    def _be(self, identity: Identity) -> None:
        """Be the service of this identity, as large as it is to be now."""
        if identity.members > self.count:
            self.log.warning(
                "it has %d %ss, and none is ever removed: they are kept",
                identity.members, self.noun,
            )  # fmt: skip
        self._set_identity(identity.grown(self.count, 0))

    def _set_identity(self, identity: Identity) -> None:
        self.identity = identity
        for index in range(identity.members):
            self.members.setdefault(self._name(index), Member(self._name(index), index))

    def _name(self, index: int) -> str:
        return f"{self.noun}-{index}"

    def _kept_as(self, member: Member) -> str:
        """The id of a member's reservation and of its volume: its role may have other services."""
        return f"{self.name}.{member.name}"

    # --- offers -----------------------------------------------------------------------------------

    async def resource_offers(self, offers: Sequence[Offer]) -> None:
        """Each offer serves the members whose places it holds, else the next without a place."""
        complete = self._founders_placed()
        for offer in offers:
            await self._adopt(offer)
            if not await self._launch(offer) and not await self._place(offer):
                self.decline(offer, refuse_s=self._patience_s(offer))
        self._place_next()
        if not complete and self._founders_placed():
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
            if self._is_nobodys_yet():
                self._be(identity)
            await self._adopt_place(name, identity, place)

    def _is_nobodys_yet(self) -> bool:
        """Whether no member can have data under the identity: agents may register long after the
        look for an earlier life was over, and what is found then is the service still."""
        if self.identity is None:
            return True
        places = [one.place for one in self.members.values() if one.place is not None]
        return not self._identity_version and not self.identity.kept and not places

    async def _adopt_place(self, name: str, identity: Identity, place: Place) -> None:
        assert self.identity is not None
        member = self.members.get(name)
        if member is not None and member.place is not None:
            return  # it is where it is known to be, nearly always
        if self.identity.cluster_id != identity.cluster_id:
            self.log.warning("%s on %s is another service's", name, place.hostname)
            return
        self._set_identity(self.identity.grown(self.count, identity.kept))
        member = self.members[name]
        self.log.info("%s is found again on %s", name, place.hostname)
        member.place = place
        await self._keep_identity()
        member.version = await self.store.put(f"{MEMBER}{name}", member.entry(), member.version)

    async def _launch(self, offer: Offer) -> bool:
        """Launch the members whose volumes are here: they run nowhere."""
        there = {volume.volume_id for volume in offer.volumes}
        tasks: list[Task] = []
        changes: dict[str, tuple[bytes, int]] = {}
        mending: list[CreateVolume] = []
        for member in self._here(offer):
            assert member.place is not None
            kept_as = self._kept_as(member)
            part = offer.resources.of_reservation(kept_as)
            if kept_as not in there:
                if (
                    part.disk >= member.place.resources.disk
                ):  # reserved, but its volume was not made
                    mending.append(self._volume(member, member.place))
                continue
            if not part or self.why_not_yet(member) or time.monotonic() < member.not_before_s:
                continue
            member.attempt += 1
            member.up = False
            tasks.append(self._task(member, part))
            changes[f"{MEMBER}{member.name}"] = (member.entry(), member.version)
        if mending and not tasks:
            self.accept(offer, mending)
            return True
        if not tasks:
            return False
        self.launch(offer, tasks, store=changes)
        for member in self._here(offer):
            if f"{MEMBER}{member.name}" in changes:
                await self._read(member)
        return True

    def _here(self, offer: Offer) -> list[Member]:
        """The members whose places are on the agent of an offer."""
        return [
            member
            for member in self.members.values()
            if member.place is not None and member.place.agent_id == offer.agent_id
        ]

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
            volumes=[VolumeMount(self._kept_as(member), self.volume_path)],
        )

    async def _place(self, offer: Offer) -> bool:
        """Reserve for the next member that has no place, with its volume, in one go with the word
        that it is there (D16)."""
        member = self._next()
        free = offer.resources.unreserved()
        if self._looking or member is None or self.identity is None:
            return False
        if self._on_agents_of_their_own and self._here(offer):
            return False
        if not free.covers(self.needs.amount):
            return False
        try:
            ports = free.take_ports(self.needs.ports)
        except Shortfall:
            return False
        address = await asyncio.to_thread(self._address, offer)
        place = Place(
            offer.agent_id, offer.hostname, address, _rack(offer), self.needs.amount + ports
        )
        labels = self.identity.labels(self.name, member, place)
        reserve = Reserve(
            self._kept_as(member),
            place.resources,
            labels,
            operation_id=_operation(member, RESERVING),
        )
        member.place, member.reserving = place, reserve.operation_id
        changes = {f"{MEMBER}{member.name}": (member.entry(), member.version)}
        if not self._identity_version:
            changes[IDENTITY] = (self.identity.entry(), 0)
        self.accept(offer, [reserve, self._volume(member, place)], store=changes)
        await self._read(member)
        kept = await self.store.get(IDENTITY)
        self._identity_version = kept.version if kept is not None else 0
        if member.place is not None:
            self.log.info(
                "%s has its place on %s: %s", member.name, offer.hostname, place.resources
            )
        return True

    def _volume(self, member: Member, place: Place) -> CreateVolume:
        size = Resources(disk=place.resources.disk)
        return CreateVolume(
            self._kept_as(member),
            size,
            self._kept_as(member),
            operation_id=_operation(member, MAKING),
        )

    def _address(self, offer: Offer) -> str:
        """What others reach an agent by. Looks its name up, so it blocks."""
        if told := _attribute(offer, ADDRESS):
            return told
        try:
            socket.getaddrinfo(offer.hostname, None)
        except OSError:
            self.log.warning(
                "%s is no name that can be looked up here: it is taken for this machine. Else give "
                "its agent --attributes 'address:...'", offer.hostname,
            )  # fmt: skip
            return LOOPBACK
        return offer.hostname

    def _patience_s(self, offer: Offer) -> float | None:
        """For how long what is offered is of no use."""
        if self._looking:
            return LOOK_S
        now_s = time.monotonic()
        waits_s = [one.not_before_s - now_s for one in self._here(offer) if not one.up]
        later_s = [each for each in waits_s if each > 0]
        return min(later_s) if later_s else BACKOFF_S_MIN

    # --- what is asked for ------------------------------------------------------------------------

    def _next(self) -> Member | None:
        """The first member that has no place. One that an earlier life had is not among them."""
        kept = 0 if self.identity is None else self.identity.kept
        members = self.members.values()
        return next((one for one in members if one.place is None and one.index >= kept), None)

    def _place_next(self) -> None:
        """Ask for a place for the next member that has none, or for nothing."""
        if self._looking or self._next() is None:
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
        elif (member := self._next()) is not None:
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
        if reserving and not member.attempt and await self._drop(member):
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

    # --- the store --------------------------------------------------------------------------------

    async def _keep_identity(self) -> None:
        assert self.identity is not None
        version = await self.store.put(IDENTITY, self.identity.entry(), self._identity_version)
        self._identity_version = version

    async def _read(self, member: Member) -> None:
        """What became of what was written along with an accept: it was done, or nothing was."""
        entry = await self.store.get(f"{MEMBER}{member.name}")
        if entry is None:
            member.place, member.version = None, 0
        else:
            member.restore(entry.value, entry.version)

    async def _drop(self, member: Member) -> bool:
        try:
            await self.store.delete(f"{MEMBER}{member.name}", member.version)
        except StoreConflict:
            await self._read(member)
            return False
        member.place, member.version = None, 0
        return True

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


def _rack(offer: Offer) -> str:
    return _attribute(offer, RACK) or offer.zone


def _attribute(offer: Offer, name: str) -> str:
    """What its agent says of itself under that name; empty: nothing."""
    for attribute in offer.attributes:
        if attribute.name == name:
            value = attribute.value
            return f"{value / 1_000:g}" if isinstance(value, int) else str(value)
    return ""


def _operation(member: Member, what: str) -> str:
    return f"{member.name}.{what}{uuid.uuid4().hex[:16]}"


def _check_name(kept_as: str) -> None:
    """Raises ValueError for a framework's name that no reservation can begin with."""
    if _KEPT_AS.fullmatch(kept_as) is None:
        raise ValueError(
            f"its places would be called {kept_as!r}: give it a name of A-Z a-z 0-9 . _ -, and at "
            f"most {KEPT_AS_MAX} characters with the member's"
        )


def _later(delay_s: float, function: Callable[[], None]) -> None:
    """Call it then; at once where time is virtual."""
    try:
        asyncio.get_running_loop().call_later(delay_s, function)
    except RuntimeError:
        function()


def host_and_port(host: str, port: int) -> str:
    """As addresses are written: an IPv6 address in brackets."""
    try:
        bare = ipaddress.ip_address(host)
    except ValueError:
        return f"{host}:{port}"
    return f"[{host}]:{port}" if bare.version == 6 else f"{host}:{port}"
