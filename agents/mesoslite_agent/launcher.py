"""The launcher: the small process that is the parent of every container of one agent.

It outlives the agent, so that an agent can crash, restart or be upgraded and no task notices. It is
a child subreaper and reaps with wait4(2): exit codes, signals, peak memory and CPU time are exact,
and they are kept in a journal until the agent says that it has them (docs/decisions.md D8, D9).

Standard library alone, with `journal`, `processes` and `spawning` beside it, so that it stays small
(~11 MiB) and nothing else of mesoslite can break a launcher that runs. `launcher_client.command`
starts it.

In DIR (made 0700) are `lock` (one launcher for a DIR), `pid`, `journal` and `launcher.sock`, where
both sides write one JSON object a line. A request has `seq` and `op`; its answer repeats `seq` and
has `ok`, and `code` and `error` when that is false. Everything else that arrives is an event.

  hello     {version}: must come first; answered {version, pid}; from then on events arrive
  start     {id, argv, env, cwd, stdout, stderr, ... as in journal.START_FIELDS}. Idempotent by id:
            asked twice it runs once. The outcome comes as an event
  signal    {id, signal}: to every process of the container; gives up a start that is under way
  forget    {id}: the end of the container is known for good; drops it from the journal
  list      an event for each container that is not forgotten, then the answer {count}
  shutdown  {kill}: true ends all containers and then the launcher; false ends it once nothing runs

  events    {event: starting | started | failed | exited, id, data, ... as Container.describe says}

A container is a process with a session of its own, or, when `pid_file` is given, what a container
runtime leaves behind: the runtime's process must end with 0, and the file then holds the pid.
SIGTERM, SIGINT and SIGHUP are ignored: whoever wants the tasks to end says so on the socket.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from mesoslite_agent.journal import (
    Container,
    Journal,
    Json,
    claims,
    ended,
    intent,
    kill_lost,
    record,
)
from mesoslite_agent.processes import (
    FATAL_BY_DEFAULT,
    OomScore,
    all_processes,
    boot_id,
    children_of,
    claimed_by,
    held_bytes,
    kill,
    kill_group,
    listed,
    read_process,
    shields,
    tree_of,
)
from mesoslite_agent.spawning import Spawner

VERSION = 1

CONTAINERS_MAX = 20_000  # running or not yet forgotten; ~2 KiB each
LINE_BYTES_MAX = 1 << 20  # one request; execve(2) takes little more in arguments and environment
CONNECTIONS_MAX = 8  # one agent, one that replaces it, and an operator who looks
OUTBOX_BYTES_MAX = 32 << 20  # a list of CONTAINERS_MAX fits; a reader slower than that is cut off
REQUESTS_A_TURN = 64  # of one connection, before exits and other connections have their turn
STRAYS_MAX = 4_096  # exits kept until the runtime that left the process behind has named it
DATA_BYTES_MAX = 16 << 10  # the caller's own words about a container
LOG_BYTES_MAX = 1 << 20  # of our own complaints; then the file starts anew
SWEEP_S_MAX = 10.0  # a process in an uninterruptible call does not die; its container is over then
WATCH_S_MIN = 0.1  # the shortest time between two looks at memory and process counts
WATCH_SHARE = 50  # a look may cost one fiftieth of the time: 2 % of a core
DIR_CHECK_S = 2.0
PR_SET_CHILD_SUBREAPER = 36


class Refused(Exception):
    """A request that cannot be done; `code` is for programs, the text for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Connection:
    """One client: lines in, lines out, both bounded."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.greeted = False
        self.open = True

    def read(self) -> None:
        try:
            chunk = self.link.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self.inbox += chunk
        if not chunk:
            self.open = False

    def next_line(self) -> bytes | None:
        end = self.inbox.find(b"\n")
        if end < 0:
            if len(self.inbox) > LINE_BYTES_MAX:
                self.open = False
            return None
        line = bytes(self.inbox[:end])
        del self.inbox[: end + 1]
        return line

    def say(self, message: Json) -> None:
        if self.open:
            self.outbox += json.dumps(message).encode() + b"\n"
            if len(self.outbox) > OUTBOX_BYTES_MAX:
                self.open = False

    def flush(self) -> None:
        try:
            while self.outbox and self.open:
                del self.outbox[: self.link.send(self.outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self.open = False


class Launcher:
    """One thread, one selector. Call `run` once; it returns when the launcher is to end."""

    def __init__(
        self,
        folder: Path,
        listener: socket.socket,
        journal: Journal,
        containers: dict[str, Container],
        spawner: Spawner,
    ) -> None:
        self._folder = folder
        self._listener = listener
        self._journal = journal
        self._containers = containers
        self._first: dict[
            int, Container
        ] = {}  # by the pid of the first process, until it is reaped
        self._runtimes: dict[int, Container] = {}  # by the pid of the runtime that starts them
        self._sessions: dict[int, Container] = {}  # by session, until the container is over
        self._ending: list[Container] = []  # first process gone, the others being killed
        self._adopted: dict[int, Container | None] = {}  # children left to us; None: whose?
        self._strays: dict[int, tuple[int, Any]] = {}
        self._watched: dict[str, Container] = {}
        self._running = 0  # starting or started
        self._reaped_any = False
        self._connections: dict[int, Connection] = {}
        self._selector = selectors.DefaultSelector()
        self._spawner = spawner
        self._draining = False
        self._drained_until = 0.0
        self._complain_at = 0.0
        self._watch_at = 0.0
        self._dir_check_at = 0.0

    # -- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        wake_in, wake_out = socket.socketpair()
        for end in (wake_in, wake_out, self._listener):
            end.setblocking(False)
        # A handler, not SIG_IGN: what is ignored stays ignored in every task.
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(wake_out.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(wake_in, selectors.EVENT_READ)
        more = True
        while not self._over_and_out():
            try:
                for key, mask in self._selector.select(0 if more else self._patience_s()):
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj is wake_in:
                        wake_in.recv(1 << 16)
                    elif mask & selectors.EVENT_READ:
                        self._connections[key.fd].read()
                more = self._serve()
                self._reap()
                self._sweep()
                self._look()
                self._write()
                self._flush()
            except Exception:  # noqa: BLE001 - its death would cost every task on the host
                self._complain()
                more = False
                time.sleep(0.1)
        for connection in self._connections.values():
            connection.link.settimeout(1.0)
            with contextlib.suppress(OSError):
                connection.link.sendall(connection.outbox)

    def _over_and_out(self) -> bool:
        if not self._draining or self._running > 0:
            return False
        return time.monotonic() > self._drained_until or not children_of(os.getpid())

    def _complain(self) -> None:
        """Write what went wrong, at most once a second, into a file that does not grow for ever."""
        if time.monotonic() >= self._complain_at:
            self._complain_at = time.monotonic() + 1.0
            with contextlib.suppress(OSError):
                if os.fstat(sys.stderr.fileno()).st_size > LOG_BYTES_MAX:
                    os.ftruncate(sys.stderr.fileno(), 0)
            traceback.print_exc()

    def _patience_s(self) -> float | None:
        if self._ending or (self._draining and self._running == 0):
            return 0.05
        due = self._dir_check_at
        if self._watched:
            due = min(due, self._watch_at)
        return max(0.0, due - time.monotonic())

    def _accept(self) -> None:
        link, _ = self._listener.accept()
        if len(self._connections) >= CONNECTIONS_MAX:
            link.close()
            return
        link.setblocking(False)
        self._connections[link.fileno()] = Connection(link)
        self._selector.register(link, selectors.EVENT_READ)

    def _serve(self) -> bool:
        """Answer some requests of each connection. True when there are more."""
        more = False
        for connection in self._connections.values():
            for _ in range(REQUESTS_A_TURN):
                line = connection.next_line()
                if line is None:
                    break
                self._answer(connection, line)
            else:
                more = True
        return more

    def _write(self) -> None:
        """All that happened in this turn into the journal, before anybody is told of it.

        It is told even when the disk is full.
        """
        try:
            self._journal.write(self._containers)
        except OSError:
            self._complain()

    def _flush(self) -> None:
        for fd, connection in list(self._connections.items()):
            connection.flush()
            if not connection.open:
                self._selector.unregister(connection.link)
                connection.link.close()
                del self._connections[fd]
                continue
            wanted = selectors.EVENT_WRITE if connection.outbox else 0
            if len(connection.inbox) <= LINE_BYTES_MAX:
                wanted |= selectors.EVENT_READ
            if wanted != self._selector.get_key(connection.link).events:
                self._selector.modify(connection.link, wanted or selectors.EVENT_WRITE)

    def _tell(self, container: Container) -> None:
        event = container.describe()
        for connection in self._connections.values():
            if connection.greeted:
                connection.say(event)

    # -- requests ---------------------------------------------------------------------------------

    def _answer(self, connection: Connection, line: bytes) -> None:
        seq = None
        try:
            request: Json = json.loads(line)
            seq = request["seq"]
            answer = self._do(connection, request, len(line))
        except Refused as refused:
            answer = {"ok": False, "code": refused.code, "error": str(refused)}
        except OSError as error:
            answer = {"ok": False, "code": "io", "error": str(error)}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            answer = {"ok": False, "code": "malformed", "error": f"{type(error).__name__}: {error}"}
        connection.say({"seq": seq, "ok": True} | answer)

    def _do(self, connection: Connection, request: Json, size: int) -> Json:
        if request["op"] == "hello":
            if request["version"] != VERSION:
                raise Refused("version", f"this launcher speaks version {VERSION}")
            connection.greeted = True
            return {"version": VERSION, "pid": os.getpid()}
        if not connection.greeted:
            raise Refused("hello", "hello comes first")
        match request["op"]:
            case "start":
                self._start(request, size)
            case "signal":
                self._signal(self._known(request), int(request["signal"]))
            case "forget":
                self._forget(request["id"])
            case "list":
                for container in self._containers.values():
                    connection.say(container.describe())
                return {"count": len(self._containers)}
            case "shutdown":
                self._shut_down(kill_all=bool(request["kill"]))
            case other:
                raise Refused("unknown", f"there is no op {other!r}")
        return {}

    def _known(self, request: Json) -> Container:
        container = self._containers.get(request["id"])
        if container is None:
            raise Refused("no-container", f"no container {request['id']!r} here")
        return container

    def _start(self, request: Json, size: int) -> None:
        container_id = str(request["id"])
        if container_id in self._containers:
            self._tell(self._containers[container_id])
            return
        if self._draining:
            raise Refused("draining", "this launcher is shutting down")
        if len(self._containers) >= CONTAINERS_MAX:
            raise Refused("full", f"{CONTAINERS_MAX} containers are running or not forgotten")
        if size > DATA_BYTES_MAX and len(json.dumps(request.get("data"))) > DATA_BYTES_MAX:
            raise Refused("malformed", f"data is longer than {DATA_BYTES_MAX} bytes")
        if not request["argv"]:
            raise Refused("malformed", "argv is empty")
        container = Container(container_id, request)
        argv, env = [str(word) for word in request["argv"]], dict(request["env"])
        stdout, stderr = str(request["stdout"]), str(request["stderr"])
        self._containers[container_id] = container
        try:
            self._journal.add(intent(container))
            self._journal.write(self._containers)  # before there is anything to be found by it
        except OSError:
            del self._containers[container_id]
            raise
        self._running += 1
        try:
            pid = self._spawner.spawn(argv, env, str(request["cwd"]), stdout, stderr)
        except (OSError, ValueError, TypeError) as error:
            self._failed(container, str(error))
            return
        if container.fields["pid_file"] is None:
            self._sessions[pid] = container
            self._started(container, pid)
        else:
            container.runtime_pid = pid
            self._runtimes[pid] = container
            self._tell(container)

    def _started(self, container: Container, pid: int) -> None:
        process = read_process(pid)
        container.pid, container.start = pid, process.start if process else None
        container.state = "started"
        self._first[pid] = container
        fields = container.fields
        if not has_cgroup(container) and (fields["mem_bytes_max"] or fields["pids_max"]):
            self._watched[container.id] = container
        self._journal.add(record(container))
        for path, text in fields["settle"] or ():
            with contextlib.suppress(OSError):  # it may be over already, and its cgroup with it
                Path(path).write_text(text)
        self._tell(container)

    def _failed(self, container: Container, error: str) -> None:
        container.end = {"error": error}
        self._over(container, "failed")

    def _over(self, container: Container, state: str) -> None:
        container.state = state
        self._running -= 1
        if container.pid is not None:
            self._sessions.pop(container.pid, None)
        self._journal.add(ended(container))
        self._tell(container)

    def _signal(self, container: Container, number: int) -> None:
        """To every process of the container.

        The kernel shields pid 1 of a pid namespace from signals that it does not handle. There,
        SIGKILL does what the default action would have done, and the end is reported as by the
        signal that was asked for.
        """
        if not 1 <= number <= signal.SIGRTMAX:
            raise Refused("malformed", f"{number} is not a signal")
        if container.state == "starting" and container.runtime_pid is not None:
            kill_group(container.runtime_pid, signal.SIGKILL)
            for pid in listed(container.fields["cgroup_procs"]):
                kill(pid, signal.SIGKILL)
        elif container.state == "started" and container.pid is not None:
            if not has_cgroup(container):
                kill_group(container.pid, number)
                for pid in self._members(container):
                    process = read_process(pid)
                    if process is not None and process.group != container.pid:
                        kill(pid, number)
                return
            if number in FATAL_BY_DEFAULT and shields(container.pid, number):
                container.stand_in, number = number, signal.SIGKILL
            # The first process first: it must not see a child die and end by itself of that.
            kill(container.pid, number)
            for pid in {*listed(container.fields["cgroup_procs"])} - {container.pid}:
                kill(pid, number)

    def _members(self, container: Container) -> set[int]:
        """All processes of a container without a cgroup, found by ancestry, session and marker."""
        self._adopt()
        roots = {pid for pid, owner in self._adopted.items() if owner is container}
        if container.pid is not None and container.pid in self._first:
            roots.add(container.pid)
        return tree_of(roots)

    def _forget(self, container_id: str) -> None:
        container = self._containers.get(container_id)
        if container is None:
            return
        if container.state not in {"failed", "exited"}:
            raise Refused("running", f"container {container_id!r} is not over")
        del self._containers[container_id]
        self._journal.add({"is": "forget", "id": container_id})

    def _shut_down(self, *, kill_all: bool) -> None:
        self._draining = True
        self._drained_until = time.monotonic() + SWEEP_S_MAX
        if kill_all:
            for container in self._containers.values():
                self._signal(container, signal.SIGKILL)

    # -- the ends of processes --------------------------------------------------------------------

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            container = self._first.get(pid)
            if container is not None and not has_cgroup(container):
                # Before the pid is given back: until then its group cannot be anybody else's.
                kill_group(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            self._reaped(pid, status, usage)

    def _reaped(self, pid: int, status: int, usage: Any) -> None:
        self._reaped_any = True
        owner = self._adopted.pop(pid, None)
        if owner is not None:
            owner.charge(usage)
        if pid in self._first:
            container = self._first.pop(pid)
            self._watched.pop(container.id, None)
            container.status = status
            container.charge(usage)
            container.sweep_until = time.monotonic() + SWEEP_S_MAX
            self._ending.append(container)
        elif pid in self._runtimes:
            self._runtime_ended(self._runtimes.pop(pid), status)
        elif self._runtimes and owner is None:
            self._strays[pid] = (status, usage)
            while len(self._strays) > STRAYS_MAX:
                del self._strays[next(iter(self._strays))]
        if not self._runtimes:
            self._strays.clear()

    def _runtime_ended(self, container: Container, status: int) -> None:
        if status != 0:
            for pid in listed(container.fields["cgroup_procs"]):
                kill(pid, signal.SIGKILL)
            self._failed(container, self._why(container, status))
            return
        try:
            pid = int(Path(container.fields["pid_file"]).read_text())
        except (OSError, ValueError) as error:
            self._failed(container, f"the container runtime left no pid: {error}")
            return
        self._adopted.pop(pid, None)
        self._started(container, pid)
        if pid in self._strays:
            self._reaped(pid, *self._strays.pop(pid))

    @staticmethod
    def _why(container: Container, status: int) -> str:
        """The last error of the runtime's log, else how the runtime itself ended."""
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(OSError, TypeError):
            for line in reversed(Path(container.fields["log"]).read_text().splitlines()[-50:]):
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    return str(json.loads(line)["msg"])
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"the container runtime ended with {how}"

    def _adopt(self) -> None:
        """Find out whose each process is that was left to us when its parent ended."""
        found = children_of(os.getpid()) - self._first.keys() - self._runtimes.keys()
        new = [process for pid in found - self._adopted.keys() if (process := read_process(pid))]
        if not any(process.lives for process in new):
            return
        watched_over = [c for c in (*self._first.values(), *self._ending) if not has_cgroup(c)]
        markers, folders = claims(watched_over)
        for process in new:
            if process.lives:
                owner = self._sessions.get(process.session)
                owner = owner or claimed_by(process.pid, markers, folders)
                self._adopted[process.pid] = owner

    def _sweep(self) -> None:
        """A container is over when its first process is; kill the rest, then say so."""
        if not (self._ending or self._reaped_any):
            return
        self._reaped_any = False
        self._adopt()
        left: dict[str, list[int]] = {}
        for pid, owner in self._adopted.items():
            if owner is not None:
                left.setdefault(owner.id, []).append(pid)
        ending, self._ending = self._ending, []
        for container in ending:
            for pid in left.get(container.id, ()):
                process = read_process(pid)
                if process is not None and process.group in {pid, container.pid}:
                    kill_group(process.group, signal.SIGKILL)
                kill(pid, signal.SIGKILL)
            if container.id in left and time.monotonic() < container.sweep_until:
                self._ending.append(container)
            else:
                container.end = container.exited()
                self._over(container, "exited")
        if self._running == 0:
            for pid in self._adopted:  # nobody's, and nobody is left to claim it
                kill(pid, signal.SIGKILL)

    # -- what must be looked at from time to time -------------------------------------------------

    def _look(self) -> None:
        now = time.monotonic()
        if now >= self._dir_check_at:
            self._dir_check_at = now + DIR_CHECK_S
            if not self._folder.exists() and not self._draining:
                # Nobody can reach us any more, nor stop these tasks, nor learn how they end.
                self._shut_down(kill_all=True)
        if now < self._watch_at:
            return
        if self._watched:
            self._watch(list(self._watched.values()))
        took = time.monotonic() - now
        self._watch_at = now + max(WATCH_S_MIN, took * WATCH_SHARE)

    def _watch(self, containers: list[Container]) -> None:
        """One snapshot of all processes, sums for each container; kills what is over a limit."""
        self._adopt()
        processes = all_processes()
        roots = {c.id: {c.pid} for c in containers if c.pid is not None}
        for pid, owner in self._adopted.items():
            if owner is not None and owner.id in roots:
                roots[owner.id].add(pid)
        for container in containers:
            members = [p for p in tree_of(roots[container.id], processes) if p in processes]
            rss_bytes = sum(processes[pid].rss_bytes for pid in members)
            container.peak_bytes = max(container.peak_bytes, rss_bytes)
            mem_max, pids_max = container.fields["mem_bytes_max"], container.fields["pids_max"]
            if mem_max is not None and rss_bytes > mem_max and held_bytes(members) > mem_max:
                container.over = "mem"
            elif pids_max is not None and sum(processes[p].threads for p in members) > pids_max:
                container.over = "pids"
            else:
                continue
            del self._watched[container.id]
            self._signal(container, signal.SIGKILL)


