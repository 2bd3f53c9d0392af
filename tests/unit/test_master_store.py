"""The frameworks' stores at the master: versions, limits, fences, failover, writes of a launch."""

from __future__ import annotations

import pytest

from mesoslite.master.protocol import Durable, ForgetEntry, ForgetStore, SaveEntry
from mesoslite.master.state import MasterConfig
from mesoslite.messages import (
    Accept,
    AcceptResult,
    ListStore,
    ReadStore,
    StoreAnswer,
    Teardown,
    WriteStore,
)
from mesoslite.model import (
    STORE_BYTES_MAX,
    STORE_KEYS_MAX,
    STORE_VALUE_BYTES_MAX,
    Entry,
    Launch,
    Refusal,
    StoreWrite,
)
from tests.unit.master_world import World, task


class Books:
    """A world with a framework, and its store in one line each."""

    def __init__(self, config: MasterConfig | None = None) -> None:
        self.world = World(config=config)
        self.world.agent()
        self.world.framework()
        self.number = 0

    def write(
        self, *writes: StoreWrite, stream: str = "f", number: int | None = None
    ) -> StoreAnswer:
        if number is None:
            number = self.number = self.number + 1
        self.world.call(stream, WriteStore(number, writes))
        [answer] = self.world.heard(stream, StoreAnswer)
        assert answer.number == number
        return answer

    def put(self, key: str, value: bytes = b"v", version: int | None = None) -> StoreAnswer:
        return self.write(StoreWrite(key, value, version))

    def get(self, key: str, stream: str = "f") -> Entry | None:
        self.world.call(stream, ReadStore(99, key))
        [answer] = self.world.heard(stream, StoreAnswer)
        return answer.entry

    def keys(self, prefix: str = "", stream: str = "f") -> tuple[str, ...]:
        self.world.call(stream, ListStore(99, prefix))
        [answer] = self.world.heard(stream, StoreAnswer)
        return answer.keys


def test_what_was_written_is_read_with_its_version() -> None:
    books = Books()
    assert books.get("leader") is None
    assert books.put("leader", b"one").version == 1
    assert books.put("other").version == 2
    assert books.put("leader", b"two").version == 3
    assert books.get("leader") == Entry(b"two", 3)
    assert books.keys() == ("leader", "other")
    assert books.keys("l") == ("leader",)


def test_a_write_of_another_version_is_refused_and_told_which_is_there() -> None:
    books = Books()
    assert books.put("leader", version=0).version == 1
    again = books.put("leader", version=0)
    assert (again.refusal, again.key, again.version) == (Refusal.STORE_CONFLICT, "leader", 1)
    assert books.put("leader", version=1).version == 2
    assert books.put("leader", version=1).version == 2
    assert books.put("none", version=7).version == 0
    assert books.get("leader") == Entry(b"v", 2)


def test_a_version_is_never_used_twice_not_even_after_a_removal() -> None:
    books = Books()
    first = books.put("leader").version
    assert books.write(StoreWrite("leader", None, first)).refusal is None
    assert books.get("leader") is None
    assert books.put("leader", version=0).version > first
    assert books.put("leader", version=first).refusal is Refusal.STORE_CONFLICT


def test_several_writes_are_done_together_or_not_at_all() -> None:
    books = Books()
    books.put("a")
    books.write(StoreWrite("b", b"v"), StoreWrite("a", b"w", 9))
    assert books.keys() == ("a",)
    assert books.get("a") == Entry(b"v", 1)


