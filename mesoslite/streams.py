"""What both ends of every stream share: the coalescing outbox, the reader, and how a stream ends.

A stream is a gRPC bidirectional call which carries batches. The outbox writes at once when the
stream is idle, and whatever piles up during a write goes out as the next message: the budget is
60 us a message and 7 us a task. Protobuf stays in `mesoslite.wire`: packing and
parsing come in as functions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError

from mesoslite.files import FileChunk
from mesoslite.loop import Inbox
from mesoslite.measures import Traffic
from mesoslite.messages import (
    Accept,
    AcceptResult,
    Acknowledge,
    AcknowledgeStatus,
    ConfirmResults,
    Decline,
    Offers,
    Reconcile,
    ReconcileTasks,
    Refused,
    Register,
    RequestResources,
    Rescind,
    RunTask,
    StatusReport,
    StoreAnswer,
    TaskMessage,
    TasksOnAgent,
    Update,
    WriteStore,
)
from mesoslite.model import Launch, Refusal, Request, StoreWrite, Task
from mesoslite.resources import Resources
from mesoslite.wire import MalformedMessage

T = TypeVar("T")
E = TypeVar("E")

MESSAGE_BYTES_LIMIT = 4 * 1024 * 1024  # gRPC's own limit, each way; we send 1 MiB at most (D18)
# Bytes that wait for one peer, as `weigh` estimates them.
OUTBOX_HIGH_BYTES = 4 * 1024 * 1024  # four full messages behind: it reads slower than we speak
OUTBOX_LOW_BYTES = 1024 * 1024
OUTBOX_HARD_BYTES = 64 * 1024 * 1024  # 200,000 statuses: a whole reconciliation fits
OUTBOX_WRITE_BYTES = 1024 * 1024  # taken at a time, so that what is written stops counting soon
BULK_ITEMS_MAX = 2  # chunks of files that wait, of 256 KiB each; the reader of files waits for room
PATIENCE_S = 0.02  # of what can wait: far more than a task needs for its next word
STILL_THERE_S = 1.0  # far below any sensible silence that counts as death
CLOSE_S = 5.0  # for the last words, then a stream is cut
WINDOW_BYTES = 1024 * 1024  # of a stream that its peer may send before we read: one full message
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_BYTES_LIMIT),
    # Else both ends measure the line, by a ping of their own for each message that comes alone: a
    # third of all that is sent and received for a heartbeat, and for a stream that opens. The
    # window that the measuring is for is fixed instead: 20 MB/s of a stream where the way takes
    # 25 ms (36 with the pings, 14 without either).
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
    ("grpc.enable_http_proxy", 0),  # a cluster's own addresses are not the web's
)

STREAM_ERRORS = (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError)
"""What reading or writing raises when the stream is over."""


class Outgoing(Protocol):
    """A protobuf message, as far as sending it goes."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """Its bytes."""
        ...


class Outbox(Generic[T]):
    """What is to be written to one peer: bounded, in order, as few messages as possible.

    `put` never waits. What nobody waits for (`can_wait`) goes with what is said next, or by itself
    after PATIENCE_S: most words about one task would be messages of their own else.

    Above OUTBOX_HIGH_BYTES `paused` is called once, and `resumed` below OUTBOX_LOW_BYTES; above
    OUTBOX_HARD_BYTES everything is dropped and the stream closed, with the refusal OUTBOX_FULL as
    its last word. Files go through `put_bulk`, a lane of its own that waits for room; at most one
    of its items goes out with a message, so that a log which is read never delays a status by more
    than that.
    """

    def __init__(
        self,
        *,
        paused: Callable[[], None] | None = None,
        resumed: Callable[[], None] | None = None,
        refused: Callable[[Refused], T] | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self.traffic = traffic or Traffic()
        """Counts the messages of the stream, both ways; may be shared with others."""
        self._items: deque[tuple[T, int]] = deque()
        self._bulk: deque[T] = deque()
        self._bulk_room = asyncio.Semaphore(BULK_ITEMS_MAX)
        self._ended = False
        self._bytes = 0
        self._paused = False
        self._on_paused = paused
        self._on_resumed = resumed
        self._refused = refused
        self._wake = asyncio.Event()
        """Set when there is something to be written that does not wait."""
        self._patience: asyncio.TimerHandle | None = None
        self._closing = False
        self._converses: asyncio.Future[None] | None = None

    @property
    def waiting_bytes(self) -> int:
        """The estimated size of what was put and is not written yet."""
        return self._bytes

    def put(self, item: T) -> None:
        """Say this, after all that was put before. After `close` it is dropped. O(1)."""
        if self._closing:
            return
        kind = type(item)
        measure = _WEIGHTS.get(kind)
        size = _WEIGHT_DEFAULT if measure is None else measure(item)
        # One large item, a registration, is taken alone whatever its size: a full agent must
        # always be able to register (D18).
        if self._items and self._bytes + size > OUTBOX_HARD_BYTES:
            self._overflow()
            return
        self._items.append((item, size))
        self._bytes += size
        patient = _PATIENT.get(kind)
        if patient is None or not patient(item):
            self._wake.set()
        elif self._patience is None and not self._wake.is_set():
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(PATIENCE_S, self._no_patience)
        if not self._paused and self._bytes > OUTBOX_HIGH_BYTES:
            self._paused = True
            if self._on_paused is not None:
                self._on_paused()

    async def put_bulk(self, item: T) -> None:
        """Say this when nothing more important waits. Returns once there was room for it.

        After `close`, or when nobody writes any more, it is dropped.
        """
        if self._is_over():
            return
        await self._bulk_room.acquire()
        if self._is_over():
            self._bulk_room.release()  # for the next that waits, who is dropped too
            return
        self._bulk.append(item)
        self._wake.set()

    def _no_patience(self) -> None:
        self._patience = None
        if self._items:
            self._wake.set()

    def _is_over(self) -> bool:
        return self._ended or self._closing

    def is_closing(self) -> bool:
        """Since `close`: the stream ends when what is in has been written."""
        return self._closing

    def until_closing(self) -> asyncio.Future[None]:
        """Done from `close` on; for whoever runs the stream, which needs no task to wait for it."""
        self._converses = asyncio.get_running_loop().create_future()
        if self._closing:
            self._converses.set_result(None)
        return self._converses

    def close(self, last: Refused | None = None) -> None:
        """End the stream when everything put so far, then `last`, has been written."""
        if not self._closing:
            if last is not None and self._refused is not None:
                self._items.append((self._refused(last), 0))
            self._closing = True
            self._wake.set()
            if self._converses is not None and not self._converses.done():
                self._converses.set_result(None)

    def end(self) -> None:
        """Nobody writes any more: whoever waits for room is let go. O(bulk items)."""
        self._ended = True
        if self._patience is not None:
            self._patience.cancel()
        self._drop_bulk()

    def _overflow(self) -> None:
        self._items.clear()
        self._drop_bulk()
        self._bytes = 0
        self.close(Refused(Refusal.OUTBOX_FULL, Refusal.OUTBOX_FULL.value))

    def _drop_bulk(self) -> None:
        while self._bulk:
            self._bulk.popleft()
            self._bulk_room.release()

    async def write_all(
        self,
        pack: Callable[[Sequence[T]], Iterable[Outgoing]],
        write: Callable[[bytes], Awaitable[None]],
    ) -> None:
        """Write for as long as the outbox is open, then what is left. Raises as `write` does."""
        while True:
            if not self._items and not self._bulk:
                if self._closing:
                    return
                self._wake.clear()
            if not self._wake.is_set():
                await self._wake.wait()
                continue
            batch, size = self._take()
            for message in pack(batch):
                data = message.SerializeToString()
                self.traffic.sent += 1
                self.traffic.sent_bytes += len(data)
                await write(data)
            # An overflow meanwhile has counted everything as gone.
            self._bytes = max(0, self._bytes - size)
            if self._paused and self._bytes <= OUTBOX_LOW_BYTES and not self._closing:
                self._paused = False
                if self._on_resumed is not None:
                    self._on_resumed()

    def _take(self) -> tuple[list[T], int]:
        items = self._items
        if self._bytes < OUTBOX_WRITE_BYTES:
            batch, size = [item for item, _ in items], sum([weight for _, weight in items])
            items.clear()
        else:
            batch, size = [], 0
        while items and size < OUTBOX_WRITE_BYTES:
            item, weight = items.popleft()
            batch.append(item)
            size += weight
        if self._bulk:
            batch.append(self._bulk.popleft())
            self._bulk_room.release()
        return batch, size


async def listen(
    read: Callable[[], Awaitable[object]],
    parse: Callable[[bytes], Sequence[E]],
    inbox: Inbox[E],
    still_there: Callable[[], E] | None,
    is_closing: Callable[[], bool],
    *,
    traffic: Traffic | None = None,
    still_there_s: float = STILL_THERE_S,
    patient: Callable[[E], bool] | None = None,
) -> Refused | None:
    """Read a stream into the inbox until its end. Returns what is wrong with it, if it was that.

    While the inbox is full the stream is not read, so the peer's own writes come to wait. That
    is our doing, so meanwhile `still_there`, if any, speaks for it each `still_there_s`, or it
    would be declared dead (D18). Once `is_closing` what arrives is thrown away. An event that
    comes alone and is `patient` waits in the inbox for others. Raises as `read` does.
    """
    traffic = traffic or Traffic()
    while True:
        message = await read()
        if not isinstance(message, bytes):
            return None
        traffic.received += 1
        traffic.received_bytes += len(message)
        if is_closing():
            continue
        try:
            events = parse(message)
        except MalformedMessage as error:
            return Refused(error.refusal, str(error))
        except DecodeError:
            return Refused(Refusal.MALFORMED, "this is no message of this service")
        if inbox.full and still_there is not None:
            await _put_throttled(inbox, events, still_there, still_there_s)
        elif patient is not None and len(events) == 1 and not inbox.full and patient(events[0]):
            inbox.post_patiently(events[0])
        else:
            await inbox.put(events)


async def _put_throttled(
    inbox: Inbox[E], events: Sequence[E], still_there: Callable[[], E], interval_s: float
) -> None:
    giving = asyncio.ensure_future(inbox.put(events))
    try:
        while not giving.done():
            await asyncio.wait({giving}, timeout=interval_s)
            if not giving.done():
                inbox.post(still_there())
    finally:
        giving.cancel()
    await giving


async def converse(
    outbox: Outbox[T],
    listening: Coroutine[None, None, Refused | None],
    writing: Coroutine[None, None, None],
    half_close: Callable[[], Awaitable[None]] | None = None,
) -> str:
    """Run both halves of a stream to its end, which either half, the peer or `close` brings.

    Returns why it ended. Last words get CLOSE_S; a client then says by `half_close` that there
    are no more and waits as long again for the server's end, since cutting a stream throws away
    what the peer has not read. Errors of the stream itself end it; anything else that a half
    raises is a bug and is raised.
    """
    reader = asyncio.create_task(listening)
    writer = asyncio.create_task(writing)
    first: set[asyncio.Future[Any]] = {reader, writer, outbox.until_closing()}
    try:
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        why = "the stream was closed"
        last = None
        if reader.done():
            failed = _error_of(reader)
            last = None if failed else reader.result()
            why = failed or (last.message if last else "the peer closed the stream")
        elif writer.done():
            why = _error_of(writer) or why
        outbox.close(last)
        await asyncio.wait({writer}, timeout=CLOSE_S)
        if writer.done() and not _error_of(writer) and half_close is not None:
            await half_close()
            await asyncio.wait({reader}, timeout=CLOSE_S)
        return why
    finally:
        for each in first:
            each.cancel()
        await asyncio.gather(reader, writer, return_exceptions=True)
        outbox.end()


def _error_of(task: asyncio.Task[T]) -> str:
    """Why a finished half failed, for people; empty when it did not. Raises what is a bug."""
    error = task.exception()
    if error is None:
        return ""
    if not isinstance(error, STREAM_ERRORS):
        raise error
    return describe(error)


def describe(error: BaseException) -> str:
    """An error of a stream in one line for people."""
    if isinstance(error, grpc.aio.AioRpcError):
        details = (error.details() or "").splitlines()
        return details[0] if details else error.code().name.lower().replace("_", " ")
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@lru_cache(maxsize=1_024)
def _weigh_resources(amount: Resources) -> int:
    """Most tasks are alike: 0.1 us for those seen before."""
    size = sum(30 + len(at) for at in amount.scalars)
    size += sum(20 + len(at) + 12 * len(pairs) for at, pairs in amount.ranges.items())
    return size + sum(
        len(at) + sum(4 + len(item) for item in items) for at, items in amount.sets.items()
    )


def _weigh_task(task: Task) -> int:
    size = 300 + sum(map(len, task.command)) + _weigh_resources(task.resources)
    for uri in task.uris:
        size += 100 + len(uri.value)
    for mapping in (task.environment, task.labels):
        if mapping:
            size += sum(len(key) + len(value) + 8 for key, value in mapping.items())
    return size if task.image is None else size + len(task.image)


def _weigh_writes(writes: Sequence[StoreWrite]) -> int:
    return sum(40 + len(write.key) + len(write.value or b"") for write in writes)


def _weigh_accept(accept: Accept) -> int:
    tasks = (op.task for op in accept.operations if isinstance(op, Launch))
    count = 1 + len(accept.offer_ids) + len(accept.operations)
    size = 64 * count + sum(map(_weigh_task, tasks))
    return size + _weigh_writes(accept.writes)


def _weigh_requests(call: RequestResources) -> int:
    return 64 + sum(
        150 + len(one.where) + _weigh_resources(one.unit) if isinstance(one, Request) else 150
        for one in call.requests
    )


def _weigh_answer(answer: StoreAnswer) -> int:
    size = 150 + len(answer.message) + sum(8 + len(key) for key in answer.keys)
    return size if answer.entry is None else size + len(answer.entry.value)


def _weigh_alike(tasks: TasksOnAgent) -> int:
    return _weigh_task(tasks.tasks[0]) + 100 * len(tasks.tasks)


_WEIGHT_DEFAULT = 150
_WEIGHTS: dict[type, Callable[..., int]] = {
    Accept: _weigh_accept,
    AcceptResult: lambda item: 64 + sum(16 + len(r.message) for r in item.results),
    Decline: lambda item: 48 * (1 + len(item.offer_ids)),
    FileChunk: lambda item: 64 + len(item.data),
    Offers: lambda item: 400 * (1 + len(item.offers)),
    Reconcile: lambda item: 80 * (1 + len(item.tasks)),
    ReconcileTasks: lambda item: 100 * (1 + len(item.tasks)),
    Register: lambda item: 500 + sum(map(_weigh_alike, item.tasks)),
    RequestResources: _weigh_requests,
    Rescind: lambda item: 48 * (1 + len(item.offer_ids)),
    RunTask: lambda item: 100 + _weigh_task(item.task),
    StatusReport: lambda item: 300 + len(item.status.message),
    StoreAnswer: _weigh_answer,
    TaskMessage: lambda item: 200 + len(item.data),
    bytes: len,
    Update: lambda item: 300 + len(item.status.message),
    WriteStore: lambda item: 150 + _weigh_writes(item.writes),
}


#: Whether nobody at the other end waits for a word: then it may go with what is said next. Of kinds
#: that are not here each is waited for.
_PATIENT: dict[type, Callable[[Any], bool]] = {
    Acknowledge: lambda item: item.last,
    AcknowledgeStatus: lambda item: item.last,
    AcceptResult: lambda item: all(result.refusal is None for result in item.results),
    ConfirmResults: lambda _: True,
}


def can_wait(item: object) -> bool:
    """Whether nobody at the other end waits for this: it may go with what is said next."""
    patient = _PATIENT.get(type(item))
    return patient is not None and patient(item)


def weigh(item: object) -> int:
    """About how many bytes an item takes on the wire and while it waits; a quarter of that at the
    very least. O(its parts)."""
    measure = _WEIGHTS.get(type(item))
    return _WEIGHT_DEFAULT if measure is None else measure(item)
