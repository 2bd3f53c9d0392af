"""`mesoslite dev`: a cluster on this machine, for as long as the command runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mesoslite.cli.amounts import amount, size
from mesoslite.cli.cluster import Cluster, ClusterOptions, Host
from mesoslite.cli.console import Code, Failure, console, emit, note, write
from mesoslite.cli.inside import check_command, open_pipe, run_inside
from mesoslite.cli.relay import Relay
from mesoslite.credentials import find_token_file
from mesoslite.logs import FORMATS
from mesoslite.settings import NO_PORT

PORT, HTTP_PORT = 5060, 5050  # where a master is looked for
COMMAND_BYTES_MAX = 4_096
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HELP = """\
  hosts          what runs
  kill-host N    power off: the agent, its launcher and all its containers die at once
  start-host N   power on: the agent comes back as after a reboot
  help           this
  Ctrl-C         end everything"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevOptions:
    """The command line of `mesoslite dev`."""

    agents: int
    port: int
    http_port: str | None
    port_file: Path | None
    work_dir: Path | None
    token_file: Path | None
    cpus: str | None
    mem: str | None
    disk: str | None
    containerizer: str | None
    log_format: str
    verbose: bool
    command: Sequence[str] = ()
    """What to run in it; empty: it runs until it is told to stop."""


def dev(options: DevOptions) -> int:
    """Run the cluster until it is told to stop, or as long as its command runs: then the exit code
    is the command's. 1 when it could not go on."""
    if options.log_format not in FORMATS:
        raise Failure(Code.USAGE, f"--log-format is one of {', '.join(FORMATS)}")
    if options.command:
        check_command(options.command)
        return asyncio.run(_dev(options))
    # In the background of a shell a read from the terminal would stop us; ignored, the read fails.
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    return asyncio.run(_dev(options))


async def _dev(options: DevOptions) -> int:
    relay = Relay(options.log_format, verbose=options.verbose)
    cluster = Cluster(
        ClusterOptions(
            agents=options.agents,
            port=options.port,
            http_port=_http_port(options),
            work_dir=options.work_dir,
            token_file=find_token_file(options.token_file),
            cpus=options.cpus,
            mem=options.mem,
            disk=options.disk,
            containerizer=options.containerizer,
        ),
        relay,
    )
    cluster.on_agent_lost = _agent_lost
    if options.port_file is not None:
        options.port_file.unlink(missing_ok=True)  # of one that was killed
    code: int = Code.OK
    with stop_signals(cluster.hurry) as stopped:
        noun = "1 agent" if options.agents == 1 else f"{options.agents} agents"
        note(f"starting a master and {noun} ...")
        async with opened(cluster, stopped, relay):
            if not stopped.done():
                if options.port_file is not None:
                    _write_port(options.port_file, cluster.port)
                code = await _use(cluster, options, stopped, relay)
                note("stopping ...")
    if options.port_file is not None:
        options.port_file.unlink(missing_ok=True)
    if cluster.lost.done():
        raise Failure(Code.FAILED, cluster.lost.result())
    return code


