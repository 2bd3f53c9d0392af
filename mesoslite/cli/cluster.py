"""A whole cluster as child processes: one master and its agents, for `dev` and `demo`.

The daemons are the real ones, started as anybody would. They hold the reading end of a pipe as
their stdin and stop when it ends: so they, and all containers, go with this process whatever
becomes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mesoslite.cli import hosts
from mesoslite.cli.connection import Operator
from mesoslite.cli.console import Code, Failure, note
from mesoslite.cli.places import TemporaryPlace
from mesoslite.cli.relay import Relay
from mesoslite.cli.shares import shares, totals
from mesoslite.resources import Resources
from mesoslite.settings import NO_PORT

START_S_MAX = 30.0  # for a daemon to be ready; ~1 s when nothing is wrong
STOP_S_MAX = 20.0  # for a daemon to end by itself; then it is killed with all that is its
POLL_S = 0.05
MASTER = "master"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """What kind of cluster. None: as good as this machine can."""

    agents: int = 1
    port: int = 0
    http_port: str = "0"
    """The master's; each agent takes any free one. `none`: no HTTP, of the agents neither."""
    work_dir: Path | None = None
    token_file: Path | None = None
    """None: in the work directory, known to nobody else."""
    cpus: str | None = None
    mem: str | None = None
    disk: str | None = None
    containerizer: str | None = None


@dataclass(slots=True)
class Host:
    """One agent, and what it started."""

    number: int
    resources: Resources
    work_dir: Path
    process: asyncio.subprocess.Process | None = None
    agent_id: str = ""
    boot_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    http_port: int | None = None
    """Where it answers probes, once it is up; None: nowhere."""

    @property
    def name(self) -> str:
        """Its hostname."""
        return f"agent-{self.number}"

    @property
    def up(self) -> bool:
        """Whether its agent runs."""
        return self.process is not None and self.process.returncode is None

    @property
    def http_port_file(self) -> Path:
        """Where its agent tells that port."""
        return self.work_dir.with_suffix(".http")