def test_a_store_has_limits_and_can_always_be_made_smaller() -> None:
    books = Books()
    value = b"x" * STORE_VALUE_BYTES_MAX
    for number in range(STORE_BYTES_MAX // STORE_VALUE_BYTES_MAX - 1):
        assert books.put(f"k{number:04}", value).refusal is None
    full = books.put("more", value)
    assert full.refusal is Refusal.STORE_FULL
    assert "8,388,608" in full.message
    assert books.put("k0000", b"").refusal is None
    assert books.put("more", value).refusal is None


def test_a_store_has_no_more_keys_than_it_may() -> None:
    books = Books()
    for first in range(0, STORE_KEYS_MAX, 100):
        books.write(*(StoreWrite(f"k{n}", b"") for n in range(first, first + 100)))
    assert books.put("more").refusal is Refusal.STORE_FULL
    assert books.put("k7").refusal is None
    assert books.write(StoreWrite("k7", None), StoreWrite("more", b"")).refusal is None


def test_all_stores_together_have_a_limit_too() -> None:
    books = Books(MasterConfig(store_bytes_max=100))
    books.world.framework("g")
    assert books.put("k", b"x" * 60).refusal is None
    assert books.write(StoreWrite("k", b"x" * 60), stream="g").refusal is Refusal.STORE_FULL
    assert books.get("k", stream="g") is None
    assert books.put("k", b"x" * 90).refusal is None


def test_a_write_that_is_said_again_is_done_once_and_answered_the_same() -> None:
    books = Books()
    first = books.write(StoreWrite("n", b"v", 0), number=5)
    assert books.write(StoreWrite("n", b"v", 0), number=5) == first
    assert not any(isinstance(effect, Durable) for effect in books.world.said)


def test_a_write_that_is_said_again_to_the_next_master_is_done_once() -> None:
    books = Books()
    first = books.write(StoreWrite("n", b"v", 0), number=5)
    books.world.restart()
    books.world.framework(stream="f2", framework_id="1-F1", resuming=True)
    assert books.write(StoreWrite("n", b"v", 0), stream="f2", number=5) == first
    assert books.get("n", stream="f2") == Entry(b"v", 1)
    assert books.write(StoreWrite("n", b"w", 1), stream="f2", number=6).version == 2


def test_the_same_number_of_another_session_is_another_write() -> None:
    books = Books()
    books.write(StoreWrite("n", b"v"), number=1)
    books.world.framework(stream="f2", session_id="s2")
    assert books.write(StoreWrite("n", b"w"), stream="f2", number=1).version == 2


def test_a_scheduler_that_was_taken_over_from_writes_nothing_any_more() -> None:
    books = Books()
    books.put("leader", b"first")
    books.world.framework(stream="f2", session_id="s2")
    books.world.call("f", WriteStore(2, (StoreWrite("leader", b"old"),)))
    assert books.world.refused("f").refusal is Refusal.NOT_SUBSCRIBED
    assert books.get("leader", stream="f2") == Entry(b"first", 1)


def test_a_teardown_deletes_the_store_here_and_in_the_registry() -> None:
    books = Books()
    books.put("a")
    books.put("b")
    books.world.call("f", Teardown())
    said = books.world.said
    assert {e.key for e in said if isinstance(e, ForgetEntry)} == {"a", "b"}
    assert ForgetStore("1-F1") in said
    assert books.world.registry.entries == ()
    assert books.world.registry.stores == ()
    books.world.framework(stream="new")
    assert books.keys(stream="new") == ()


# --- writes that ride on a launch -----------------------------------------------------------------


def accept(books: Books, *writes: StoreWrite, number: int = 1, needs: str = "cpus:1") -> Accept:
    [offer] = [o for o in books.world.master.tables.offers.values() if o.agent_id == "a1"]
    launch = Launch(task(f"t{number}", needs))
    return Accept(number, "a1", (offer.offer_id,), (launch,), 0, writes)


def test_a_launch_and_its_writes_are_committed_together() -> None:
    books = Books()
    books.world.call("f", accept(books, StoreWrite("broker-0", b"t1", 0)))
    assert books.world.results()[0].done
    saved = [e.record.key for e in books.world.said if isinstance(e, SaveEntry)]
    assert saved == ["broker-0"]
    assert books.world.launched() == ["t1"]
    assert books.get("broker-0") == Entry(b"t1", 1)


def test_a_launch_whose_write_finds_another_version_is_refused_with_all_of_its_accept() -> None:
    """Else an old scheduler's write fails while its launch succeeds: two brokers of one name."""
    books = Books()
    books.put("broker-0", b"t9")
    call = accept(books, StoreWrite("other", b"x"), StoreWrite("broker-0", b"t1", 0))
    books.world.call("f", call)
    [result] = books.world.results()
    assert result.refusal is Refusal.STORE_CONFLICT
    assert "broker-0 has version 1" in result.message
    assert books.world.launched() == []
    assert books.keys() == ("broker-0",)
    assert books.world.master.tables.frameworks["1-F1"].tasks == {}


def test_an_accept_that_launches_nothing_writes_nothing() -> None:
    books = Books()
    books.world.call("f", accept(books, StoreWrite("broker-0", b"t1"), needs="cpus:99"))
    assert books.world.results()[0].refusal is not None
    assert books.keys() == ()


def test_an_accept_that_is_said_again_writes_once() -> None:
    books = Books()
    call = accept(books, StoreWrite("broker-0", b"t1", 0))
    books.world.call("f", call)
    first = books.world.heard("f", AcceptResult)
    books.world.call("f", call)
    assert books.world.heard("f", AcceptResult) == first
    assert books.get("broker-0") == Entry(b"t1", 1)


def test_a_write_before_a_launch_that_writes_is_still_known_after_it() -> None:
    books = Books()
    first = books.write(StoreWrite("n", b"v", 0), number=5)
    books.world.call("f", accept(books, StoreWrite("broker-0", b"t1")))
    books.world.restart()
    books.world.framework(stream="f2", framework_id="1-F1", resuming=True)
    assert books.write(StoreWrite("n", b"v", 0), stream="f2", number=5) == first


@pytest.mark.parametrize("restarts", [False, True])
def test_a_launch_without_writes_commits_nothing(restarts: bool) -> None:
    """So an ordinary launch waits for no fsync (docs/decisions.md D5)."""
    books = Books()
    if restarts:
        books.world.restart()
        books.world.agent(stream="a1")
        books.world.framework()
    books.world.call("f", accept(books))
    assert books.world.launched() == ["t1"]
    assert not any(isinstance(effect, Durable) for effect in books.world.said)
