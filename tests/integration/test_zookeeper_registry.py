"""The registry in ZooKeeper: what the next leader knows, and that a stale one writes nothing."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from mesoslite.daemon import Resigned
from mesoslite.database import StorageError
from mesoslite.master import zookeeper as module
from mesoslite.master.archive import Delete, Put, Write
from mesoslite.master.election import Seat
from mesoslite.master.protocol import (
    AgentRecord,
    CompletedRecord,
    CompleteFramework,
    Effect,
    ForgetAgent,
    FrameworkRecord,
    Recovered,
    SaveAgent,
    SaveFramework,
)
from mesoslite.master.zookeeper import ZooKeeperRegistry
from mesoslite.masters import Ensemble
from mesoslite.model import AgentInfo, FrameworkInfo
from mesoslite.resources import Resources
from mesoslite.testing.zookeeper import ZooKeeperServer

ONE = AgentRecord(AgentInfo("a1", "host", Resources(cpus=4, mem=1024)), None)
SLEEPERS = FrameworkRecord("1-1", "local", FrameworkInfo("sleepers"), "session", None)


def ensemble_of(server: ZooKeeperServer) -> Ensemble:
    return Ensemble(server.address, "/mesoslite/test")


@asynccontextmanager
async def seated(server: ZooKeeperServer) -> AsyncIterator[Seat]:
    """A master that is in the election, whoever leads."""
    seat = Seat(ensemble_of(server), 4.0)
    await seat.take(b"{}")
    try:
        yield seat
    finally:
        await seat.leave()


async def recovered(server: ZooKeeperServer) -> Recovered:
    """What the next leader knows."""
    async with seated(server) as seat:
        return (await ZooKeeperRegistry.opened(seat)).recovered


async def test_what_a_leader_commits_the_next_one_knows_under_a_higher_epoch(
    zookeeper: ZooKeeperServer,
) -> None:
    gone = replace(ONE, info=replace(ONE.info, agent_id="a2"), unreachable_since_ms=7)
    ended = CompletedRecord("1-1", "local", FrameworkInfo("sleepers"), 9)
    async with seated(zookeeper) as seat:
        first = await ZooKeeperRegistry.opened(seat)
        assert first.recovered == Recovered(1)
        await first.commit([SaveAgent(ONE), SaveFramework(SLEEPERS)])
        await first.commit([SaveAgent(gone), SaveAgent(replace(gone, unreachable_since_ms=8))])
        await first.commit([ForgetAgent("a1"), CompleteFramework(ended), ForgetAgent("nobody")])
        await first.commit([])
    kept = replace(gone, unreachable_since_ms=8)
    assert await recovered(zookeeper) == Recovered(2, agents=(kept,), completed=(ended,))


async def test_a_stale_leader_commits_nothing_whatever_it_believes(
    zookeeper: ZooKeeperServer,
) -> None:
    async with seated(zookeeper) as old_seat, seated(zookeeper) as new_seat:
        old = await ZooKeeperRegistry.opened(old_seat)
        await old.commit([SaveAgent(ONE)])
        new = await ZooKeeperRegistry.opened(new_seat)
        assert old_seat.may_speak(), "nobody has told it yet"
        with pytest.raises(Resigned, match="another master leads: its epoch is 2, not 1"):
            await old.commit([ForgetAgent("a1")])
        await new.commit([SaveFramework(SLEEPERS)])
    assert await recovered(zookeeper) == Recovered(3, agents=(ONE,), frameworks=(SLEEPERS,))


async def test_a_leader_counts_on_answers_alone_that_a_majority_has_given(
    zookeeper: ZooKeeperServer,
) -> None:
    """To its writes: a server that is cut off from the others answers reads for a while."""
    async with seated(zookeeper) as seat:
        await seat.until_first(lambda leader: None)
        keeping = asyncio.create_task(seat.keep())
        path = f"{seat.ensemble.path}/{seat.node}"
        written = -1
        while written < 3:
            data, status = await seat.ask(seat.client.get_async(path))
            written = status.version
            assert data == b"{}"
            assert seat.may_speak()
            await asyncio.sleep(0.05)
        assert (await ZooKeeperRegistry.opened(seat)).recovered == Recovered(1)
        await seat.ask(seat.client.delete_async(path))
        await asyncio.wait_for(keeping, 10)
        assert not seat.may_speak()
        assert seat.why_lost == "this master's node was removed from ZooKeeper"


async def test_who_waits_for_its_turn_hears_that_its_seat_is_lost_and_no_answer_will_come(
    zookeeper: ZooKeeperServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seated(zookeeper) as seat:
        never = seat.client.handler.async_result
        asked = asyncio.Event()

        def forgotten(*_path: str, **_watch: object) -> object:
            asked.set()
            return never()

        monkeypatch.setattr(seat.client, "get_children_async", forgotten)
        waiting = asyncio.create_task(seat.until_first(lambda leader: None))
        await asyncio.wait_for(asked.wait(), 10)
        seat.give_up("its session is over")
        with pytest.raises(Resigned, match="its session is over"):
            await asyncio.wait_for(waiting, 10)


async def test_two_that_believe_to_lead_never_both_commit(zookeeper: ZooKeeperServer) -> None:
    """Each of many rounds: both open and commit as fast as they can, in an order that is drawn."""
    rng = random.Random(1)
    for _round in range(10):
        async with seated(zookeeper) as left, seated(zookeeper) as right:
            done: list[tuple[int, str]] = []

            async def lead(seat: Seat, name: str, done: list[tuple[int, str]] = done) -> None:
                await asyncio.sleep(rng.random() / 100)
                try:
                    registry = await ZooKeeperRegistry.opened(seat)
                    for number in range(10):
                        record = replace(ONE, unreachable_since_ms=number)
                        await registry.commit([SaveAgent(record)])
                        done.append((registry.recovered.epoch, name))
                except Resigned:
                    pass

            await asyncio.gather(lead(left, "left"), lead(right, "right"))
            assert done == sorted(done), "an older epoch has committed after a newer one"
            assert len(dict(done)) == len(set(done)), "one epoch, one leader"


async def test_a_batch_that_is_too_large_for_zookeeper_is_there_as_a_whole_or_not_at_all(
    zookeeper: ZooKeeperServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader dies after each of the steps in turn; whoever is next knows all or nothing."""
    monkeypatch.setattr(module, "TRANSACTION_BYTES_MAX", 2_000)
    batch: list[Effect] = [
        SaveAgent(replace(ONE, info=replace(ONE.info, agent_id=f"a{number}")))
        for number in range(20)
    ]
    seen = set()
    finished = False
    for steps in range(1, 40):
        before = await recovered(zookeeper)
        async with seated(zookeeper) as seat:
            registry = await ZooKeeperRegistry.opened(seat)
            await registry.commit([ForgetAgent(one.info.agent_id) for one in before.agents])
            transact, left = registry._transact, steps

            async def dying(fill: object, transact: object = transact) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Resigned("dead")
                await transact(fill)  # type: ignore[operator]

            monkeypatch.setattr(registry, "_transact", dying)
            try:
                await registry.commit(batch)
            except Resigned:
                finished = False
            else:
                finished = True
        known = len((await recovered(zookeeper)).agents)
        assert known in {0, 20}, f"after {steps} steps {known} of 20 are there"
        assert known or not finished
        seen.add(known)
        if finished:
            break
    assert seen == {0, 20}
    assert finished


