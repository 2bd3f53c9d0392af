"""The two halves of a stream: coalescing, the lanes, the limits, and how a stream ends."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pytest
from google.protobuf.message import DecodeError

from mesoslite import streams
from mesoslite.clock import Clock
from mesoslite.loop import Inbox
from mesoslite.messages import (
    Accept,
    AcceptResult,
    Acknowledge,
    AcknowledgeStatus,
    ConfirmResults,
    Refused,
    RequestResources,
    SchedulerCall,
    StoreAnswer,
    TaskMessage,
    WriteStore,
)
from mesoslite.model import (
    Entry,
    Launch,
    OperationResult,
    Refusal,
    Request,
    StoreWrite,
    Task,
    Uri,
)
from mesoslite.resources import Resources
from mesoslite.streams import Outbox, can_wait, converse, listen, weigh
from mesoslite.wire import MalformedMessage, scheduler_requests, scheduler_responses
from tests.integration.waiting import until


@dataclass(frozen=True)
class Said:
    """A message with all that was packed into it."""

    items: tuple[object, ...]

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        return repr(self.items).encode()


class Wire:
    """What was written, and a gate that a write waits at."""

    def __init__(self) -> None:
        self.messages: list[tuple[object, ...]] = []
        self.open = asyncio.Event()
        self.open.set()

    def pack(self, items: Sequence[object]) -> Iterable[Said]:
        self.messages.append(tuple(items))
        return [Said(tuple(items))]

    async def write(self, _message: bytes) -> None:
        await self.open.wait()


def message(size: int) -> TaskMessage:
    return TaskMessage("f", "a", "t", bytes(size))


async def test_what_piles_up_during_a_write_goes_out_as_one_message() -> None:
    outbox, wire = Outbox[object](), Wire()
    wire.open.clear()
    writing = asyncio.create_task(outbox.write_all(wire.pack, wire.write))
    outbox.put(1)
    await until(lambda: wire.messages == [(1,)])
    for item in (2, 3, 4):
        outbox.put(item)
    wire.open.set()
    await until(lambda: wire.messages == [(1,), (2, 3, 4)])
    outbox.close()
    await writing


PATIENT = Acknowledge("a", "t", "1", last=True)


async def test_what_can_wait_goes_with_what_is_said_next_and_in_its_place() -> None:
    outbox, wire = Outbox[object](), Wire()
    writing = asyncio.create_task(outbox.write_all(wire.pack, wire.write))
    for item in (PATIENT, "urgent", PATIENT):
        outbox.put(item)
    await until(lambda: wire.messages == [(PATIENT, "urgent", PATIENT)])
    outbox.put(PATIENT)  # and by itself, when nothing else is said
    await until(lambda: wire.messages[1:] == [(PATIENT,)])
    outbox.put(PATIENT)
    outbox.close()
    await writing
    assert wire.messages[2:] == [(PATIENT,)]


@pytest.mark.parametrize(
    ("item", "waits"),
    [
        (Acknowledge("a", "t", "1"), False),  # the agent says the next status after it
        (Acknowledge("a", "t", "1", last=True), True),
        (AcknowledgeStatus("f", "t", "1"), False),
        (AcknowledgeStatus("f", "t", "1", last=True), True),
        (AcceptResult(1, (OperationResult(), OperationResult())), True),
        (AcceptResult(1, (OperationResult(), OperationResult(Refusal.TOO_LARGE))), False),
        (ConfirmResults(1), True),
        (message(1), False),
    ],
)
def test_only_what_nobody_waits_for_can_wait(item: object, waits: bool) -> None:
    assert can_wait(item) == waits


ONE = Resources(cpus=1)
WIDE = Resources.parse("cpus:1;" + ";".join(f"{'r' * 60}{n}:1" for n in range(40)))
MANY = Resources.parse("cpus:1;disks:{" + ",".join(f"{'d' * 50}{n}" for n in range(500)) + "}")
FAR = tuple(Uri(f"https://host/{'x' * 1_000}/{n}") for n in range(100))
IMAGE = "i" * 4_000
WRITES = tuple(StoreWrite(f"key-{n}", bytes(50_000)) for n in range(10))


def accept(*tasks: Task, writes: tuple[StoreWrite, ...] = ()) -> Accept:
    return Accept(1, "a1", ("o1",), tuple(map(Launch, tasks)), 0, writes)


@pytest.mark.parametrize(
    "call",
    [
        accept(Task("t", ("x" * 30_000,), ONE)),
        accept(Task("t", ("x",), ONE, uris=FAR)),
        accept(Task("t", ("x",), ONE, image=IMAGE, containerizer="oci")),
        accept(Task("t", ("x",), ONE, environment={"A": "x" * 30_000}, labels={"b": "y" * 9_000})),
        accept(*(Task(f"t{n}", ("x",), WIDE, environment={"n": f"{n}"}) for n in range(20))),
        accept(*(Task(f"t{n}", ("x",), MANY, labels={"n": f"{n}"}) for n in range(5))),
        accept(Task("t", ("x",), ONE), writes=WRITES),
        WriteStore(1, WRITES),
        RequestResources(tuple(Request(f"r{n}", "*", WIDE, 1) for n in range(20))),
        RequestResources((Request("r", "*", ONE, 1, where=f"a != {'x' * 900}"),)),
    ],
    ids=lambda call: type(call).__name__,
)
def test_what_a_call_weighs_is_a_quarter_of_its_bytes_at_least(call: SchedulerCall) -> None:
    """What is taken for small enough is sent without a look at its size."""
    [request] = scheduler_requests([call])
    assert weigh(call) / 4 < len(request.SerializeToString()) < 4 * weigh(call)


@pytest.mark.parametrize(
    "answer",
    [
        StoreAnswer(1, entry=Entry(bytes(50_000), 1)),
        StoreAnswer(1, keys=tuple(f"{'k' * 200}{n}" for n in range(100))),
    ],
    ids=["entry", "keys"],
)
def test_what_is_in_a_store_counts_among_what_waits(answer: StoreAnswer) -> None:
    [response] = scheduler_responses(1, [answer])
    size = len(response.SerializeToString())
    assert size <= weigh(answer) <= 2 * size


async def test_everything_said_before_the_close_is_written_and_nothing_after_it() -> None:
    outbox, wire = Outbox[object](refused=lambda last: last), Wire()
    outbox.put(1)
    outbox.close(Refused(Refusal.FENCED))
    outbox.put(2)
    outbox.close(Refused(Refusal.MALFORMED))
    await outbox.write_all(wire.pack, wire.write)
    assert wire.messages == [(1, Refused(Refusal.FENCED))]


async def test_a_peer_that_reads_slowly_is_paused_once_and_resumed_once() -> None:
    told: list[str] = []
    outbox = Outbox[object](
        paused=lambda: told.append("paused"), resumed=lambda: told.append("resumed")
    )
    wire = Wire()
    wire.open.clear()
    writing = asyncio.create_task(outbox.write_all(wire.pack, wire.write))
    for _ in range(streams.OUTBOX_HIGH_BYTES // 200_000 + 2):
        outbox.put(message(200_000))
    assert told == ["paused"]
    wire.open.set()
    await until(lambda: outbox.waiting_bytes == 0)
    assert told == ["paused", "resumed"]
    assert max(map(len, wire.messages)) <= streams.OUTBOX_WRITE_BYTES // 200_000 + 1
    outbox.close()
    await writing


async def test_a_peer_that_does_not_read_is_refused_and_what_waited_for_it_is_freed() -> None:
    outbox, wire = Outbox[object](refused=lambda last: last), Wire()
    for _ in range(streams.OUTBOX_HARD_BYTES // 1_000_000 + 2):
        outbox.put(message(1_000_000))
    assert outbox.is_closing()
    assert outbox.waiting_bytes == 0
    await outbox.write_all(wire.pack, wire.write)
    [[last]] = wire.messages
    assert isinstance(last, Refused)
    assert last.refusal is Refusal.OUTBOX_FULL


async def test_one_item_is_taken_whatever_its_size() -> None:
    outbox = Outbox[object]()
    outbox.put(message(streams.OUTBOX_HARD_BYTES + 1))
    assert not outbox.is_closing()


async def test_files_go_after_everything_else_one_with_a_message_and_wait_for_room() -> None:
    outbox, wire = Outbox[object](), Wire()
    for name in range(streams.BULK_ITEMS_MAX):
        await outbox.put_bulk(f"file {name}")
    waiting = asyncio.create_task(outbox.put_bulk("one more"))
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.put("status")
    writing = asyncio.create_task(outbox.write_all(wire.pack, wire.write))
    await waiting
    await until(lambda: len(wire.messages) == streams.BULK_ITEMS_MAX + 1)
    assert wire.messages == [("status", "file 0"), ("file 1",), ("one more",)]
    outbox.close()
    await writing


@pytest.mark.parametrize("overflow", [False, True])
async def test_files_that_wait_for_room_are_let_go_when_the_stream_ends(overflow: bool) -> None:
    outbox, wire = Outbox[object](), Wire()
    wire.open.clear()
    never: asyncio.Future[Refused | None] = asyncio.get_running_loop().create_future()

    async def listening() -> Refused | None:
        return await never

    talk = asyncio.create_task(
        converse(outbox, listening(), outbox.write_all(wire.pack, wire.write))
    )
    files = [asyncio.create_task(outbox.put_bulk(f"file {n}")) for n in range(8)]
    await until(lambda: len(wire.messages) == 1)
    assert not all(file.done() for file in files)
    if overflow:
        for _ in range(streams.OUTBOX_HARD_BYTES // 1_000_000 + 2):
            outbox.put(message(1_000_000))
    else:
        talk.cancel()
    await until(lambda: all(file.done() for file in files))
    async with asyncio.timeout(1):
        await outbox.put_bulk("too late")
    talk.cancel()
    await asyncio.gather(talk, return_exceptions=True)


def reading(*messages: bytes | None) -> Callable[[], asyncio.Future[object]]:
    """A `read` that gives these one after the other."""
    left = list(messages)

    def read() -> asyncio.Future[object]:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        future.set_result(left.pop(0))
        return future

    return read


def letters(data: bytes) -> Sequence[str]:
    if data == b"?":
        raise DecodeError
    if data == b"!":
        raise MalformedMessage("letter", "!", "must be a letter", Refusal.TOO_BIG)
    return list(data.decode())


async def test_what_arrives_is_delivered_in_order_until_the_end() -> None:
    inbox: Inbox[str] = Inbox(Clock().now_ms)
    assert (
        await listen(reading(b"ab", b"c", None), letters, inbox, None, asyncio.Event().is_set)
        is None
    )
    assert await inbox.take(10, None) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("words", "together"),
    [((b"x", b"x", None), ["x", "x"]), ((b"x", b"xy", None), ["x", "x", "y"])],
    ids=["by themselves", "with an impatient one"],
)
async def test_patient_words_that_come_alone_are_taken_together(
    words: tuple[bytes | None, ...], together: list[str]
) -> None:
    inbox: Inbox[str] = Inbox(Clock().now_ms)
    taking = asyncio.create_task(inbox.take(10, None))
    await asyncio.sleep(0)  # it waits from here on
    closing = asyncio.Event().is_set
    await listen(reading(*words), letters, inbox, None, closing, patient=lambda word: word == "x")
    async with asyncio.timeout(5):
        assert await taking == together


async def test_patient_words_wait_like_others_while_the_inbox_is_full() -> None:
    inbox: Inbox[str] = Inbox(Clock().now_ms, events_max=2)
    words, closing = reading(b"x", b"x", b"x", None), asyncio.Event().is_set
    reader = asyncio.create_task(
        listen(words, letters, inbox, None, closing, patient=lambda _: True)
    )
    for _ in range(10):
        await asyncio.sleep(0)
    assert (len(inbox), reader.done()) == (2, False)
    assert await inbox.take(10, None) == ["x", "x"]
    assert await reader is None
    assert await inbox.take(10, None) == ["x"]


@pytest.mark.parametrize(
    ("garbage", "refusal"), [(b"?", Refusal.MALFORMED), (b"!", Refusal.TOO_BIG)]
)
async def test_garbage_ends_the_reading_with_its_refusal(garbage: bytes, refusal: Refusal) -> None:
    inbox: Inbox[str] = Inbox(Clock().now_ms)
    refused = await listen(
        reading(b"a", garbage, b"b"), letters, inbox, None, asyncio.Event().is_set
    )
    assert refused is not None
    assert refused.refusal is refusal
    assert await inbox.take(10, None) == ["a"]


async def test_a_peer_that_floods_is_not_read_and_not_declared_dead() -> None:
    inbox: Inbox[str] = Inbox(Clock().now_ms, events_max=2)
    reader = asyncio.create_task(
        listen(
            reading(b"ab", b"cd", None),
            letters,
            inbox,
            lambda: "still there",
            asyncio.Event().is_set,
            still_there_s=0.01,
        )
    )
    await until(lambda: len(inbox) >= 4)
    taken = await inbox.take(2, None)
    assert taken == ["a", "b"]
    rest: list[str] = []
    while not reader.done() or len(inbox):
        rest += await inbox.take(100, 0)
    assert rest[0] == "still there"
    assert [event for event in rest if event != "still there"] == ["c", "d"]


async def test_last_words_are_written_when_the_peer_sends_garbage() -> None:
    inbox: Inbox[str] = Inbox(Clock().now_ms)
    outbox, wire = Outbox[object](refused=lambda last: last), Wire()
    why = await converse(
        outbox,
        listen(reading(b"?"), letters, inbox, None, outbox.is_closing),
        outbox.write_all(wire.pack, wire.write),
    )
    assert why == "this is no message of this service"
    assert wire.messages == [(Refused(Refusal.MALFORMED, why),)]


async def test_a_bug_in_a_half_is_raised() -> None:
    outbox, wire = Outbox[object](), Wire()

    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await converse(outbox, broken(), outbox.write_all(wire.pack, wire.write))