async def _use(
    cluster: Cluster, options: DevOptions, stopped: asyncio.Future[int], relay: Relay
) -> int:
    """Be there for whoever types, or for the command; the exit code."""
    _introduce(cluster)
    if not options.command:
        _tell_how(cluster)
        reading = asyncio.create_task(_obey(cluster, 0, note))
        await asyncio.wait((stopped, cluster.lost), return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        return Code.OK
    relay.muted = not options.verbose  # the terminal is the command's
    pipe, reading_end = open_pipe(cluster)
    reading = asyncio.create_task(_obey(cluster, reading_end, lambda told: None))
    try:
        return await run_inside(cluster, options.command, pipe, stopped)
    finally:
        reading.cancel()


def _http_port(options: DevOptions) -> str:
    """A cluster that is not at the usual port leaves the usual port of HTTP to the one that is."""
    if options.http_port is not None:
        return options.http_port
    return str(HTTP_PORT) if options.port == PORT else "0"


@contextlib.contextmanager
def stop_signals(hurry: Callable[[], None]) -> Iterator[asyncio.Future[int]]:
    """A future that the first Ctrl-C or SIGTERM fulfils; at the next one `hurry` is called."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(number: int) -> None:
        if stopped.done():
            hurry()
        else:
            stopped.set_result(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        yield stopped
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def opened(
    cluster: Cluster, stopped: asyncio.Future[int], relay: Relay
) -> AsyncIterator[None]:
    """The cluster, open; a stop while it starts is obeyed at once, with everything cleaned up."""
    opening = asyncio.ensure_future(cluster.__aenter__())
    await asyncio.wait((opening, stopped), return_when=asyncio.FIRST_COMPLETED)
    if not opening.done():
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opening
        yield
        return
    opening.result()
    try:
        yield
    finally:
        # The end of each is wanted: what the others say about it is no news.
        relay.muted = True
        await cluster.close()


def _agent_lost(host: Host, why: str) -> None:
    back = f"`start-host {host.number}` brings it back as from a reboot, which ends them"
    note(f"mesoslite: {why}; its containers run on; {back}")


def _write_port(path: Path, port: int) -> None:
    """Whole or not at all: who waits for the file never reads half a number."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(f"{port}\n")
        draft.replace(path)
    except OSError as error:
        raise Failure(Code.FAILED, f"cannot write {path}: {error.strerror}") from None


def _introduce(cluster: Cluster) -> None:
    """What there is."""
    from rich.text import Text

    out = console(sys.stderr)
    least = cluster.hosts[-1].resources
    has = f"{amount(least)}, {size(least.scalar('disk'))} disk"
    count = len(cluster.hosts)
    plural = f"1 agent with {has}" if count == 1 else f"{count} agents, each with {has}"
    out.print(
        Text.assemble(
            ("ready: ", "bold green"), (f"master at {cluster.master}", "bold"), f", {plural}"
        ),
        soft_wrap=True,
    )
    if cluster.http_port is not None:
        at = ", ".join(str(host.http_port) for host in cluster.hosts)
        out.print(
            Text.assemble(
                ("http: ", "bold"),
                f"master at http://localhost:{cluster.http_port}, ",
                f"{'the agent' if count == 1 else 'agents'} at {at}: /readyz, /metrics",
            ),
            soft_wrap=True,
        )


def _tell_how(cluster: Cluster) -> None:
    """How to use it: on stdout what a shell may evaluate, on stderr the rest."""
    from rich.text import Text

    out = console(sys.stderr)
    emit(f"export MESOSLITE_MASTER={cluster.master}")
    emit(f"export MESOSLITE_TOKEN_FILE={cluster.token_file}")
    out.print(
        Text.assemble(
            ("try: ", "bold"),
            "mesoslite run --cpus 0.1 --mem 32 -- echo hello",
            ("   Ctrl-C ends everything", "dim"),
            ("   help lists what can be typed here" if sys.stdin.isatty() else "", "dim"),
        ),
        soft_wrap=True,
    )


# --- commands on stdin ----------------------------------------------------------------------------


async def _obey(cluster: Cluster, source: int, tell: Callable[[str], None]) -> None:
    """Carry out what is typed, one line after another, as long as there is somebody who types."""
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_read_lines, args=(loop, lines, source), daemon=True).start()
    while True:
        words = (await lines.get()).split()
        if words:
            try:
                await _carry_out(cluster, words, tell)
            except Failure as failure:
                note(f"mesoslite: {failure}")
            except TimeoutError as error:
                note(f"mesoslite: {error}")


def _read_lines(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[str], source: int) -> None:
    rest = b""
    while True:
        try:
            data = os.read(source, COMMAND_BYTES_MAX)
        except OSError:
            return
        if not data or len(rest) > COMMAND_BYTES_MAX:
            return
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            with contextlib.suppress(RuntimeError):  # the loop is over
                loop.call_soon_threadsafe(lines.put_nowait, line.decode(errors="replace"))


async def _carry_out(cluster: Cluster, words: list[str], tell: Callable[[str], None]) -> None:
    commands: dict[str, Callable[[Cluster, int], Awaitable[str]]] = {
        "kill-host": _kill_host,
        "start-host": _start_host,
    }
    match words:
        case ["help" | "?"]:
            write(sys.stderr, HELP + "\n")
        case ["hosts"]:
            for host in cluster.hosts:
                state = f"up, pid {host.process.pid}" if host.process and host.up else "down"
                at = NO_PORT if host.http_port is None else host.http_port
                told = f"{host.agent_id}  http {at}  {host.resources}"
                tell(f"{host.number}  {host.name}  {state}  {told}")
        case [("kill-host" | "start-host") as verb, number] if number.isdecimal():
            tell(await commands[verb](cluster, int(number)))
        case ["kill-host" | "start-host" as verb, *_]:
            raise Failure(Code.USAGE, f"{verb} takes the number of a host; `hosts` lists them")
        case _:
            raise Failure(Code.USAGE, f"{words[0]!r} is no command; `help` lists them")


async def _kill_host(cluster: Cluster, number: int) -> str:
    count = await cluster.kill_host(number)
    noun = "1 process" if count == 1 else f"{count} processes"
    return f"host {number} is down: {noun} killed"


async def _start_host(cluster: Cluster, number: int) -> str:
    await cluster.start_host(number)
    return f"host {number} is up again"
