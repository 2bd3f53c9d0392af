"""The launcher: the small process that is the parent of every container of one agent.

It outlives the agent, so that an agent can crash, restart or be upgraded and no task notices. It is
a child subreaper and reaps with wait4(2): exit codes, signals, peak memory and CPU time are exact,
and they are kept in a journal until the agent says that it has them (docs/decisions.md D8, D9).

Standard library alone, with `lines`, `offspring`, `watching`, `fencing`, `journal`, `processes` and
`spawning` beside it, so that it stays small (~11 MiB) and nothing else of mesoslite can break a
launcher that runs. `launcher_client.command` starts it.

In DIR (made 0700) are `lock` (one launcher for a DIR), `pid`, `journal` and `launcher.sock`, where
both sides write one JSON object a line. A request has `seq` and `op`; its answer repeats `seq` and
has `ok`, and `code` and `error` when that is false. Everything else that arrives is an event.

  hello     {version, unattended_s, groups}: must come first; answered {version, pid}, and to the
            first that asks {damaged}: lines of the journal, if any; from then on events arrive.
            `forgetful` in the answer: the journal was damaged or had gone, so what is not listed
            may have been started all the same.
            `unattended_s`, if any: kill all containers once nobody has been connected for so long.
            `groups`: folders to remove at the end, as far as they are empty
  start     {id, argv, env, cwd, stdout, stderr, ... as in journal.START_FIELDS}. Idempotent by id:
            asked twice it runs once. The outcome comes as an event. With `lease_until_s` it is
            killed then, by CLOCK_BOOTTIME, and its end has `over: lease`; it fails so, and nothing
            runs, when that time is over already
  lease     {ids, until_s}: these may run until then; a lease only grows
  signal    {id, signal}: to every process of the container; gives up a start that is under way
  forget    {id}: the end of the container is known for good; drops it from the journal
  list      an event for each container that is not forgotten, then the answer {count}
  shutdown  {kill}: true ends all containers and then the launcher; false ends it once nothing runs

  events    {event: starting | started | failed | exited, id, data, ... as Container.describe says}:
            what became of a container since the last one; a state that did not last may be left out

A container is a process with a session of its own, or, when `pid_file` is given, what a container
runtime leaves behind: the runtime's process must end with 0, and the file then holds the pid.

SIGTERM, SIGINT and SIGHUP are ignored: whoever wants the tasks to end says so on the socket. It
ends by itself when nobody is connected and nothing runs; a next one reads what the journal keeps.
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
from collections.abc import Iterable
from pathlib import Path

from mesoslite_agent.fencing import OVER, Fences, boot_s
from mesoslite_agent.journal import Container, Journal, Json, intent, kill_lost
from mesoslite_agent.lines import CONNECTIONS_MAX, Connection, listen
from mesoslite_agent.offspring import SWEEP_S_MAX, Offspring
from mesoslite_agent.processes import OomScore, boot_id
from mesoslite_agent.spawning import Spawner
from mesoslite_agent.watching import Watch

# Of the protocol; whoever adds an op adds one. An agent that is upgraded finds the launcher of the
# one before it, and speaks as that does.
VERSION = 2  # 2: leases
VERSION_OLDEST = 1

CONTAINERS_MAX = 20_000  # running or not yet forgotten; ~2 KiB each
REQUESTS_A_TURN = 64  # of one connection, before exits and other connections have their turn
DATA_BYTES_MAX = 16 << 10  # the caller's own words about a container
GROUPS_MAX = 64  # there are some ten hierarchies of cgroups
LOG_BYTES_MAX = 1 << 20  # of our own complaints; then the file starts anew
LOOK_AROUND_S = 2.0  # between two looks at whether there is anybody to serve
IDLE_S = 3.0  # alone and with nothing to do: far more than an agent is away for a restart
PR_SET_CHILD_SUBREAPER = 36


class Refused(Exception):
    """A request that cannot be done; `code` is for programs, the text for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


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
        self._offspring = Offspring(journal, spawner, self._tell)
        self._watch = Watch(self._offspring)
        self._fences = Fences(self._offspring)
        self._news: dict[str, Container] = {}  # whose state is to be told at the end of the turn
        self._connections: dict[int, Connection] = {}
        self._selector = selectors.DefaultSelector()
        self._draining = False
        self._drained_until = 0.0
        self._idle = False
        self._complain_at = 0.0
        self._look_at = 0.0
        self._alone_since = time.monotonic()
        self._unattended_s: float | None = None
        self._abandoned = False
        self._groups: tuple[str, ...] = ()

    # -- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the end."""
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
        while not (self._idle or self._drained()):
            try:
                for key, mask in self._selector.select(0 if more else self._patience_s()):
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj is wake_in:
                        wake_in.recv(1 << 16)
                    elif mask & selectors.EVENT_READ:
                        self._connections[key.fd].read()
                more = self._serve()
                self._offspring.reap()
                self._offspring.sweep()
                self._watch.look()
                self._fences.look()
                self._look_around()
                self._write()
                self._spread_news()
                self._flush()
            except Exception:  # noqa: BLE001 - its death would cost every task on the host
                self._complain()
                more = False
                time.sleep(0.1)
        self._take_leave()

    def _drained(self) -> bool:
        if not self._draining or self._offspring.running > 0:
            return False
        return time.monotonic() > self._drained_until or self._offspring.childless

    def _complain(self) -> None:
        """Write what went wrong, at most once a second, into a file that does not grow for ever."""
        if time.monotonic() >= self._complain_at:
            self._complain_at = time.monotonic() + 1.0
            with contextlib.suppress(OSError):
                if os.fstat(sys.stderr.fileno()).st_size > LOG_BYTES_MAX:
                    os.ftruncate(sys.stderr.fileno(), 0)
            traceback.print_exc()

    def _patience_s(self) -> float:
        if self._offspring.ending or (self._draining and self._offspring.running == 0):
            return 0.05
        due = self._look_at
        if self._watch.due_s is not None:
            due = min(due, self._watch.due_s)
        patience_s = max(0.0, due - time.monotonic())
        leased_s = self._fences.patience_s
        return patience_s if leased_s is None else min(patience_s, leased_s)

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

    def _tell(self, container: Container) -> None:
        """Once a turn: of a short task that is its end alone, and half of the words."""
        self._news[container.id] = container

    def _spread_news(self) -> None:
        news, self._news = self._news, {}
        hearers = [each for each in self._connections.values() if each.greeted]
        if hearers:
            for container in news.values():
                event = container.describe()
                for connection in hearers:
                    connection.say(event)

    def _flush(self) -> None:
        for fd, connection in list(self._connections.items()):
            connection.flush()
            if not connection.open:
                self._selector.unregister(connection.link)
                connection.link.close()
                del self._connections[fd]
                self._alone_since = time.monotonic()
                continue
            wanted = selectors.EVENT_WRITE if connection.outbox else 0
            if connection.reads_on:
                wanted |= selectors.EVENT_READ
            if wanted != self._selector.get_key(connection.link).events:
                self._selector.modify(connection.link, wanted or selectors.EVENT_WRITE)

    def _take_leave(self) -> None:
        """The last words, then remove what is of no use without us."""
        self._listener.close()
        for connection in self._connections.values():
            connection.link.settimeout(1.0)
            with contextlib.suppress(OSError):
                connection.link.sendall(connection.outbox)
        remove_empty(self._groups, below=self._abandoned)

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
            return self._greet(connection, request)
        if not connection.greeted:
            raise Refused("hello", "hello comes first")
        match request["op"]:
            case "start":
                self._start(request, size)
            case "signal":
                number = int(request["signal"])
                if not 1 <= number <= signal.SIGRTMAX:
                    raise Refused("malformed", f"{number} is not a signal")
                self._offspring.signal(self._known(request), number)
            case "lease":
                self._extend(map(str, request["ids"]), float(request["until_s"]))
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

    def _greet(self, connection: Connection, request: Json) -> Json:
        if not VERSION_OLDEST <= request["version"] <= VERSION:
            raise Refused("version", f"this launcher speaks {VERSION_OLDEST} to {VERSION}")
        unattended_s = request.get("unattended_s")
        self._unattended_s = None if unattended_s is None else float(unattended_s)
        self._groups = tuple(map(str, request.get("groups") or ()))[:GROUPS_MAX]
        connection.greeted = True
        answer = {"version": request["version"], "pid": os.getpid()}
        if self._journal.forgetful:
            answer["forgetful"] = True
        if self._journal.damaged:
            answer["damaged"], self._journal.damaged = self._journal.damaged, 0
        return answer

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
        cwd, stdout, stderr = str(request["cwd"]), str(request["stdout"]), str(request["stderr"])
        self._containers[container_id] = container
        try:
            self._journal.add(intent(container))
            self._journal.write(self._containers)  # before there is anything to be found by it
        except OSError:
            del self._containers[container_id]
            raise
        if (until_s := request.get("lease_until_s")) is not None:
            self._fences.extend(container, float(until_s))
            self._fences.settle()
            if float(until_s) <= boot_s():
                # Asked for too late: its key may be another's by now, so not even for a moment.
                container.over = OVER
                self._offspring.start_none(container, "its lease was over before it was started")
                return
        self._offspring.start(container, argv, env, cwd, stdout, stderr)

    def _extend(self, container_ids: Iterable[str], until_s: float) -> None:
        """Those that are not here have ended, or are not asked for yet."""
        for container_id in container_ids:
            if (container := self._containers.get(container_id)) is not None:
                self._fences.extend(container, until_s)
        self._fences.settle()

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
            self._kill_all()

    def _kill_all(self) -> None:
        for container in self._containers.values():
            self._offspring.signal(container, signal.SIGKILL)

    # -- is anybody there? ------------------------------------------------------------------------

    def _look_around(self) -> None:
        """Every now and then: whether somebody can still want what we do."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_AROUND_S
        if self._folder.exists():
            self._journal.keep(self._containers.values())
        if not self._folder.exists() and not self._draining:
            # Nobody can reach us any more, nor stop these tasks, nor learn how they end.
            self._shut_down(kill_all=True)
        alone_s = 0.0 if self._connections else now - self._alone_since
        if self._unattended_s is not None and alone_s >= self._unattended_s:
            self._abandoned = True
            self._kill_all()
        # Not by draining: who dials at this moment finds nobody and dials again, and is not refused
        # a start.
        self._idle = alone_s >= IDLE_S and self._offspring.childless


def remove_empty(folders: Iterable[str], *, below: bool) -> None:
    """Remove these folders, and the one above each, if nothing is in them.

    `below`: with all folders in them that are empty themselves, as cgroups without processes are.
    """
    for folder in folders:
        inner = [path for path, _, _ in os.walk(folder, topdown=False)] if below else [folder]
        for path in (*inner, os.path.dirname(folder)):  # noqa: PTH120 - as the others
            with contextlib.suppress(OSError):
                os.rmdir(path)  # noqa: PTH106


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
    # The lock has a word in it for as long as there is a journal.
    journal.forgetful |= os.fstat(lock).st_size > 0 and not (folder / "journal").exists()
    lost = [container for container in containers.values() if not container.end]
    if journal.damaged:
        sys.stderr.write(f"{journal.damaged} lines of the journal are damaged\n")
    if boot in (None, boot_id()):  # of none that is known any more, pid and start time tell enough
        kill_lost(lost)
    for container in lost:
        container.lose()
    journal.rewrite(containers.values())
    os.pwrite(lock, b"journal\n", 0)
    launcher = Launcher(folder, listen(folder), journal, containers, spawner)
    os.write(1, b"ready\n")
    os.dup2(2, 1)
    launcher.run()
    if not containers:
        os.ftruncate(lock, 0)
    for name in ("launcher.sock", "pid", *(() if containers else ("journal",))):
        (folder / name).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
