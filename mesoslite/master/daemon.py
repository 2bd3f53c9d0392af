"""`mesoslite-master`: the master as a program."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import sys
from collections.abc import AsyncIterator, Callable

import grpc
import structlog
from prometheus_client.core import Metric

from mesoslite.clock import Clock
from mesoslite.credentials import Tokens, find_token_file, make_token_file, read_tokens
from mesoslite.daemon import (
    Resigned,
    StartError,
    check_host,
    port_told,
    run_daemon,
    settle_memory,
)
from mesoslite.database import WorkDir
from mesoslite.health import HEALTH_METHOD, health_handler
from mesoslite.http import HttpServer, Pages
from mesoslite.loop import CommitError, Health, Inbox, drive
from mesoslite.master.election import Candidate, Seat, card
from mesoslite.master.front import Front
from mesoslite.master.metrics import MasterMeasures, MasterMetrics
from mesoslite.master.protocol import Event, Tick
from mesoslite.master.registry import FILE_NAME, Registry, SqliteRegistry
from mesoslite.master.server import Streams
from mesoslite.master.settings import HTTP_PORT, MasterSettings
from mesoslite.master.state import Master
from mesoslite.master.zookeeper import ZooKeeperRegistry
from mesoslite.masters import Ensemble, NoMasterError, new_client
from mesoslite.measures import CommitMeasures, LoopMeasures
from mesoslite.metrics import Exposition, Innards
from mesoslite.serving import TokenCheck, listen_http, listen_on, new_server, started
from mesoslite.settings import chosen_port
from mesoslite.streams import CLOSE_S
from mesoslite.version import VERSION

PROGRAM = "mesoslite-master"
ABOUT = "The master: takes what agents advertise and offers it to frameworks."
COMMIT_DEADLINE_S = 20.0  # a master that cannot write its registry makes room (D6)

log = structlog.get_logger("mesoslite.master")


class _Term:
    """One turn of leading: the machine, and all that does what it says."""

    def __init__(
        self, settings: MasterSettings, tokens: Tokens, registry: Registry, seat: Seat | None
    ) -> None:
        """`seat`: in the election that was won, if there is one."""
        self.registry = registry
        self.seat = seat
        self.health = Health()
        self._now_ms = Clock().now_ms
        self._inbox: Inbox[Event] = Inbox(self._now_ms)
        self._master = Master(registry.recovered, settings.config())
        self._measures = MasterMeasures(self._master.tables)
        self.streams = Streams(
            self._master.tables,
            self._inbox,
            tokens,
            started_ms=self._now_ms(),
            may_speak=None if seat is None else seat.may_speak,
        )
        innards = Innards(self.health, self._measures, registry.measures, lambda: len(self._inbox))
        self.metrics = MasterMetrics(
            self._master.tables, self.streams, self._measures, innards
        ).families

    @property
    def why_not_ready(self) -> str:
        """Why it can not do its work now; empty: it can."""
        if self.seat is not None and self.seat.silent_s > self.seat.session_s / 3:
            return f"ZooKeeper has not answered for {self.seat.silent_s:.1f} s"
        return self.health.why_not

    async def drive(self) -> None:
        """Run the machine until `close`. Raises CommitError or Resigned."""
        await drive(
            self._master,
            self._inbox,
            Tick,
            self.registry.commit,
            self.streams.perform,
            self._now_ms,
            health=self.health,
            measures=self._measures,
            commit_deadline_s=COMMIT_DEADLINE_S,
        )

    def close(self) -> None:
        """The machine handles what is in, then `drive` returns."""
        self._inbox.close()


class _Daemon:
    """One running master: its ports, and its turn when it leads."""

    def __init__(self, settings: MasterSettings, work_dir: WorkDir) -> None:
        """Recover what is on the disk. Raises StorageError, TokenFileError, CommitError; blocks."""
        self._settings = settings
        self._tokens = _tokens(settings)
        self._why_not = "starting"
        self._candidate: Candidate | None = None
        self._term: _Term | None = None
        self._front = Front(lambda: self._candidate.leader if self._candidate is not None else "")
        if settings.zk is None:
            self._term = _Term(
                settings, self._tokens, SqliteRegistry(work_dir, epoch_min=settings.epoch_min), None
            )

    @property
    def why_not_ready(self) -> str:
        """Why it can not do its work now, in one line; empty: it can."""
        if self._why_not:
            return self._why_not
        if self._term is not None:
            return self._term.why_not_ready
        return self._candidate.why_not if self._candidate is not None else "starting"

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until stopped. Raises BindError, Resigned and what the machine's loop raises."""
        settings = self._settings
        server = new_server(
            [self._front, health_handler(lambda: not self.why_not_ready)],
            TokenCheck(self._tokens, open_methods=frozenset({HEALTH_METHOD})),
        )
        bound = listen_on(server, settings.host, settings.port)
        http = self._http()
        if self._term is not None:
            self._front.open(self._term.streams.handlers())
        async with started(server), http or contextlib.nullcontext():
            http_bound = http.port if http is not None else None
            with (
                port_told(settings.http_port_file, http_bound),
                port_told(settings.port_file, bound),  # the last: who waits for it has both
            ):
                log.info(
                    "the master is ready"
                    if settings.zk is None
                    else f"the master waits for ZooKeeper at {settings.zk.hosts}",
                    address=f"{settings.host}:{bound}",
                    http_port=http_bound,
                    version=VERSION,
                    work_dir=str(settings.work_dir),
                )
                self._why_not = ""
                if self._term is not None:
                    await self._lead(self._term, server, stopping)
                elif settings.zk is not None:
                    address = settings.advertise or f"{settings.host}:{bound}"
                    await self._compete(settings.zk, address, http_bound, server, stopping)

    async def _compete(
        self,
        ensemble: Ensemble,
        address: str,
        http_port: int | None,
        server: grpc.aio.Server,
        stopping: asyncio.Event,
    ) -> None:
        """Follow until it leads, then lead until stopped. Raises Resigned."""
        settle_memory()  # it may follow for weeks, and its start has turned the collector off
        data = card(secrets.token_hex(16), address, address.rpartition(":")[0], http_port)
        candidate = self._candidate = Candidate(ensemble, self._settings.zk_session_s, data)
        winning = asyncio.create_task(candidate.won())
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({winning, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not winning.done():
            winning.cancel()
            await asyncio.gather(winning, return_exceptions=True)
            return
        seat = winning.result()
        log.info("this master is elected", node=seat.node)
        keeping = asyncio.create_task(seat.keep())
        try:
            registry = await ZooKeeperRegistry.opened(seat)
            self._term = _Term(self._settings, self._tokens, registry, seat)
            self._front.open(self._term.streams.handlers())
            log.info("this master leads", address=address)
            await self._lead(self._term, server, stopping, keeping)
        finally:
            keeping.cancel()
            await seat.leave()

    async def _lead(
        self,
        term: _Term,
        server: grpc.aio.Server,
        stopping: asyncio.Event,
        keeping: asyncio.Task[None] | None = None,
    ) -> None:
        """Until stopped. `keeping`: of the seat; its end, for whatever reason, is the turn's."""
        recovered = term.registry.recovered
        log.info(
            "what an earlier master left",
            epoch=recovered.epoch,
            agents=len(recovered.agents),
            frameworks=len(recovered.frameworks),
        )
        driving = asyncio.create_task(term.drive())
        signs = {asyncio.create_task(stopping.wait())}
        if term.seat is not None:
            signs.add(asyncio.create_task(term.seat.lost.wait()))
        settle_memory()
        ends = {driving, *signs, *([keeping] if keeping is not None else [])}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for sign in signs:
            sign.cancel()
        if keeping is not None and keeping.done():
            keeping.result()
        self._why_not = "stopping"
        if term.seat is not None:
            await self._check_turn(term.seat, driving, server)
        log.info("the master is stopping")
        # No new calls from now on; what was said on the streams is still written.
        closing = asyncio.create_task(server.stop(grace=CLOSE_S))
        await asyncio.sleep(0)
        term.streams.close()
        await closing
        term.close()
        await driving

    @staticmethod
    async def _check_turn(seat: Seat, driving: asyncio.Task[None], server: grpc.aio.Server) -> None:
        """Raises Resigned when its turn is over: then not a word more is said, in no order."""
        error = driving.exception() if driving.done() else None
        if isinstance(error, CommitError | Resigned):
            seat.give_up(str(error))
        if seat.lost.is_set():
            driving.cancel()
            # gRPC would show a traceback for each stream that is cut now.
            logging.getLogger("grpc").setLevel(logging.CRITICAL)
            await server.stop(grace=None)
            raise Resigned(f"this master leads no more: {seat.why_lost}")

    def _http(self) -> HttpServer | None:
        """The HTTP port, bound; None if there shall be none. Raises BindError."""
        settings = self._settings
        port = chosen_port(settings.http_port, HTTP_PORT, settings.port)
        if port is None:
            return None
        pages = Pages(
            program=PROGRAM,
            why_not_ready=lambda: self.why_not_ready,
            metrics=Exposition(self._families).text,
            tokens=None if settings.open_metrics else lambda: self._tokens,
        )
        return HttpServer(listen_http(settings.host, port), pages)

    async def _families(self) -> AsyncIterator[list[Metric]]:
        """Of the turn; of a follower what every daemon has."""
        if self._term is None:
            nothing: Callable[[], int] = lambda: 0  # noqa: E731
            innards = Innards(Health(), LoopMeasures(), CommitMeasures(), nothing)
            yield [*innards.families(ready=False)]
            return
        async for group in self._term.metrics():
            yield group

    def close(self) -> None:
        """Finish what is being written. Blocks."""
        if self._term is not None:
            self._term.registry.close()


def _tokens(settings: MasterSettings) -> Tokens:
    """Who may call. Raises TokenFileError, StartError."""
    token_file = find_token_file(settings.token_file)
    if settings.zk is not None and not token_file.exists():
        raise StartError(
            f"there is no token file {token_file}, and the masters of one cluster share a token: "
            "copy it from another of them, or make the first as docs/high-availability.md shows"
        )
    if make_token_file(token_file):
        log.info("made a token", file=str(token_file))
    return read_tokens(token_file)


def _check_alone_or_elected(settings: MasterSettings) -> None:
    """A registry is in one place. Raises StartError."""
    if settings.zk is None:
        return
    try:
        new_client(settings.zk, settings.zk_session_s)
    except NoMasterError as error:
        raise StartError(str(error)) from None
    alone = settings.work_dir / FILE_NAME
    if alone.exists():
        raise StartError(
            f"{alone} is the registry of a master that was alone; with --zk it is in ZooKeeper: "
            "give another --work-dir"
        )


async def serve(settings: MasterSettings, stopping: asyncio.Event) -> None:
    """Run a master until `stopping` is set, or its registry cannot be written for 20 s."""
    check_host(settings.host, insecure=settings.insecure)
    _check_alone_or_elected(settings)
    work_dir = WorkDir(settings.work_dir, "master")
    try:
        daemon = _Daemon(settings, work_dir)
        try:
            await daemon.run(stopping)
        finally:
            daemon.close()
    finally:
        work_dir.close()


def main() -> None:
    """The console script."""
    sys.exit(
        run_daemon(
            MasterSettings,
            serve,
            program=PROGRAM,
            table="master",
            about=ABOUT,
            arguments=sys.argv[1:],
        )
    )


if __name__ == "__main__":
    main()