def has_cgroup(container: Container) -> bool:
    return container.fields["cgroup_procs"] is not None


def listen(folder: Path) -> socket.socket:
    """Bound by a relative name: a socket's path may be 107 bytes long, a work directory longer."""
    os.chdir(folder)
    Path("launcher.sock").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("launcher.sock")
    listener.listen(CONNECTIONS_MAX)
    os.chdir("/")
    return listener


def main() -> int:
    """Serve DIR until told to shut down, in the background: its parent gets `ready` on stdout.

    Ends with 0 at once, and without a word, when another launcher serves DIR.
    """
    parser = argparse.ArgumentParser(description="parent of the containers of one agent")
    parser.add_argument("--dir", type=Path, required=True)
    folder: Path = parser.parse_args().dir.resolve()
    if os.fork() > 0:  # whoever starts us has no child to wait for, and may end before us
        return 0
    os.setsid()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    (folder / "pid").write_text(f"{os.getpid()}\n")
    os.umask(0o022)
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("this kernel has no child subreapers (Linux 3.4)")
    spawner = Spawner(OomScore())
    journal = Journal(folder / "journal")
    boot, containers = journal.load()
    lost = [container for container in containers.values() if not container.end]
    if boot == boot_id():
        kill_lost(lost)
    for container in lost:
        container.lose()
    journal.rewrite(containers.values())
    launcher = Launcher(folder, listen(folder), journal, containers, spawner)
    os.write(1, b"ready\n")
    os.dup2(2, 1)
    launcher.run()
    for name in ("launcher.sock", "pid", *(() if containers else ("journal",))):
        (folder / name).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
