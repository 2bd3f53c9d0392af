"""`mesoslite-agent`: the agent as a program."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import pwd
import random
import secrets
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import grpc
import structlog

from mesoslite.clock import Clock
from mesoslite.credentials import find_token_file, read_tokens
from mesoslite.daemon import StartError, check_host, port_told, run_daemon, settle_memory
from mesoslite.database import StorageError, WorkDir
from mesoslite.estate import InvalidEstate
from mesoslite.files import FileRead
from mesoslite.health import health_handler
from mesoslite.link import AGENT_BACKOFF, Ends, Link
from mesoslite.loop import CommitError, Health, Inbox, drive
from mesoslite.masters import Locator
from mesoslite.measures import LoopMeasures
from mesoslite.messages import Heartbeat, Registered
from mesoslite.model import AgentInfo
from mesoslite.resources import total_of
from mesoslite.serving import listen_http, listen_on, new_server, port_of, started
from mesoslite.settings import chosen_port
from mesoslite.streams import CLOSE_S
from mesoslite.v1 import agent_pb2
from mesoslite.version import VERSION
from mesoslite.wire import AgentSays, MalformedMessage, agent_events_from_wire, agent_requests
from mesoslite_agent import host, reconfiguration
from mesoslite_agent.checkpoint import Checkpoint
from mesoslite_agent.collecting import collect_for_ever
from mesoslite_agent.container import ContainerEvent, ContainerPhase
from mesoslite_agent.containers import Containers
from mesoslite_agent.executors import Executors, executor_address
from mesoslite_agent.exits import before_reboot
from mesoslite_agent.launcher_client import LauncherBroken
from mesoslite_agent.post_mortems import PostMortems
from mesoslite_agent.protocol import (
    Abort,
    AbortStart,
    DestroyContainer,
    DropStream,
    Effect,
    Event,
    ForgetDirectory,
    ForgetFramework,
    ForgetOperation,
    ForgetReservation,
    ForgetTask,
    ForgetVolume,
    KeepPostMortem,
    LeaseContainers,
    MasterSpoke,
    Recovered,
    RemoveDirectory,
    SaveAcknowledgement,
    SaveEpoch,
    SaveFramework,
    SaveOperation,
    SaveReservation,
    SaveTask,
    SaveUpdate,
    SaveVolume,
    StartContainer,
    StopContainer,
    StreamLost,
    StreamOpened,
    Tick,
    ToExecutor,
    ToMaster,
    VolumeFull,
)
from mesoslite_agent.reading import Readers, newest_sandbox
from mesoslite_agent.settings import HTTP_PORT, AgentSettings
from mesoslite_agent.state import Agent, AgentConfig
from mesoslite_agent.tending import Tending
from mesoslite_agent.trouble import Trouble, without_room
from mesoslite_agent.volumes import Volumes

if TYPE_CHECKING:
    from mesoslite.http import HttpServer

PROGRAM = "mesoslite-agent"
ABOUT = "The agent: offers what this host has, and runs tasks in containers."
METHOD = "/mesoslite.v1.AgentService/Connect"
SECRET_SEED_BYTES = 32
WORK_DIR_MODE = 0o711  # tasks of other users reach their sandboxes through it
UNATTENDED_S = 30.0  # with --kill-on-exit: far more than a service manager takes to restart us
START_AGAIN_S = 1.0  # while the disk is full
SETTLE_S_MAX = 1.0  # after the start, when no master answers until then

log = structlog.get_logger("mesoslite.agent")


class Daemon:
    """One running agent: its machine, and all that does what the machine says."""

    def __init__(self, settings: AgentSettings, stopping: asyncio.Event, work_dir: WorkDir) -> None:
        """Recover what is on the disk. Raises StorageError, StartError, CommitError; blocks."""
        self._settings = settings
        self._kill_on_exit = settings.kill_on_exit
        self._stopping = stopping
        self._token_file = find_token_file(settings.token_file)
        self._clock = Clock()
        self._now_ms = self._clock.now_ms
        self._inbox: Inbox[Event] = Inbox(self._now_ms)
        self._health = Health()
        self._measures = LoopMeasures()
        self._heard = asyncio.Event()  # a master has answered
        self._streams = 0
        self._registered_on: int | None = None  # the number of the stream that is open
        self._checkpoint = Checkpoint(work_dir, settings.boot_id or host.boot_id())
        agent_id = self._checkpoint.agent_id
        self._containers = Containers(
            work_dir.path,
            agent_id,
            self._report,
            hidden=_hidden(self._token_file),
            unattended_s=UNATTENDED_S if settings.kill_on_exit else None,
            fetch_cache=(settings.fetch_cache, settings.fetch_cache_mb << 20),
        )
        recovered = self._checkpoint.recovered(
            AgentInfo(
                agent_id=agent_id,
                hostname=settings.hostname or host.hostname(),
                resources=(
                    host.detect_resources(work_dir.path)
                    if settings.resources is None  # none at all may be what is meant
                    else settings.resources
                ),
                attributes=settings.attributes,
                containerizers=_containerizers(settings.containerizers, self._containers),
                version=VERSION,
                region=settings.region,
                zone=settings.zone,
            )
        )
        if recovered.rebooted:  # the launcher tells too late: the first Tick ends what is not over
            journal = work_dir.path / "launcher" / "journal"
            recovered = replace(recovered, ends=before_reboot(journal))
        self._info = recovered.info
        self._agent = _machine(recovered, _config(settings, executor_address(agent_id)))
        self._take_up_configuration(rebooted=recovered.rebooted)
        self._executors = Executors(self._inbox)
        for record in recovered.tasks:
            self._executors.expect(record)
        self._link = self._new_link()
        self._post_mortems = PostMortems(work_dir.path, self._info, self._containers.sandbox)
        self._readers = Readers(
            functools.partial(newest_sandbox, work_dir.path),
            self._post_mortems.find,
            self._link.say_bulk,
        )
        self._trouble = Trouble(
            work_dir.path,
            self._health,
            lambda: self._containers.problem,
            lambda: self._registered_on,
            self._link.say,
            settings.heartbeat_s,
        )
        self._volumes = Volumes.of(work_dir.path)
        directories = self._agent.holdings.directories.values
        self._tending = Tending(self._volumes, directories, self._inbox.post)
        self._tending.begin(recovered.leaving)
        self._failure = ""

    def _take_up_configuration(self, *, rebooted: bool) -> None:
        """Come back as it was, or as it may be now. Raises StartError."""
        settings, before = self._settings, self._checkpoint.described()
        stated = {
            "hostname": bool(settings.hostname),
            "resources": settings.resources is not None,
            "containerizers": bool(settings.containerizers),
        }
        detected = frozenset(name for name, said in stated.items() if not said)
        if before is not None:
            found = reconfiguration.changes(before, self._info, detected=detected)
            live = () if rebooted else self._agent.ledger.containers.values()
            held = total_of(here.record.task.resources for here in live)
            why_not = reconfiguration.why_not(
                found,
                self._info,
                held,
                reconfigure=settings.reconfigure,
                has=self._agent.holdings.estate.total,
            )
            if why_not is not None:
                raise StartError(why_not)
            for change in found:
                tell = log.warning if change.takes_away else log.info
                tell("the agent's configuration has changed", what=str(change))
        if before != self._info:
            self._checkpoint.describe(self._info)

    def _new_link(self) -> Link[AgentSays, Event]:
        epoch_seen = 0

        def parse(data: bytes) -> Sequence[Event]:
            nonlocal epoch_seen
            response = agent_pb2.ConnectResponse.FromString(data)
            epoch_seen, events = agent_events_from_wire(response)
            self._heard.set()
            heard: list[Event] = []
            for event in events:
                if isinstance(event, FileRead):
                    self._readers.ask(event)
                else:
                    if isinstance(event, Registered):
                        self._registered_on = self._streams
                    heard.append(MasterSpoke(epoch_seen, event))
            return heard

        def opened() -> Event:
            self._streams += 1
            return StreamOpened()

        def lost(_why: str) -> Event:
            self._registered_on = None
            return StreamLost()

        ends: Ends[AgentSays, Event] = Ends(
            method=METHOD,
            pack=agent_requests,
            parse=parse,
            opened=opened,
            lost=lost,
            still_there=lambda: MasterSpoke(epoch_seen, Heartbeat()),
            denied=lambda _refusal, _why: None,
        )
        return Link(
            Locator(self._settings.master),
            ends,
            self._inbox,
            token=lambda: read_tokens(self._token_file).own,
            backoff=AGENT_BACKOFF,
            rng=random.Random(self._info.agent_id + secrets.token_hex(8)),
        )

    @property
    def why_not_ready(self) -> str:
        """Why no task can be launched here now, in one line; empty: registered, durable, and
        containers can be started."""
        if self._health.ready and not self._agent.registered:
            return f"not registered with the master, {self._settings.master}"
        return self._trouble.problem

    async def run(self) -> None:
        """Serve until stopped. Raises StartError, BindError and what the machine's loop raises."""
        settings = self._settings
        server = new_server(
            [self._executors.handler(), health_handler(lambda: not self.why_not_ready)]
        )
        bound = listen_on(server, settings.host, settings.port)
        port = chosen_port(settings.http_port, HTTP_PORT, settings.port)
        http = None if port is None else listen_http(settings.host, port)
        http_bound = None if http is None else port_of(http)
        server.add_insecure_port(executor_address(self._info.agent_id))
        with http or contextlib.nullcontext():
            try:
                await self._containers.recover(set(self._agent.container_ids()))
            except LauncherBroken as error:
                raise StartError(f"the launcher of containers cannot be used: {error}") from None
            async with started(server):
                with (
                    port_told(settings.http_port_file, http_bound),
                    port_told(settings.port_file, bound),  # the last: who waits for it has both
                ):
                    log.info(
                        "the agent is ready",
                        agent_id=self._info.agent_id,
                        address=f"{settings.host}:{bound}",
                        http_port=http_bound,
                        master=str(settings.master),
                        resources=str(self._info.resources),
                        containerizers=",".join(self._info.containerizers),
                    )
                    await self._work(server, http)

    async def _work(self, server: grpc.aio.Server, http: socket.socket | None) -> None:
        """Run the machine and its stream until stopped, then end both in order."""
        driving = asyncio.create_task(self._drive())
        linking = asyncio.create_task(self._link.run())
        collecting = asyncio.create_task(collect_for_ever(self._collect))
        stopped = asyncio.create_task(self._stopping.wait())
        settling = asyncio.create_task(self._settle(http))
        watching = asyncio.create_task(self._trouble.watch())
        measuring = asyncio.create_task(self._tending.measure())
        work = {driving, linking, settling, stopped}
        await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        self._health.why_not = "stopping"
        log.info("the agent is stopping", why=self._failure or "it was asked to")
        for task in (collecting, watching, measuring, stopped):
            task.cancel()
        await self._stop_speaking(linking)
        await server.stop(grace=0)
        self._inbox.close()
        await driving
        settling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await settling
        if linking.done() and not linking.cancelled():
            try:
                linking.result()
            except MalformedMessage as error:
                raise StartError(f"this agent cannot be described to a master: {error}") from None
        if self._failure:
            raise StartError(self._failure)

    async def _settle(self, http: socket.socket | None) -> None:
        """Do what can wait until the master has the agent back, then serve HTTP until cancelled.

        To import what serves HTTP, and to look for garbage among what was imported, takes as long
        as all that comes before the dial.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._heard.wait(), SETTLE_S_MAX)
        pages = None if http is None else await asyncio.to_thread(self._http, http)
        async with pages or contextlib.nullcontext():
            settle_memory()
            await asyncio.Event().wait()

    def _http(self, listening: socket.socket) -> HttpServer:
        """What serves the HTTP port. Blocks for its imports, ~60 ms."""
        from mesoslite.http import HttpServer, Pages
        from mesoslite.metrics import Exposition, Innards
        from mesoslite_agent.metrics import AgentMetrics

        settings = self._settings
        innards = Innards(
            self._health, self._measures, self._checkpoint.measures, lambda: len(self._inbox)
        )
        metrics = AgentMetrics(
            self._agent.ledger,
            self._agent.holdings,
            innards,
            containerizers=self._info.containerizers,
            work_dir=settings.work_dir,
            why_not_ready=lambda: self.why_not_ready,
            launcher_up=lambda: self._containers.problem is None,
            troubled=lambda: bool(self._trouble.problem),
            link=self._link,
        )
        pages = Pages(
            program=PROGRAM,
            why_not_ready=lambda: self.why_not_ready,
            metrics=Exposition(metrics.families).text,
            tokens=None if settings.open_metrics else lambda: read_tokens(self._token_file),
        )
        return HttpServer(listening, pages)

    async def _drive(self) -> None:
        await drive(
            self._agent,
            self._inbox,
            Tick,
            self._commit,
            self._perform,
            self._now_ms,
            health=self._health,
            measures=self._measures,
        )

    async def _commit(self, effects: Sequence[Effect]) -> None:
        """The directories of new volumes first: what is on record is there. Raises CommitError."""
        new = [effect.record.directory for effect in effects if type(effect) is SaveVolume]
        try:
            for directory in new:
                await asyncio.to_thread(self._volumes.make, directory)
        except OSError as error:
            raise CommitError(f"no volume can be made: {error}") from error
        await self._checkpoint.commit(effects)

    async def _stop_speaking(self, linking: asyncio.Task[None]) -> None:
        """Say what was to be said, then let the master see the stream end."""
        self._link.close()
        if not self._link.connected:
            linking.cancel()
        await asyncio.wait({linking}, timeout=2 * CLOSE_S)
        linking.cancel()
        await asyncio.gather(linking, return_exceptions=True)
        await self._readers.close()

    async def _collect(self) -> list[Path]:
        """Remove old sandboxes."""
        return await self._containers.collect_sandboxes(
            time.time(), self._agent.container_ids(), self._settings.sandbox_age_s
        )

    async def close(self) -> None:
        """Let go of containers, or end them if so set, and of the checkpoint."""
        await self._tending.close()
        await self._containers.close(kill=self._kill_on_exit)
        self._post_mortems.close()
        self._checkpoint.close()

    def _report(self, event: ContainerEvent) -> None:
        """A phase of a start matters only when it lasts: it waits for the next event."""
        if isinstance(event, ContainerPhase):
            self._inbox.post_patiently(event)
        else:
            self._inbox.post(event)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case ToMaster(call):
                self._link.say(call)
            case DropStream(why):
                self._link.drop(why)
            case Abort(why, empty):
                self._failure = f"the master does not take this agent: {why}"
                self._kill_on_exit |= empty
                self._stopping.set()
            case StartContainer(spec, until_ms):
                until_s = None if until_ms is None else self._clock.boot_s(until_ms)
                self._containers.start(spec, until_s)
            case LeaseContainers(container_ids, until_ms):
                self._containers.lease(container_ids, self._clock.boot_s(until_ms))
            case StopContainer(container_id, number):
                self._containers.stop(container_id, number)
            case AbortStart(container_id):
                self._containers.abort(container_id)
            case DestroyContainer(container_id):
                self._containers.destroy(container_id)
                self._executors.forget(container_id)
            case KeepPostMortem():
                self._post_mortems.keep(effect)
            case ToExecutor(container_id, data):
                self._executors.say(container_id, data)
            case SaveTask(record):
                self._executors.expect(record)
            case RemoveDirectory(directory):
                self._tending.remove(directory)
            case VolumeFull(role, volume_id, used_bytes, size_bytes):
                log.warning(
                    "a volume is full",
                    volume=volume_id,
                    role=role,
                    used_bytes=used_bytes,
                    size_bytes=size_bytes,
                )
            case (
                SaveEpoch()
                | SaveFramework()
                | ForgetFramework()
                | SaveUpdate()
                | SaveAcknowledgement()
                | ForgetTask()
                | SaveReservation()
                | ForgetReservation()
                | SaveVolume()
                | ForgetVolume()
                | ForgetDirectory()
                | SaveOperation()
                | ForgetOperation()
            ):
                pass  # committed before
            case _:
                assert_never(effect)


def _machine(recovered: Recovered, config: AgentConfig) -> Agent:
    """Raises StartError when more is reserved than there is now."""
    try:
        return Agent(recovered, config)
    except InvalidEstate as error:
        why = reconfiguration.why_not_reserved(str(error), recovered.info)
        raise StartError(why) from None


def _config(settings: AgentSettings, executor_socket: str) -> AgentConfig:
    return AgentConfig(
        secret_seed=secrets.token_bytes(SECRET_SEED_BYTES),
        executor_socket=executor_socket,
        user=_own_user(),
        allowed_users=frozenset(settings.allow_user),
        pids_limit=settings.pids_limit,
        fetch_max_ms=round(settings.fetch_timeout_s * 1_000),
        root_max_ms=round(settings.root_timeout_s * 1_000),
        spawn_max_ms=round(settings.spawn_timeout_s * 1_000),
        heartbeat_ms=round(settings.heartbeat_s * 1_000),
        silence_ms=round(settings.silence_s * 1_000),
    )


def _own_user() -> str:
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _containerizers(wanted: tuple[str, ...], containers: Containers) -> tuple[str, ...]:
    """What to advertise, the default first. Raises StartError for one that does not work here."""
    for name in wanted:
        if (why := containers.why_not(name)) is not None:
            raise StartError(f"containerizer {name}: {why}")
    if wanted:
        return wanted
    available = containers.available()
    if "oci" not in available:
        log.warning("tasks run as plain processes", why=containers.why_not("oci"))
    return available


def _hidden(token_file: Path) -> tuple[Path, ...]:
    """What tasks shall not see of the host: the token's folder if it has one of its own, else it.

    Both where it is named and where it is, when that is a link.
    """
    tmp = Path("/tmp")  # noqa: S108
    shared = {Path.home(), tmp, *(Path(top) for top in ("/etc", "/run", "/var", "/"))}
    places = dict.fromkeys((token_file.absolute(), token_file.resolve()))
    return tuple(place if place.parent in shared else place.parent for place in places)


async def serve(settings: AgentSettings, stopping: asyncio.Event) -> None:
    """Run an agent until `stopping` is set, or the master will never take it."""
    check_host(settings.host, insecure=settings.insecure)
    opened = await _opened(settings, stopping)
    if opened is None:
        return
    work_dir, daemon = opened
    try:
        await daemon.run()
    finally:
        await daemon.close()
        work_dir.close()


async def _opened(
    settings: AgentSettings, stopping: asyncio.Event
) -> tuple[WorkDir, Daemon] | None:
    """The agent of a work directory, once there is room for it to write; None: it was stopped.

    One that was killed on a full disk would else be given up by its service manager after a few
    attempts, and never come back to what it runs.
    """
    told = False
    while not stopping.is_set():
        try:
            return _open(settings, stopping)
        except (StorageError, CommitError) as error:
            if not without_room(settings.work_dir):
                raise
            if not told:
                log.warning("the agent starts when there is room on the disk", why=str(error))
                settle_memory()  # that may be long, and each attempt leaves garbage
            told = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), START_AGAIN_S)
    return None


def _open(settings: AgentSettings, stopping: asyncio.Event) -> tuple[WorkDir, Daemon]:
    work_dir = WorkDir(settings.work_dir, "agent", mode=WORK_DIR_MODE)
    try:
        return work_dir, Daemon(settings, stopping, work_dir)
    except BaseException:
        work_dir.close()
        raise


def main() -> None:
    """The console script."""
    sys.exit(
        run_daemon(
            AgentSettings,
            serve,
            program=PROGRAM,
            table="agent",
            about=ABOUT,
            arguments=sys.argv[1:],
        )
    )


if __name__ == "__main__":
    main()