async def test_a_transaction_whose_answer_was_lost_is_not_done_twice(
    zookeeper: ZooKeeperServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kazoo.exceptions import ConnectionLoss

    async with seated(zookeeper) as seat:
        registry = await ZooKeeperRegistry.opened(seat)
        answer = seat.ask
        losses = 0

        async def losing(request: object) -> object:
            nonlocal losses
            found = await answer(request)
            if isinstance(found, list) and not losses:
                losses += 1
                raise ConnectionLoss
            return found

        monkeypatch.setattr(seat, "ask", losing)
        await registry.commit([SaveAgent(ONE)])
        monkeypatch.setattr(seat, "ask", answer)
        await registry.commit([SaveFramework(SLEEPERS)])
    assert losses == 1
    assert await recovered(zookeeper) == Recovered(2, agents=(ONE,), frameworks=(SLEEPERS,))


async def test_commits_wait_for_a_zookeeper_that_restarts(zookeeper: ZooKeeperServer) -> None:
    async with seated(zookeeper) as seat:
        registry = await ZooKeeperRegistry.opened(seat)
        zookeeper.kill()
        committing = asyncio.create_task(registry.commit([SaveAgent(ONE)]))
        await asyncio.to_thread(zookeeper.start)
        await committing
    assert await recovered(zookeeper) == Recovered(2, agents=(ONE,))


async def test_a_commit_that_waits_for_zookeeper_ends_with_the_seat(
    zookeeper: ZooKeeperServer,
) -> None:
    async with seated(zookeeper) as seat:
        registry = await ZooKeeperRegistry.opened(seat)
        keeping = asyncio.create_task(seat.keep())
        zookeeper.kill()
        with pytest.raises(Resigned, match=r"nothing was heard of ZooKeeper for \d"):
            await registry.commit([SaveAgent(ONE)])
        assert not seat.may_speak()
        await keeping


async def test_a_record_that_was_changed_by_hand_is_told_and_nothing_is_left_out(
    zookeeper: ZooKeeperServer,
) -> None:
    async with seated(zookeeper) as seat:
        registry = await ZooKeeperRegistry.opened(seat)
        await registry.commit([SaveAgent(ONE)])
        path = f"{seat.ensemble.path}/registry/agent/a1"
        await asyncio.to_thread(seat.client.set, path, b"garbage")
    with pytest.raises(StorageError, match=r"its record agent 'a1' .*restore it"):
        await recovered(zookeeper)


def test_parts_keep_the_order_and_fit() -> None:
    writes: list[Write] = [Put("agent", f"a{n}", b"x" * 200_000) for n in range(10)]
    writes.append(Delete("agent", "b"))
    parts: Sequence[Sequence[Write]] = list(module._parts(writes, path_chars=20))
    assert [write for part in parts for write in part] == writes
    assert [len(part) for part in parts] == [4, 4, 3]
