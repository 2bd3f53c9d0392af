"""Drives a session: the stream to the master, the callbacks, and the time.

Plain callbacks run in one thread of their own, so that heartbeats go on while the author's code
works (docs/decisions.md D13); coroutines run on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import queue
import random
import secrets
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import assert_never

import structlog

from mesoslite.clock import Clock
from mesoslite.credentials import TokenFileError, find_token_file, read_tokens
from mesoslite.link import SCHEDULER_BACKOFF, Ends, Link
from mesoslite.loop import Inbox, drive
from mesoslite.masters import Locator, find_masters
from mesoslite.messages import Accept, AcceptResult, Decline, Heartbeat, SchedulerCall
from mesoslite.model import OperationResult, Refusal, TaskStatus
from mesoslite.scheduler import calling
from mesoslite.scheduler.protocol import (
    Callback,
    CallbackReturned,
    Decided,
    Denied,
    DropStream,
    Effect,
    Event,
    Finish,
    MasterSpoke,
    OnStatus,
    OnStatuses,
    OnUnsatisfiable,
    RunCallback,
    StatusesTold,
    StoreAnswered,
    StreamLost,
    StreamOpened,
    Tick,
    ToMaster,
)
from mesoslite.scheduler.scheduler import Returned, Scheduler
from mesoslite.scheduler.session import Session
from mesoslite.scheduler.store import StoreClosed
from mesoslite.streams import CLOSE_S, weigh
from mesoslite.v1 import scheduler_pb2
from mesoslite.wire import (
    MESSAGE_BYTES_MAX,
    MalformedMessage,
    scheduler_events_from_wire,
    scheduler_requests,
)

log = structlog.get_logger("mesoslite.scheduler")

TOLD_INTERVAL_S = 0.005  # acknowledgements of statuses that are told together wait no longer
# What weighs less fits into a message in any case: a character has up to four bytes.
SURELY_SENDABLE_BYTES = MESSAGE_BYTES_MAX // 4


class SessionInbox(Inbox[Event]):
    """Full, too, while the author's code is behind: then the master's stream is not read."""

    def __init__(self, now_ms: Callable[[], int], session: Session) -> None:
        super().__init__(now_ms)
        self._session = session

    @property
    def full(self) -> bool:
        """True when `put` would wait."""
        return super().full or self._session.congested


class CallbackThread:
    """One thread, for callbacks that are no coroutines; started when the first one comes.

    A daemon thread: a callback that never returns must not keep the process from ending.
    """

    def __init__(self, done: Callable[[Returned], None], failed: Callable[[BaseException], None]):
        self._done = done
        self._failed = failed
        self._jobs: queue.SimpleQueue[Callable[[], Returned] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, job: Callable[[], Returned]) -> None:
        """Run a job after those before it; `done` or `failed` is called in the thread."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name="mesoslite-callbacks", daemon=True
            )
            self._thread.start()
        self._jobs.put(job)

    def close(self) -> None:
        """End the thread after the job that runs. Does not wait for it."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                returned = job()
            except BaseException as error:  # noqa: BLE001 - it is the author's, and ends `run`
                self._failed(error)
            else:
                self._done(returned)


class Driver:
    """Runs one scheduler once. Raises TypeError or ValueError for what can not be run."""

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        master: str | None = None,
        token_file: str | Path | None = None,
        connect_timeout_s: float | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._masters = find_masters(master)
        self._token_path = find_token_file(token_file)
        self._connect_timeout_s = connect_timeout_s
        self._session = Session(
            calling.session_config(scheduler, secrets.token_hex(16), socket.gethostname())
        )
        self._clock = Clock()
        self._inbox = SessionInbox(self._clock.now_ms, self._session)
        self._link: Link[SchedulerCall, Event] = Link(
            Locator(self._masters),
            Ends(
                method="/mesoslite.v1.SchedulerService/Subscribe",
                pack=scheduler_requests,
                parse=_parse,
                opened=StreamOpened,
                lost=StreamLost,
                still_there=lambda: MasterSpoke(self._session.epoch, Heartbeat()),
                denied=self._denied,
            ),
            self._inbox,
            token=self._token,
            backoff=SCHEDULER_BACKOFF,
            rng=random.Random(secrets.randbits(64)),
        )
        self._no_token = ""
        self._finish = Finish()
        self._failure: BaseException | None = None
        self._collecting = False
        self._coroutine: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = CallbackThread(
            lambda returned: self._soon(self._returned, returned),
            lambda error: self._soon(self._fail, error),
        )

    async def run(self) -> Finish:
        """Until the session has finished. Raises what a callback raised, or ConnectionError."""
        if self._scheduler._notify is not None:
            raise RuntimeError(f"{type(self._scheduler).__name__} is being run already")
        _logs_to_stderr()
        self._loop = asyncio.get_running_loop()
        self._scheduler._on_call(self._notified)
        self._scheduler.store._open(self._scheduler._record)
        self._collect()
        driving = asyncio.create_task(self._drive())
        dialling = asyncio.create_task(self._link.run())
        timeout = None
        if self._connect_timeout_s is not None:
            timeout = self._loop.call_later(self._connect_timeout_s, self._give_up)
        try:
            await asyncio.wait({driving, dialling}, return_when=asyncio.FIRST_COMPLETED)
            self._link.close()  # what the session said before it ended is still written
            if driving.done() and driving.exception() is None and self._link.connected:
                await asyncio.wait({dialling}, timeout=3 * CLOSE_S)
        finally:
            if timeout is not None:
                timeout.cancel()
            await self._end(driving, dialling)
        for task in (driving, dialling):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        if self._failure is not None:
            raise self._failure
        return self._finish

    async def _end(self, *tasks: asyncio.Task[None]) -> None:
        self._scheduler._on_call(None)
        self._scheduler.store._close()
        self._scheduler._take_calls()  # what was called too late is not the next run's
        self._inbox.close()
        self._thread.close()
        running = [*tasks, *([self._coroutine] if self._coroutine is not None else [])]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _drive(self) -> None:
        await drive(
            self._session, self._inbox, Tick, _nothing_durable, self._perform, self._clock.now_ms
        )

    # --- effects ----------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        match effect:
            case ToMaster(call):
                self._say(call)
            case DropStream(why):
                self._link.drop(why)
            case RunCallback(callback):
                self._start(callback)
            case StoreAnswered(answer):
                self._scheduler.store._answered(answer)
            case Finish():
                self._finish = effect
                self._inbox.close()
            case _:
                assert_never(effect)

    def _say(self, call: SchedulerCall) -> None:
        if isinstance(call, Accept) and weigh(call) > SURELY_SENDABLE_BYTES:
            try:
                for _message in scheduler_requests([call]):
                    pass
            except MalformedMessage as error:
                # It would never arrive: the offers go back, and each launch is answered here.
                self._link.say(Decline(call.offer_ids, 0))
                result = OperationResult(error.refusal, str(error))
                results = AcceptResult(call.number, (result,) * len(call.operations))
                self._inbox.post(MasterSpoke(self._session.epoch, results))
                return
        self._link.say(call)

    # --- callbacks --------------------------------------------------------------------------------

    def _start(self, callback: Callback | OnStatuses) -> None:
        if isinstance(callback, OnStatuses):
            self._tell(callback.statuses)
        elif not calling.overridden(self._scheduler, callback):
            if isinstance(callback, OnUnsatisfiable):  # or its author would wait for an offer
                request_id, why = callback.request_id, callback.message
                refusal = callback.refusal.name
                log.warning(
                    "a request is unsatisfiable", request=request_id, refusal=refusal, why=why
                )
            self._inbox.post(CallbackReturned())
        elif inspect.iscoroutinefunction(calling.method_of(self._scheduler, callback)):
            self._returned(calling.call(self._scheduler, callback))
        else:
            self._thread.run(lambda: calling.call(self._scheduler, callback))

    def _tell(self, statuses: tuple[TaskStatus, ...]) -> None:
        update = self._scheduler.status_update
        if not calling.overridden(self._scheduler, OnStatus(statuses[0])):
            self._told(len(statuses))
            self._inbox.post(CallbackReturned())
        elif inspect.iscoroutinefunction(update):
            self._returned(self._tell_each(statuses))
        else:
            self._thread.run(lambda: self._tell_all(statuses))

    async def _tell_each(self, statuses: tuple[TaskStatus, ...]) -> None:
        """On the loop, where handing over costs nothing: each is counted at once."""
        for status in statuses:
            if self._scheduler._stop_called:
                return
            returned = self._scheduler.status_update(status)
            if returned is not None:
                await returned
            self._told(1)

    def _tell_all(self, statuses: tuple[TaskStatus, ...]) -> None:
        """In the thread: they are counted together, but none waits for long to be."""
        count = 0
        counted_s = time.monotonic()
        try:
            for status in statuses:
                if self._scheduler._stop_called:
                    break
                returned = self._scheduler.status_update(status)
                if returned is not None:
                    self._wait_for(returned)
                count += 1
                if (now_s := time.monotonic()) - counted_s >= TOLD_INTERVAL_S:
                    self._soon(self._told, count)
                    count, counted_s = 0, now_s
        finally:
            self._soon(self._told, count)

    def _wait_for(self, returned: Awaitable[None]) -> None:
        """In the thread: a plain function has returned something to be awaited."""

        async def wait() -> None:
            await returned

        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(wait(), self._loop).result()

    def _told(self, count: int) -> None:
        self._inbox.post(StatusesTold(count))

    def _returned(self, returned: Returned) -> None:
        if inspect.isawaitable(returned):
            self._coroutine = asyncio.ensure_future(self._await(returned))
            return
        self._collect()
        self._inbox.post(CallbackReturned())

    async def _await(self, returned: Returned) -> None:
        try:
            if returned is not None:
                await returned
        except BaseException as error:  # noqa: BLE001 - it is the author's, and ends `run`
            self._fail(error)
        else:
            self._returned(None)

    def _fail(self, error: BaseException) -> None:
        """The first failure ends the run; a cancelled run has closed its inbox before."""
        if self._failure is not None or self._inbox.closed:
            return
        if isinstance(error, StoreClosed) and self._session.ending:
            # What ends the scheduler has closed its store under a callback. That is what the run
            # is to end with, and the session tells it once the callback is over.
            self._collect()
            self._inbox.post(CallbackReturned(interrupted=True))
            return
        self._failure = error
        self._collect()
        self._inbox.close()

    def _give_up(self) -> None:
        if not self._session.framework_id:
            why = self._no_token or f"no master answers at {self._masters}"
            self._fail(ConnectionError(f"{why} (waited {self._connect_timeout_s} s)"))

    # --- calls of the author's code ---------------------------------------------------------------

    def _notified(self) -> None:
        # In any thread. What is recorded after `_collect` has begun makes another one.
        if not self._collecting:
            self._collecting = True
            self._soon(self._collect)

    def _collect(self) -> None:
        self._collecting = False
        for decision in self._scheduler._take_calls():
            self._inbox.post(Decided(decision))

    def _soon(self, function: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function, *arguments)

    # --- the token --------------------------------------------------------------------------------

    def _token(self) -> str:
        self._no_token = ""
        try:
            return read_tokens(self._token_path).own
        except TokenFileError as error:
            if not self._token_path.exists():
                self._no_token = str(error)
            raise

    def _denied(self, refusal: Refusal, why: str) -> Event | None:
        # A file that is not there yet may come with the master that makes it: go on trying.
        return None if self._no_token else Denied(refusal, why)


def _parse(data: bytes) -> Sequence[Event]:
    response = scheduler_pb2.SubscribeResponse.FromString(data)
    epoch, events = scheduler_events_from_wire(response)
    return [MasterSpoke(epoch, event) for event in events]


async def _nothing_durable(_effects: Sequence[Effect]) -> None:
    """A session keeps nothing on disk: the master and the agents hold the truth."""


def _logs_to_stderr() -> None:
    """What a scheduler prints is its own: notes do not belong between it, unless so configured."""
    if not structlog.is_configured():
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