class Cluster:
    """A master and agents that live as long as this object is open. Use as an async context."""

    def __init__(self, options: ClusterOptions, relay: Relay) -> None:
        self._options = options
        self._relay = relay
        self._temporary: TemporaryPlace | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._master: asyncio.subprocess.Process | None = None
        self._lifeline: tuple[int, int] | None = None
        self._stopping = False
        self.hosts: list[Host] = []
        self.work_dir = Path()
        self.token_file = Path()
        self.port = 0
        self.http_port: int | None = None
        self.left: list[str] = []
        """After `close`: what could not be cleaned up."""
        self.lost: asyncio.Future[str]
        """Done when the master has ended by itself, with why."""
        self.on_agent_lost: Callable[[Host, str], None] = lambda host, why: None

    @property
    def master(self) -> str:
        """HOST:PORT."""
        return f"localhost:{self.port}"

    @property
    def _serves_http(self) -> bool:
        return self._options.http_port != NO_PORT

    async def __aenter__(self) -> Cluster:
        hosts.adopt_orphans()
        self.lost = asyncio.get_running_loop().create_future()
        try:
            self._make_folders()
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- start ------------------------------------------------------------------------------------

    def _make_folders(self) -> None:
        options = self._options
        try:
            if options.work_dir is None:
                self._temporary = TemporaryPlace()
                self.work_dir = self._temporary.path
            else:
                self.work_dir = options.work_dir.absolute()
                self.work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Failure(
                Code.FAILED, f"cannot use the work directory {error.filename}: {error.strerror}"
            ) from None
        own = self.work_dir / "token"
        self.token_file = own if options.token_file is None else options.token_file.absolute()
        whole = totals(self.work_dir, options.cpus, options.mem, options.disk)
        self.hosts = [
            Host(number, share, self.work_dir / f"agent-{number}")
            for number, share in enumerate(shares(whole, options.agents), 1)
        ]

    async def _start(self) -> None:
        self._lifeline = os.pipe()
        port_file = self.work_dir / "master.port"
        http_port_file = self.work_dir / "master.http"
        for told in (port_file, http_port_file):
            told.unlink(missing_ok=True)
        self._master = await self._daemon(
            MASTER,
            "mesoslite.master",
            f"--port={self._options.port}",
            f"--port-file={port_file}",
            f"--http-port={self._options.http_port}",
            f"--http-port-file={http_port_file}",
            f"--work-dir={self.work_dir / MASTER}",
        )
        # The last that it tells: the port of HTTP is there by then, if there is one.
        await self._until(port_file.exists, {MASTER: self._master}, "the master")
        self.port = int(port_file.read_text())
        if self._serves_http:
            self.http_port = int(http_port_file.read_text())
        await asyncio.gather(*(self._start_agent(host) for host in self.hosts))
        await self._until_here(self.hosts)

    async def _start_agent(self, host: Host) -> None:
        containerizer = self._options.containerizer
        host.http_port_file.unlink(missing_ok=True)
        host.process = await self._daemon(
            host.name,
            "mesoslite_agent",
            f"--master={self.master}",
            "--port=0",
            f"--http-port={0 if self._serves_http else NO_PORT}",
            f"--http-port-file={host.http_port_file}",
            f"--work-dir={host.work_dir}",
            f"--hostname={host.name}",
            f"--resources={host.resources}",
            f"--boot-id={host.boot_id}",
            "--kill-on-exit=true",
            "--reconfigure=true",  # another number of hosts gives each another share
            *([f"--containerizers={containerizer}"] if containerizer else []),
        )

    async def _daemon(self, name: str, module: str, *flags: str) -> asyncio.subprocess.Process:
        assert self._lifeline is not None
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # what lies in the current directory is no module of ours
            "-m",
            module,
            *flags,
            f"--token-file={self.token_file}",
            "--stop-with-stdin=true",
            "--log-format=json",
            "--log-level=info",
            stdin=self._lifeline[0],
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
            start_new_session=True,  # Ctrl-C is for us; they are told in order
        )
        for work in (self._listen(name, process), self._watch(name, process)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return process

    async def _listen(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:  # a line over the limit: it was dropped
                continue
            if not line:
                return
            self._relay.line(name, line)

    async def _watch(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Notice a daemon that ends without having been asked to."""
        code = await process.wait()
        if self._stopping:
            return
        # Who is killed has no last word: only what it called an error may be the cause.
        said = self._relay.why(name) if code >= 0 else self._relay.last_error(name)
        why = f"{name} ended ({_ended(code)}){': ' if said else ''}{said}"
        if process is self._master:
            if not self.lost.done():
                self.lost.set_result(why)
            return
        for host in self.hosts:
            if host.process is process:
                self.on_agent_lost(host, why)

    async def _until(
        self,
        condition: Callable[[], bool],
        needed: dict[str, asyncio.subprocess.Process],
        what: str,
    ) -> None:
        """Wait for a condition while the daemons that it needs run. Raises Failure."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + START_S_MAX
        while not condition():
            for name, process in needed.items():
                if process.returncode is not None:
                    # Its last words may still be in the pipe.
                    await asyncio.sleep(POLL_S)
                    raise Failure(Code.FAILED, f"{name} did not start: {self._relay.why(name)}")
            if loop.time() > deadline_s:
                raise Failure(
                    Code.FAILED,
                    f"{what} was not ready after {START_S_MAX:.0f} s: {self._relay.why(what)}",
                )
            await asyncio.sleep(POLL_S)

    async def _until_here(self, wanted: Sequence[Host]) -> None:
        """Wait until the master knows these hosts as active, in their present boot."""
        seen: dict[str, str] = {}

        def look() -> dict[str, str]:
            with Operator(self.master, self.token_file) as operator:
                return {
                    row.info.hostname: row.info.agent_id
                    for row in operator.agents()
                    if row.state == "active"
                    and row.boot_id in {host.boot_id for host in wanted if host.up}
                }

        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + START_S_MAX
        while not all(host.name in seen for host in wanted):
            for host in wanted:
                if not host.up:
                    await asyncio.sleep(POLL_S)
                    raise Failure(
                        Code.FAILED, f"{host.name} did not start: {self._relay.why(host.name)}"
                    )
            if loop.time() > deadline_s:
                late = next(host.name for host in wanted if host.name not in seen)
                raise Failure(
                    Code.FAILED,
                    f"{late} did not register within {START_S_MAX:.0f} s: {self._relay.why(late)}",
                )
            await asyncio.sleep(POLL_S)
            seen = await asyncio.to_thread(look)
        for host in wanted:
            host.agent_id = seen[host.name]
            if self._serves_http:
                host.http_port = int(host.http_port_file.read_text())  # told before it registers

    # --- hosts ------------------------------------------------------------------------------------

    def host(self, number: int) -> Host:
        """The host of that number. Raises Failure."""
        if not 1 <= number <= len(self.hosts):
            raise Failure(Code.NOT_FOUND, f"there is no host {number}: 1 to {len(self.hosts)}")
        return self.hosts[number - 1]

    async def kill_host(self, number: int) -> int:
        """A power cut: its agent, its launcher and all its containers die at once.

        How many processes that were. Raises Failure when it is down already.
        """
        host = self.host(number)
        if not host.up:
            raise Failure(Code.FAILED, f"host {number} is down already")
        return await self._cut(host)

    async def _cut(self, host: Host) -> int:
        process, host.process = host.process, None
        pid = process.pid if process is not None and process.returncode is None else None
        killed = await asyncio.to_thread(hosts.end_host, host.work_dir, host.agent_id, pid)
        if process is not None:
            await process.wait()
        hosts.reap_orphans(killed - {pid})
        return len(killed)

    async def start_host(self, number: int) -> None:
        """As after a reboot: another boot id, the same work directory. Raises Failure."""
        host = self.host(number)
        if host.up:
            raise Failure(Code.FAILED, f"host {number} is up already")
        host.boot_id = str(uuid.uuid4())
        await self._start_agent(host)
        await self._until_here([host])

    # --- the end ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """End everything in order, and leave nothing behind. The agents end their containers."""
        self._stopping = True
        await asyncio.gather(*(self._stop_host(host) for host in self.hosts))
        if self._master is not None:
            await _terminate(self._master)
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        if self._lifeline is not None:
            for end in self._lifeline:
                os.close(end)
            self._lifeline = None
        hosts.reap_all()
        if self.work_dir == Path():
            return
        self.left = await asyncio.to_thread(
            hosts.left_of, self.work_dir, [host.agent_id for host in self.hosts]
        )
        if self._temporary and not await asyncio.to_thread(self._temporary.remove):
            self.left.append(f"directory {self.work_dir}")
        for what in self.left:
            note(f"mesoslite: left behind: {what}")

    async def _stop_host(self, host: Host) -> None:
        if host.up:
            assert host.process is not None
            await _terminate(host.process)
        # What an agent left, because it was killed or ran out of time, is ended here.
        with contextlib.suppress(TimeoutError):
            await self._cut(host)

    def hurry(self) -> None:
        """Somebody is in a hurry: kill instead of asking."""
        for process in (*(host.process for host in self.hosts), self._master):
            if process is not None and process.returncode is None:
                process.kill()


async def _terminate(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_S_MAX)
    except TimeoutError:
        process.kill()
        await process.wait()


def _ended(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
