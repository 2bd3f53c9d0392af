"""`mesoslite-master`: the master as a program."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from mesoslite.clock import Clock
from mesoslite.credentials import find_token_file, make_token_file, read_tokens
from mesoslite.daemon import (
    check_host,
    check_silence,
    port_told,
    run_daemon,
    settle_memory,
    state_dir,
)
from mesoslite.database import WorkDir
from mesoslite.health import HEALTH_METHOD, health_handler
from mesoslite.http import HttpServer, Pages
from mesoslite.logs import FORMATS, LEVELS
from mesoslite.loop import Health, Inbox, drive
from mesoslite.master.metrics import MasterMeasures, MasterMetrics
from mesoslite.master.protocol import Event, Tick
from mesoslite.master.registry import Registry, SqliteRegistry
from mesoslite.master.server import Streams
from mesoslite.master.state import Master, MasterConfig
from mesoslite.metrics import Exposition, Innards
from mesoslite.serving import TokenCheck, listen_http, listen_on, new_server, started
from mesoslite.settings import (
    chosen_port,
    http_port_file_setting,
    http_port_setting,
    one_of,
    open_metrics_setting,
    optional_path,
    path,
    port,
    seconds,
    setting,
    show_number,
    show_optional_path,
    show_switch,
    switch,
    text,
    whole,
)
from mesoslite.spelling import why_not_role
from mesoslite.streams import CLOSE_S
from mesoslite.version import VERSION

PROGRAM = "mesoslite-master"
ABOUT = "The master: takes what agents advertise and offers it to frameworks."
COMMIT_DEADLINE_S = 20.0  # a master that cannot write its registry makes room (D6)
HTTP_PORT = 5050  # as Mesos's
WEIGHT_MAX = 1_000_000.0
DEFAULTS = MasterConfig()

Weights = tuple[tuple[str, float], ...]

log = structlog.get_logger("mesoslite.master")


def weights(value: str) -> Weights:
    """`role=weight` between commas; a weight has at most three decimals."""
    found: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in value.split(","))):
        role, equals, number = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r} is not role=weight")
        if (why := why_not_role(role)) is not None:
            raise ValueError(why)
        if role in found:
            raise ValueError(f"the role {role!r} is there twice")
        try:
            weight = float(number)
        except ValueError:
            raise ValueError(f"the weight {number!r} is not a number") from None
        if not 0.001 <= weight <= WEIGHT_MAX or round(weight, 3) != weight:
            raise ValueError(
                f"the weight {number!r} is not from 0.001 to {WEIGHT_MAX:,.0f} in thousandths"
            )
        found[role] = weight
    return tuple(found.items())


def show_weights(value: Weights) -> str:
    """As `weights` reads it."""
    return ",".join(f"{role}={show_number(weight)}" for role, weight in value)


def _seconds(default_ms: int, about: str) -> float:
    return setting(
        default_ms / 1_000,
        seconds(0.05, 10**8),
        f"{about} (default {default_ms / 1_000:g})",
        metavar="SECONDS",
        show=show_number,
    )


@dataclass(frozen=True, slots=True)
class MasterSettings:
    """The flags of `mesoslite-master`."""

    host: str = setting("127.0.0.1", text, "the address to listen on (default 127.0.0.1)")
    port: int = setting(5060, port, "the port; 0: any free one (default 5060)", metavar="PORT")
    port_file: Path | None = setting(
        None,
        optional_path,
        "write the port there once it is served",
        metavar="FILE",
        show=show_optional_path,
    )
    http_port: str = http_port_setting(HTTP_PORT)
    http_port_file: Path | None = http_port_file_setting()
    open_metrics: bool = open_metrics_setting()
    work_dir: Path = setting(
        state_dir("master"),
        path,
        "where the registry is (default ~/.local/state/mesoslite/master)",
        metavar="DIR",
    )
    token_file: Path | None = setting(
        None,
        optional_path,
        "the token of all who connect, made when there is none (default ~/.config/mesoslite/token)",
        metavar="FILE",
        show=show_optional_path,
    )
    insecure: bool = setting(
        False,
        switch,
        "allow a --host that others can reach, without encryption",
        metavar="BOOL",
        show=show_switch,
    )
    log_format: str = setting("text", one_of(*FORMATS), "text or json (default text)")
    log_level: str = setting(
        "info", one_of(*LEVELS), "debug, info, warning or error (default info)"
    )
    stop_with_stdin: bool = setting(
        False,
        switch,
        "stop when stdin, a pipe, ends: whoever started this has gone",
        metavar="BOOL",
        show=show_switch,
    )
    weights: Weights = setting(
        (),
        weights,
        "fair shares of roles, as ads=2,web=1; 1 where none is given",
        metavar="ROLE=WEIGHT,...",
        show=show_weights,
    )
    offer_lease_s: float = _seconds(DEFAULTS.offer_lease_ms, "how long an offer stands")
    offers_max: int = setting(
        DEFAULTS.offers_outstanding_max,
        whole(1, 1_000_000),
        f"offers that a framework may have at a time (default {DEFAULTS.offers_outstanding_max:,})",
        metavar="COUNT",
    )
    refuse_floor_s: float = setting(
        DEFAULTS.refuse_floor_ms / 1_000,
        seconds(0, 3_600),
        "the least that refusals of a framework hold which gives offers back in a loop; 0: no such "
        f"bound (default {DEFAULTS.refuse_floor_ms / 1_000:g})",
        metavar="SECONDS",
        show=show_number,
    )
    revives_per_s: int = setting(
        DEFAULTS.revives_per_s,
        whole(1, 1_000_000),
        f"revives of a framework that take effect, beyond {DEFAULTS.revives_max} at once "
        f"(default {DEFAULTS.revives_per_s})",
        metavar="COUNT",
    )
    heartbeat_s: float = _seconds(DEFAULTS.heartbeat_ms, "between two heartbeats of a peer")
    silence_s: float = _seconds(DEFAULTS.silence_ms, "without one until a peer counts as gone")
    reregister_s: float = _seconds(
        DEFAULTS.reregister_ms, "until agents known from before a restart count as unreachable"
    )

    def __post_init__(self) -> None:
        check_silence(self.heartbeat_s, self.silence_s)

    def config(self) -> MasterConfig:
        """What of it is the machine's."""
        thousandths: Mapping[str, int] = {
            role: round(weight * 1_000) for role, weight in self.weights
        }
        return MasterConfig(
            weights=thousandths,
            offer_lease_ms=round(self.offer_lease_s * 1_000),
            offers_outstanding_max=self.offers_max,
            refuse_floor_ms=round(self.refuse_floor_s * 1_000),
            revives_per_s=self.revives_per_s,
            heartbeat_ms=round(self.heartbeat_s * 1_000),
            silence_ms=round(self.silence_s * 1_000),
            reregister_ms=round(self.reregister_s * 1_000),
        )


