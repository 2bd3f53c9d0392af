"""The containers of one agent: what the daemon asks for, done, and reported as events.

Everything that the agent's machine needs to know comes back through `report`, in the types of
`container.py`; no method blocks and none returns an outcome. Work is bounded by the limits below,
and what has to wait reports its next phase only when that begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from mesoslite_agent import exits, journal
from mesoslite_agent.container import (
    ContainerEvent,
    ContainerPhase,
    ContainerSpec,
    ContainerStarted,
    Phase,
    StartFailure,
)
from mesoslite_agent.containerizers import (
    CannotPrepare,
    Containerizer,
    Launch,
    Mounted,
    User,
    resolve_user,
)
from mesoslite_agent.containerizers.oci import OciContainerizer
from mesoslite_agent.containerizers.process import ProcessContainerizer
from mesoslite_agent.launcher import remove_empty
from mesoslite_agent.launcher_client import LauncherBroken, LauncherClient, LauncherRefused
from mesoslite_agent.sandbox import Sandboxes
from mesoslite_agent.starts import GIVEN_UP, Live, PlainStarts
from mesoslite_agent.volumes import Volumes

FETCHES_MAX = 8  # fetchers at work at one time; each is a process of ~20 MiB
ROOTS_MAX = 4  # threads that make and free roots, sandboxes and limits
RUNTIMES_MAX = 4  # starts through a container runtime at one time: ~40 ms of a core each
RELEASE_TRIES_MAX = 5
LEASES_SINCE_VERSION = 2  # of the launcher: an older one would never end them
LEASES_TOGETHER_MAX = 1_000  # ids of one request: ~20 kB
CLOSE_S_MAX = 30.0

if TYPE_CHECKING:
    from mesoslite_agent import fetcher

T = TypeVar("T")
FAILURES = {
    Phase.FETCH: StartFailure.FETCH_FAILED,
    Phase.ROOT: StartFailure.ROOT_FAILED,
    Phase.SPAWN: StartFailure.SPAWN_FAILED,
}


class Containers:
    """All containers of one agent. One for a work directory; made and used in one event loop.

    `report` must only enqueue. `hidden` are paths of the host that tasks shall not see,
    beside the work directory. `unattended_s`: all containers are killed once their agent is gone
    for so long, however it went; None: never. `fetch_cache` is a folder, and the bytes that it may
    hold. Who first asks whether a containerizer works blocks for ~0.1 s.
    """

    def __init__(
        self,
        work_dir: Path,
        agent_id: str,
        report: Callable[[ContainerEvent], None],
        *,
        hidden: tuple[Path, ...] = (),
        unattended_s: float | None = None,
        fetch_limits: fetcher.Limits | None = None,
        fetch_cache: tuple[Path, int] | None = None,
    ) -> None:
        work_dir = work_dir.resolve()
        self._report = report
        self._fetch_limits = fetch_limits
        self._fetch_cache = fetch_cache
        self._hidden = (work_dir, *(path.resolve() for path in hidden))
        self._sandboxes = Sandboxes(work_dir / "sandboxes")
        self._volumes = Volumes.of(work_dir)
        self._log = structlog.get_logger("containers")
        oci = OciContainerizer(work_dir, agent_id, hidden=hidden)
        best_first: tuple[Containerizer, ...] = (oci, ProcessContainerizer())
        self._containerizers = {each.name: each for each in best_first}
        self._groups = oci.groups()
        self._launcher = LauncherClient(
            work_dir / "launcher",
            self._heard,
            self._listed,
            unattended_s=unattended_s,
            groups=self._groups,
        )
        self._live: dict[str, Live] = {}
        self._seen: dict[str, dict[str, Any]] | None = {}  # until `recover` has judged them
        self._fetches = asyncio.Semaphore(FETCHES_MAX)
        self._runtimes = asyncio.Semaphore(RUNTIMES_MAX)
        self._threads = ThreadPoolExecutor(ROOTS_MAX, thread_name_prefix="containers")
        self._tasks: set[asyncio.Task[Any]] = set()
        self._plain = PlainStarts(
            self._prepare_plain, self._threads, self._enter, self._ask_for, self._launcher.flush
        )
        self._closing = False

    # -- what the daemon may ask ------------------------------------------------------------------

    def available(self) -> tuple[str, ...]:
        """The containerizers that work on this host, the best first; `process` always does."""
        return tuple(name for name, each in self._containerizers.items() if not each.why_not())

    def why_not(self, name: str) -> str | None:
        """Why a containerizer cannot be used here; None: it can."""
        each = self._containerizers.get(name)
        return f"there is no containerizer {name!r}" if each is None else each.why_not()

    def sandbox(self, framework_id: str, task_id: str, container_id: str) -> Path:
        """Where a container's files are. Raises ValueError for ids that cannot name directories."""
        return self._sandboxes.path(framework_id, task_id, container_id)

    @property
    def problem(self) -> str | None:
        """Why containers cannot be started or stopped right now; None: they can."""
        return self._launcher.problem

    def start(self, spec: ContainerSpec, lease_until_s: float | None = None) -> None:
        """Begin a start. Ends in ContainerStarted or ContainerStartFailed; twice is once.

        With `lease_until_s` the launcher kills it then, by CLOCK_BOOTTIME, unless `lease` is called
        in time.
        """
        if spec.container_id in self._live:
            return
        live = Live(spec.container_id, spec.containerizer, lease_until_s=lease_until_s)
        self._live[spec.container_id] = live
        if lease_until_s is not None and 0 < self._launcher.version < LEASES_SINCE_VERSION:
            text = "the launcher that runs is older than fences: it ends when its tasks have"
            self._spawn(self._fail(live, StartFailure.SPAWN_FAILED, text))
            return
        if spec.uris or spec.containerizer != ProcessContainerizer.name:
            live.starting = self._spawn(self._start(live, spec))
            return
        live.asked = asyncio.get_running_loop().create_future()
        if self._plain.add(live, spec):
            self._spawn(self._plain.run())

    def lease(self, container_ids: Sequence[str], until_s: float) -> None:
        """These, which have a lease, may run until then. Lost with the launcher: then it is early.

        A launcher that cannot be told now kills them when the lease is over that it knows.
        """
        known = [live for i in container_ids if (live := self._live.get(i)) is not None]
        for live in known:
            live.lease_until_s = until_s
        for first in range(0, len(known), LEASES_TOGETHER_MAX):
            ids = [live.container_id for live in known[first : first + LEASES_TOGETHER_MAX]]
            answer = self._launcher.ask("lease", ids=ids, until_s=until_s)
            if answer is not None:
                answer.add_done_callback(_hear_no_more)

    def stop(self, container_id: str, signal_number: int) -> None:
        """Send a signal to every process of a container that has started."""
        live = self._live.get(container_id)
        if live is not None and live.started and not live.over:
            self._spawn(self._signal(container_id, signal_number))

    def abort(self, container_id: str) -> None:
        """Give up a start in whatever phase it is; of a container that runs: kill it.

        Ends in ContainerStartFailed or, when the command had already started, ContainerExited.
        """
        live = self._live.get(container_id)
        if live is None or live.over or live.given_up:
            return
        live.given_up = True
        self._spawn(self._abort(live))

    def destroy(self, container_id: str) -> None:
        """Free everything that an ended container still holds but its sandbox. Idempotent.

        To be called when its end is known for good: after it nothing can be asked about it again.
        """
        live = self._live.get(container_id)
        if live is not None and not live.over:
            self._log.error("destroy of a container that is not over", container_id=container_id)
            return
        name = live.containerizer if live is not None else None
        self._live.pop(container_id, None)
        if name == ProcessContainerizer.name and self._forget(container_id):
            return  # it holds nothing
        self._spawn(self._destroy(container_id, name))

    async def recover(self, known: set[str]) -> None:
        """To be awaited once, before anything else; starts the launcher when there is none.

        Reports what became of each known container, and destroys whatever else of this agent is on
        the host: processes, cgroups, mounts. Raises LauncherBroken.
        """
        await self._launcher.open()
        # A container whose intent was damaged in the journal has no data, and may hold a root. This
        # is asked while the launcher's words are still gathered: an end meanwhile would be missed.
        holders = {
            container_id: each.name
            for each in self._containerizers.values()
            for container_id in await self._in_thread(each.held)
        }
        assert self._seen is not None
        seen, self._seen = self._seen, None
        for container_id in seen.keys() & known:
            event = seen[container_id]
            holder = holders.get(container_id, ProcessContainerizer.name)
            name = str((event["data"] or {}).get("containerizer", holder))
            self._live[container_id] = Live(container_id, name, Phase.SPAWN, fields={})
            self._heard(event)
        await asyncio.gather(*(self._purge(each) for each in seen.keys() - known))
        for each in self._containerizers.values():
            for container_id in await self._in_thread(each.held) - (seen.keys() & known):
                await self._release(container_id, each.name)
        for container_id in sorted(known - seen.keys()):
            live = Live(container_id, "process", Phase.SPAWN, over=True)
            self._live[container_id] = live
            if self._launcher.forgetful:  # it may have been started, and may run
                live.fields = self._sandboxes.traces(container_id)
                await self._lost(live)
                continue
            text = "the agent ended before the command was started"
            self._report(
                exits.start_failed(container_id, live.phase, StartFailure.NEVER_ASKED, text)
            )

    async def collect_sandboxes(
        self, now_s: float, keep: Iterable[str], age_s_max: float
    ) -> list[Path]:
        """Remove old sandboxes, see Sandboxes.collect; never one that is not destroyed."""
        kept = frozenset(keep) | frozenset(self._live)
        return await self._in_thread(self._sandboxes.collect, now_s, kept, age_s_max)

    async def close(self, *, kill: bool) -> None:
        """Let go. Without `kill` every container runs on, for a next agent to `recover`.

        With it all are killed without a report, their roots and limits freed, the launcher ended.
        """
        # A start in a thread, or a fetcher, must not come after the end.
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if kill:
            self._closing = True
            try:
                await self._launcher.shut_down(kill=True, patience_s=CLOSE_S_MAX)
            except LauncherBroken as error:
                self._log.error("containers may be left", problem=str(error))
            for each in self._containerizers.values():
                for container_id in await self._in_thread(each.held):
                    await self._release(container_id, each.name)
                await self._in_thread(each.close)
        else:  # the launcher will, when something is in them still; but there may be none
            await self._in_thread(functools.partial(remove_empty, self._groups, below=False))
        await self._launcher.close()
        await asyncio.to_thread(self._threads.shutdown)

    # -- starts that are prepared with others, see `PlainStarts` -----------------------------------

    def _prepare_plain(self, spec: ContainerSpec) -> Launch | str:
        """Sandbox and command, or why not. Blocks."""
        try:
            sandbox, user = self._make_sandbox(spec)
            return self._prepare(spec, sandbox, user)
        except (OSError, ValueError, CannotPrepare) as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - else a bug leaves a task staging
            self._log.exception("a start failed", container_id=spec.container_id)
            return f"{type(error).__name__}: {error}"

    def _ask_for(self, live: Live, launch: Launch | str) -> None:
        if live.given_up:
            launch = GIVEN_UP
        if isinstance(launch, str):
            self._spawn(self._fail(live, FAILURES[live.phase], launch))
            return
        live.fields = launch.fields()
        self._enter(live, Phase.SPAWN)
        try:
            answer = self._launcher.ask("start", **live.request())
        except LauncherRefused as refused:
            self._spawn(self._fail(live, StartFailure.SPAWN_FAILED, str(refused)))
            return
        if answer is None:
            self._spawn(self._ask_again(live))
        else:
            answer.add_done_callback(functools.partial(self._answered, live))

    def _answered(self, live: Live, answer: asyncio.Future[dict[str, Any]]) -> None:
        if answer.cancelled():
            return
        if answer.exception() is not None:  # the launcher is gone; the next one is asked
            self._spawn(self._ask_again(live))
        elif answer.result()["ok"]:
            live.was_asked()
        else:
            text = answer.result()["error"]
            self._spawn(self._fail(live, StartFailure.SPAWN_FAILED, text))

    async def _ask_again(self, live: Live) -> None:
        try:
            await self._launcher.until_connected()
            # A start after the kill would run, and one after its loss might run twice.
            await self._launcher.request(
                "start", wanted=lambda: not (live.given_up or live.over), **live.request()
            )
            live.was_asked()
        except LauncherRefused as refused:
            await self._fail(live, StartFailure.SPAWN_FAILED, str(refused))

    # -- a start that takes its time ---------------------------------------------------------------

    async def _start(self, live: Live, spec: ContainerSpec) -> None:
        try:
            launch = await self._prepared(live, spec)
            if live.given_up:
                raise _GaveUp
            live.fields = launch.fields()
            self._enter(live, Phase.SPAWN)
            await self._launcher.request("start", wanted=lambda: not live.over, **live.request())
        except (_GaveUp, asyncio.CancelledError):
            if live.given_up and live.fields is None:
                await self._fail(live, FAILURES[live.phase], GIVEN_UP)
            else:
                self._make_room(live)
                raise
        except _Failed as failed:
            await self._fail(live, failed.failure, str(failed))
        except LauncherRefused as refused:
            await self._fail(live, StartFailure.SPAWN_FAILED, str(refused))
        except Exception as error:  # noqa: BLE001 - else a bug leaves a task staging
            self._log.exception("a start failed", container_id=live.container_id)
            await self._fail(live, FAILURES[live.phase], f"{type(error).__name__}: {error}")

    async def _prepared(self, live: Live, spec: ContainerSpec) -> Launch:
        """The phases FETCH and ROOT. Raises _Failed."""
        self._enter(live, Phase.FETCH)
        reason = self.why_not(spec.containerizer)
        if reason is not None:
            raise _Failed(StartFailure.CONTAINERIZER_UNAVAILABLE, reason)
        try:
            sandbox, user = await self._in_thread(self._make_sandbox, spec)
        except (OSError, ValueError, CannotPrepare) as error:
            raise _Failed(StartFailure.ROOT_FAILED, str(error)) from None
        if spec.uris:
            async with self._fetches:
                await self._fetch(spec, sandbox, user if spec.user is not None else None)
        if spec.containerizer == OciContainerizer.name:
            await self._runtimes.acquire()
            live.room = self._runtimes
        self._enter(live, Phase.ROOT)
        try:
            return await self._in_thread(self._prepare, spec, sandbox, user)
        except (OSError, CannotPrepare) as error:
            raise _Failed(StartFailure.ROOT_FAILED, str(error)) from None

    def _make_sandbox(self, spec: ContainerSpec) -> tuple[Path, User]:
        """Where it is, and whose. Blocks; raises OSError, ValueError, CannotPrepare."""
        sandbox = self.sandbox(spec.framework_id, spec.task_id, spec.container_id)
        user = resolve_user(spec.user)
        self._sandboxes.make(sandbox, None if spec.user is None else (user.uid, user.gid))
        return sandbox, user

    def _prepare(self, spec: ContainerSpec, sandbox: Path, user: User) -> Launch:
        """Its volumes, its root and its limits. Blocks; raises OSError, CannotPrepare."""
        each = self._containerizers[spec.containerizer]
        if not spec.volumes:
            return each.prepare(spec, sandbox, user)
        volumes = tuple(
            Mounted(str(self._volumes.open(one.directory, (user.uid, user.gid))), one.path)
            for one in spec.volumes
        )
        return each.prepare(spec, sandbox, user, volumes)

    async def _fetch(self, spec: ContainerSpec, sandbox: Path, user: User | None) -> None:
        from mesoslite_agent import fetcher  # 12 ms of HTTP and archives that few agents need

        become = None if user is None else (user.uid, user.gid, user.groups)
        try:
            child = await asyncio.create_subprocess_exec(
                *fetcher.command(),
                cwd=sandbox,
                env=fetcher.environment(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            text = f"the fetcher could not be started: {error}"
            raise _Failed(StartFailure.FETCH_FAILED, text) from None
        try:
            _, said = await child.communicate(
                fetcher.request(
                    spec.uris, become, self._fetch_limits, self._hidden, self._fetch_cache
                )
            )
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
            raise
        if child.returncode != 0:
            lines = said.decode(errors="replace").strip().splitlines()
            text = lines[-1] if lines else f"the fetcher ended with {child.returncode}"
            raise _Failed(StartFailure.FETCH_FAILED, text)

    async def _abort(self, live: Live) -> None:
        if live.starting is not None:
            # Before the signal: a start that is asked again after it would run.
            if live.phase is not Phase.ROOT:
                live.starting.cancel()
            await asyncio.wait([live.starting])
        if live.asked is not None:
            await asyncio.wait([live.asked])
        if live.over:
            return
        if not await self._signal(live.container_id, signal.SIGKILL) and not live.over:
            await self._fail(live, StartFailure.SPAWN_FAILED, GIVEN_UP)

    async def _signal(self, container_id: str, number: int) -> bool:
        """False when the launcher has never heard of the container."""
        try:
            await self._launcher.request("signal", id=container_id, signal=number)
        except LauncherRefused as refused:
            return refused.code != "no-container"
        return True

    def _enter(self, live: Live, phase: Phase) -> None:
        live.phase = phase
        self._report(ContainerPhase(live.container_id, phase))

    async def _fail(self, live: Live, failure: StartFailure, text: str) -> None:
        """Leave nothing of a start that came to nothing, then say so."""
        live.over = True
        live.was_asked()
        await self._release(live.container_id, live.containerizer)
        self._make_room(live)
        self._report(exits.start_failed(live.container_id, live.phase, failure, text))

    @staticmethod
    def _make_room(live: Live) -> None:
        if live.room is not None:
            live.room.release()
            live.room = None

    # -- what the launcher says -------------------------------------------------------------------

    def _heard(self, event: dict[str, Any]) -> None:
        if self._seen is not None:
            self._seen[event["id"]] = event
            return
        if self._closing:
            return
        live = self._live.get(event["id"])
        if live is None or live.over:
            return
        if event["event"] == "starting":
            return
        self._make_room(live)
        if event["event"] == "started":
            self._has_started(live, event)
        elif event["event"] == "failed":
            live.over = True
            self._spawn(self._fail(live, exits.failure_of(event), event["error"]))
        elif event["event"] == "exited":
            if not event["lost"]:
                self._has_started(live, event)
            live.over = True
            self._has_ended(live, event)

    def _has_started(self, live: Live, event: dict[str, Any]) -> None:
        if not live.started:
            live.started = True
            self._report(ContainerStarted(live.container_id, event["pid"]))

    def _has_ended(self, live: Live, event: dict[str, Any]) -> None:
        each = self._containerizers[live.containerizer]
        if isinstance(each, OciContainerizer):
            self._spawn(self._measure(live, event, each))
        else:
            self._report(exits.exited(event))

    async def _measure(self, live: Live, event: dict[str, Any], each: Containerizer) -> None:
        measured = await self._in_thread(each.measure, live.container_id)
        # One that ended well had a child killed and got over it.
        oom = measured.oom_kills > 0 and event["exit_code"] != 0
        self._report(exits.exited(event, oom=oom, usage=measured.usage))

    def _listed(self, ids: frozenset[str]) -> None:
        """After each connection: what should be there and is not was lost with its journal."""
        if self._seen is not None:
            return
        for live in list(self._live.values()):
            asked = live.fields is not None and self._launcher.forgetful
            if (live.started or asked) and not live.over and live.container_id not in ids:
                live.over = True
                self._spawn(self._lost(live))
        for container_id in ids - self._live.keys():  # the connection was lost as it was forgotten
            self._spawn(self._purge(container_id))

    async def _lost(self, live: Live) -> None:
        live.was_asked()
        self._make_room(live)
        if live.fields:
            await self._in_thread(
                journal.kill_lost, [journal.Container(live.container_id, live.fields)]
            )
        lost = journal.Container(live.container_id, {})
        lost.lose()
        self._has_ended(live, lost.describe())

    # -- the end ----------------------------------------------------------------------------------

    async def _purge(self, container_id: str) -> None:
        """End and forget a container that nobody knows."""
        until = asyncio.get_running_loop().time() + CLOSE_S_MAX
        while not await self._forgotten(container_id):
            if asyncio.get_running_loop().time() > until:
                self._log.error("a process does not end", container_id=container_id)
                return
            await self._signal(container_id, signal.SIGKILL)
            await asyncio.sleep(0.02)

    def _forget(self, container_id: str) -> bool:
        """Have the launcher forget a container that is over. False when it cannot be asked now.

        If the answer is lost, the list of the next connection tells.
        """
        answer = self._launcher.ask("forget", patient=True, id=container_id)
        if answer is not None:
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return answer is not None

    async def _forgotten(self, container_id: str) -> bool:
        try:
            await self._launcher.request("forget", id=container_id)
        except LauncherRefused as refused:
            return refused.code != "running"
        return True

    async def _destroy(self, container_id: str, name: str | None) -> None:
        for each in self._containerizers if name is None else (name,):
            await self._release(container_id, each)
        await self._forgotten(container_id)

    async def _release(self, container_id: str, name: str) -> None:
        """Free root and limits. What cannot be freed now is found again by `recover`."""
        each = self._containerizers.get(name)
        if not isinstance(each, OciContainerizer):
            return
        for attempt in range(RELEASE_TRIES_MAX):
            try:
                await self._in_thread(each.release, container_id)
                return
            except OSError as error:
                self._log.warning("not freed", container_id=container_id, problem=str(error))
                await asyncio.sleep(0.1 * 2**attempt)

    # -- tasks and threads ------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None] | Coroutine[Any, Any, bool]) -> Any:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.error("a container's work failed", exc_info=task.exception())

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


class _GaveUp(Exception):
    """The start was given up between two phases."""


def _hear_no_more(answer: asyncio.Future[dict[str, Any]]) -> None:
    """Nobody waits for it: take note of a lost connection, or asyncio would complain."""
    if not answer.cancelled():
        answer.exception()


class _Failed(Exception):
    def __init__(self, failure: StartFailure, text: str) -> None:
        super().__init__(text)
        self.failure = failure