class _Daemon:
    """One running master: its machine, and all that does what the machine says."""

    def __init__(self, settings: MasterSettings, work_dir: WorkDir) -> None:
        """Recover what is on the disk. Raises StorageError, TokenFileError, CommitError; blocks."""
        self._settings = settings
        token_file = find_token_file(settings.token_file)
        if make_token_file(token_file):
            log.info("made a token", file=str(token_file))
        self._tokens = read_tokens(token_file)
        self._registry: Registry = SqliteRegistry(work_dir)
        self._now_ms = Clock().now_ms
        self._inbox: Inbox[Event] = Inbox(self._now_ms)
        self._health = Health()
        self._master = Master(self._registry.recovered, settings.config())
        self._measures = MasterMeasures(self._master.tables)
        self._streams = Streams(
            self._master.tables, self._inbox, self._tokens, started_ms=self._now_ms()
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until stopped. Raises StartError, BindError and what the machine's loop raises."""
        settings = self._settings
        server = new_server(
            [*self._streams.handlers(), health_handler(lambda: self._health.ready)],
            TokenCheck(self._tokens, open_methods=frozenset({HEALTH_METHOD})),
        )
        bound = listen_on(server, settings.host, settings.port)
        http = self._http()
        async with started(server), http or contextlib.nullcontext():
            driving = asyncio.create_task(self._drive())
            stopped = asyncio.create_task(stopping.wait())
            http_bound = http.port if http is not None else None
            with (
                port_told(settings.http_port_file, http_bound),
                port_told(settings.port_file, bound),  # the last: who waits for it has both
            ):
                log.info(
                    "the master is ready",
                    address=f"{settings.host}:{bound}",
                    http_port=http_bound,
                    epoch=self._registry.recovered.epoch,
                    version=VERSION,
                    work_dir=str(settings.work_dir),
                )
                settle_memory()
                await asyncio.wait({driving, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            self._health.why_not = "stopping"
            log.info("the master is stopping")
            # No new calls from now on; what was said on the streams is still written.
            closing = asyncio.create_task(server.stop(grace=CLOSE_S))
            await asyncio.sleep(0)
            self._streams.close()
            await closing
            self._inbox.close()
            await driving

    async def _drive(self) -> None:
        await drive(
            self._master,
            self._inbox,
            Tick,
            self._registry.commit,
            self._streams.perform,
            self._now_ms,
            health=self._health,
            measures=self._measures,
            commit_deadline_s=COMMIT_DEADLINE_S,
        )

    def _http(self) -> HttpServer | None:
        """The HTTP port, bound; None if there shall be none. Raises BindError."""
        settings = self._settings
        port = chosen_port(settings.http_port, HTTP_PORT, settings.port)
        if port is None:
            return None
        innards = Innards(
            self._health, self._measures, self._registry.measures, lambda: len(self._inbox)
        )
        metrics = MasterMetrics(self._master.tables, self._streams, self._measures, innards)
        pages = Pages(
            program=PROGRAM,
            why_not_ready=lambda: self._health.why_not,
            metrics=Exposition(metrics.families).text,
            tokens=None if settings.open_metrics else lambda: self._tokens,
        )
        return HttpServer(listen_http(settings.host, port), pages)

    def close(self) -> None:
        """Finish what is being written. Blocks."""
        self._registry.close()


async def serve(settings: MasterSettings, stopping: asyncio.Event) -> None:
    """Run a master until `stopping` is set, or its registry cannot be written for 20 s."""
    check_host(settings.host, insecure=settings.insecure)
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
