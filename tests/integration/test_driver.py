"""Schedulers on a real master and agent: `run`, its callbacks, its ends, its tasks' words."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from mesoslite import (
    Entry,
    FrameworkError,
    Offer,
    Reason,
    Refusal,
    Resources,
    Scheduler,
    StoreClosed,
    StoreConflict,
    StoreError,
    Task,
    TaskState,
    TaskStatus,
    run_async,
    take_fitting,
)
from mesoslite.executor import NotATask, NotAttached, connect, connect_async
from mesoslite.scheduler.telling import CALLBACKS_WAITING_MAX
from tests.integration.containers import Place
from tests.integration.daemons import Cluster, cluster_in, environment
from tests.integration.waiting import until

SMALL = Resources(cpus=0.1, mem=16)


@pytest.fixture
async def cluster(place: Place) -> AsyncIterator[Cluster]:
    """A master and one agent with four cpus; nothing of them is left afterwards."""
    with cluster_in(place.work_dir) as made:
        await made.master.start()
        await made.start_agent("--kill-on-exit")
        await until(lambda: made.agents_active() == 1)
        yield made
        for agent in made.agents:
            agent.stop()


class Batch(Scheduler):
    """Runs its tasks, notes what it is told, and stops when all have ended."""

    name = "batch"

    def __init__(self, *tasks: Task) -> None:
        self.waiting = list(tasks)
        self.left = len(tasks)
        self.told: list[TaskStatus] = []
        self.threads: set[int] = set()

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            self.launch(offer, take_fitting(self.waiting, offer.resources))

    def status_update(self, status: TaskStatus) -> None:
        self.told.append(status)
        self.threads.add(threading.get_ident())
        self.left -= status.terminal
        if not self.left:
            self.teardown()


async def run_on(cluster: Cluster, scheduler: Scheduler) -> None:
    async with asyncio.timeout(60):
        await run_async(scheduler, master=cluster.address, token_file=cluster.token_file)


def task(task_id: str, *command: str) -> Task:
    return Task(task_id, command or ("true",), SMALL)


# --- running --------------------------------------------------------------------------------------


async def test_tasks_run_and_their_ends_are_told_once(cluster: Cluster) -> None:
    batch = Batch(*(task(f"t{n}", "sh", "-c", f"exit {n % 3}") for n in range(30)))
    await run_on(cluster, batch)
    ends = {status.task_id: status for status in batch.told if status.terminal}
    assert Counter(status.state for status in batch.told if status.terminal) == {
        TaskState.FINISHED: 10,
        TaskState.FAILED: 20,
    }
    assert ends["t2"].exit_code == 2
    assert len(batch.threads) == 1
    assert threading.get_ident() not in batch.threads
    assert cluster.status().frameworks_active == 0


async def test_coroutines_run_on_the_loop_and_never_two_at_a_time(cluster: Cluster) -> None:
    class Coroutines(Batch):
        running = 0
        most = 0

        async def status_update(self, status: TaskStatus) -> None:  # type: ignore[override]
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0.001)
            super().status_update(status)
            self.running -= 1

    batch = Coroutines(*(task(f"t{n}") for n in range(10)))
    await run_on(cluster, batch)
    assert batch.most == 1
    assert batch.threads == {threading.get_ident()}


async def test_what_can_not_be_launched_is_told_and_never_silent(cluster: Cluster) -> None:
    huge = {f"V{n}": "x" * 100_000 for n in range(1)}
    wrong = {
        "large": Task("large", ["true"], Resources(cpus=99, mem=16)),
        "nothing": Task("nothing", ["true"], Resources(disk=1)),
        "boxed": Task("boxed", ["true"], SMALL, containerizer="none-such"),
        "image": Task("image", ["true"], SMALL, image="relative/path"),
    }
    heavy = [
        Task(f"heavy-{n}", ["true"], Resources(cpus=0.001), environment=huge) for n in range(15)
    ]

    class Wrong(Scheduler):
        name = "wrong"
        asked: list[str]
        refused: dict[str, TaskStatus]

        def subscribed(self, framework_id: str) -> None:
            self.asked = [*wrong, "heavy"]
            self.refused = {}

        def resource_offers(self, offers: Sequence[Offer]) -> None:
            if self.asked:
                one = self.asked.pop()
                self.launch(offers[0], heavy if one == "heavy" else wrong[one], refuse_s=0)

        def status_update(self, status: TaskStatus) -> None:
            assert status.reason is Reason.LAUNCH_REFUSED, status
            self.refused[status.task_id] = status
            if len(self.refused) == len(wrong) + len(heavy):
                self.teardown()

    scheduler = Wrong()
    await run_on(cluster, scheduler)
    told = {task_id: status.refusal for task_id, status in scheduler.refused.items()}
    assert told == {
        "large": Refusal.NO_AGENT_FITS,
        "nothing": Refusal.NO_RESOURCES,
        "boxed": Refusal.CONTAINERIZER_UNAVAILABLE,
        "image": Refusal.INVALID_TASK,
        **{one.task_id: Refusal.TOO_BIG for one in heavy},
    }
    assert "relative/path" in scheduler.refused["image"].message
    assert all(
        status.state in (TaskState.ERROR, TaskState.DROPPED)
        for status in scheduler.refused.values()
    )


async def test_calls_from_another_thread_reach_the_master(cluster: Cluster) -> None:
    running = threading.Event()

    class Sleeper(Batch):
        name = "sleeper"

        def status_update(self, status: TaskStatus) -> None:
            super().status_update(status)
            if status.state is TaskState.RUNNING:
                running.set()

    sleeper = Sleeper(task("nap", "sleep", "600"))

    def kill() -> None:
        assert running.wait(30)
        sleeper.kill("nap", grace_s=0.1)

    killer = threading.Thread(target=kill)
    killer.start()
    await run_on(cluster, sleeper)
    killer.join()
    assert sleeper.told[-1].state is TaskState.KILLED


# --- the store ------------------------------------------------------------------------------------


async def command(cluster: Cluster, *words: str) -> bytes:
    """What the command writes."""
    flags = (f"--master={cluster.address}", f"--token-file={cluster.token_file}")
    code = "import sys; from mesoslite.cli.main import main; sys.exit(main())"
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, *flags, *words],
        env=environment(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Shelved(Batch):
    """Runs one task, which a write goes with, and reads it back in its callbacks."""

    name = "shelved"

    def __init__(self) -> None:
        super().__init__()
        self.left = 1
        self.found: Entry | None = None

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        if self.found is None:
            self.store.put("count", b"1").wait(30)
            self.launch(offers[0], task("t1"), store={"broker": (b"t1", 0)})
            self.found = self.store.get("broker").wait(30)

    def status_update(self, status: TaskStatus) -> None:
        if status.terminal:
            self.stop()


async def test_a_plain_callback_waits_for_the_store_and_the_next_scheduler_finds_it(
    cluster: Cluster,
) -> None:
    first = Shelved()
    await run_on(cluster, first)
    assert first.found is not None
    assert first.found.value == b"t1"

    class Next(Scheduler):
        name = "shelved"
        failover_timeout_s = 60
        entry: Entry | None = None
        keys: Sequence[str] = ()

        async def subscribed(self, framework_id: str) -> None:
            self.entry, self.keys = await asyncio.gather(
                self.store.get("broker"), self.store.keys()
            )
            with pytest.raises(StoreConflict) as caught:
                await self.store.put("broker", b"t2", 0)
            assert self.entry is not None
            assert caught.value.found == self.entry.version
            self.stop()

    cluster.master.kill()
    await cluster.master.start()
    listed = await command(cluster, "framework", "store", "ls", "shelved", "--prefix", "b")
    assert listed.split() == [b"KEY", b"VERSION", b"BYTES", b"broker", b"2", b"2"]
    assert await command(cluster, "framework", "store", "get", "shelved", "count") == b"1"
    following = Next()
    await run_on(cluster, following)
    assert following.entry == first.found
    assert list(following.keys) == ["broker", "count"]
    with pytest.raises(RuntimeError, match="while the scheduler is run"):
        following.store.get("broker")


async def test_a_scheduler_that_is_taken_over_from_waits_for_no_answer(cluster: Cluster) -> None:
    """Not even when its callback holds everything up."""

    class Old(Scheduler):
        name = "pair"
        subscribed_once = threading.Event()
        taken_over = threading.Event()
        failed: StoreError | None = None

        def subscribed(self, framework_id: str) -> None:
            self.subscribed_once.set()
            self.taken_over.wait(30)
            try:
                while True:
                    self.store.put("leader", b"old").wait(30)
            except StoreError as error:
                self.failed = error

    class New(Scheduler):
        name = "pair"

        async def subscribed(self, framework_id: str) -> None:
            await self.store.put("leader", b"new")
            Old.taken_over.set()
            self.stop()

    old = Old()
    running = asyncio.create_task(run_on(cluster, old))
    await asyncio.to_thread(old.subscribed_once.wait, 30)
    await run_on(cluster, New())
    with pytest.raises(FrameworkError, match="FENCED"):
        await running
    assert isinstance(old.failed, StoreClosed)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "coroutine"])
async def test_a_store_that_was_closed_under_a_callback_does_not_hide_why_the_scheduler_ended(
    cluster: Cluster, asynchronous: bool
) -> None:
    begun = threading.Event()

    class Plain(Scheduler):
        name = "interrupted"

        def subscribed(self, framework_id: str) -> None:
            while True:
                self.store.put("busy", b"").wait(30)
                begun.set()

    class Coroutine(Scheduler):
        name = "interrupted"

        async def subscribed(self, framework_id: str) -> None:
            while True:
                await self.store.put("busy", b"")
                begun.set()

    class Successor(Scheduler):
        name = "interrupted"

        def subscribed(self, framework_id: str) -> None:
            self.stop()

    running = asyncio.create_task(run_on(cluster, Coroutine() if asynchronous else Plain()))
    await asyncio.to_thread(begun.wait, 30)
    await run_on(cluster, Successor())
    with pytest.raises(FrameworkError, match="FENCED"):
        await running


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "coroutine"])
async def test_an_exception_in_a_callback_ends_the_run_and_the_status_is_told_again(
    cluster: Cluster, asynchronous: bool
) -> None:
    class Careless(Batch):
        def status_update(self, status: TaskStatus) -> None:
            raise LookupError(status.task_id)

    class CarelessCoroutine(Batch):
        async def status_update(self, status: TaskStatus) -> None:  # type: ignore[override]
            raise LookupError(status.task_id)

    first = (CarelessCoroutine if asynchronous else Careless)(task("t1"))
    with pytest.raises(LookupError, match="t1") as raised:
        await run_on(cluster, first)
    assert any(entry.name == "status_update" for entry in raised.traceback)
    second = Batch()
    second.left = 1
    await run_on(cluster, second)
    assert second.told[-1].state is TaskState.FINISHED
    assert any(status.update_id for status in second.told)


async def test_a_scheduler_of_the_same_name_fences_the_first(cluster: Cluster) -> None:
    class Waiting(Scheduler):
        name = "twin"

        def __init__(self) -> None:
            self.there = asyncio.Event()
            self.errors: list[Refusal] = []

        async def subscribed(self, framework_id: str) -> None:
            self.there.set()

        def error(self, refusal: Refusal, message: str) -> None:
            self.errors.append(refusal)

    first, second = Waiting(), Waiting()
    running = asyncio.create_task(run_on(cluster, first))
    await asyncio.wait_for(first.there.wait(), 20)
    taking_over = asyncio.create_task(run_on(cluster, second))
    with pytest.raises(FrameworkError, match="FENCED") as raised:
        await running
    assert raised.value.refusal is Refusal.FENCED
    assert first.errors == [Refusal.FENCED]
    second.stop()
    await taking_over


async def test_a_wrong_token_is_one_clear_error(cluster: Cluster, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("nonsense\n")
    wrong.chmod(0o600)
    with pytest.raises(FrameworkError, match="token") as raised:
        await run_async(Batch(), master=cluster.address, token_file=wrong)
    assert raised.value.refusal is Refusal.BAD_TOKEN


async def test_without_a_master_it_goes_on_until_told_otherwise(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with pytest.raises(ConnectionError, match="there is no token file"):
        await run_async(Batch(), master="127.0.0.1:1", token_file=token, connect_timeout_s=0.2)
    token.write_text("anything\n")
    token.chmod(0o600)
    with pytest.raises(ConnectionError, match=r"no master answers at 127\.0\.0\.1:1 "):
        await run_async(Batch(), master="127.0.0.1:1", token_file=token, connect_timeout_s=0.2)
    stopped = Batch()
    running = asyncio.create_task(run_async(stopped, master="127.0.0.1:1", token_file=token))
    await asyncio.sleep(0)
    stopped.stop()
    await asyncio.wait_for(running, 10)


async def test_a_scheduler_is_run_once_at_a_time(cluster: Cluster) -> None:
    batch = Batch(task("t1", "sleep", "600"))
    running = asyncio.create_task(run_on(cluster, batch))
    await until(lambda: batch.told)
    with pytest.raises(RuntimeError, match="being run already"):
        await run_on(cluster, batch)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cluster.status().tasks_by_state["RUNNING"] == 1, "tasks live on"


# --- a master that goes away ----------------------------------------------------------------------


async def test_a_master_killed_and_started_again_is_found_and_nothing_is_lost(
    cluster: Cluster, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    class Patient(Batch):
        name = "patient"
        subscribes = 0
        lost = 0

        def subscribed(self, framework_id: str) -> None:
            self.subscribes += 1

        def disconnected(self, why: str) -> None:
            self.lost += 1

    waits = f"until [ -e {gate} ]; do sleep 0.05; done"
    patient = Patient(*(task(f"t{n}", "sh", "-c", waits) for n in range(3)))
    running = asyncio.create_task(run_on(cluster, patient))
    await until(lambda: sum(s.state is TaskState.RUNNING for s in patient.told) == 3)
    port = cluster.master.port
    cluster.master.kill()
    await until(lambda: patient.lost == 1)
    await cluster.master.start(f"--port={port}")
    gate.touch()
    await running
    assert patient.subscribes == 2
    ends = [status.task_id for status in patient.told if status.terminal]
    assert sorted(ends) == ["t0", "t1", "t2"], patient.told


# --- callbacks that take their time ---------------------------------------------------------------


async def test_a_slow_callback_stops_the_reading_but_not_the_session(cluster: Cluster) -> None:
    """More statuses than may wait, while one callback sits there; then all arrive, in order."""
    count = CALLBACKS_WAITING_MAX + 200
    release = threading.Event()

    class Slow(Scheduler):
        name = "slow"

        def __init__(self) -> None:
            self.told: list[str] = []

        def subscribed(self, framework_id: str) -> None:
            for number in range(count):
                self.reconcile(f"unknown-{number}")
            release.wait(30)

        def status_update(self, status: TaskStatus) -> None:
            self.told.append(status.task_id)
            if len(self.told) == count:
                self.teardown()

    slow = Slow()
    running = asyncio.create_task(run_on(cluster, slow))
    await until(lambda: cluster.status().frameworks_active == 1)
    release.set()
    await running
    assert slow.told == [f"unknown-{number}" for number in range(count)]


# --- as a program ---------------------------------------------------------------------------------

PROGRAM = """
import sys
from mesoslite import Resources, Scheduler, Task, run

class Program(Scheduler):
    name = "program"
    def resource_offers(self, offers):
        self.launch(offers[0], Task("forever", ["sleep", "600"], Resources(cpus=0.1, mem=16)))
    def status_update(self, status):
        print(status.state.name, flush=True)

run(Program(), master=sys.argv[1], token_file=sys.argv[2])
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_run_cleanly_and_tasks_live_on(
    cluster: Cluster, number: signal.Signals
) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 - it returns at once
        [sys.executable, "-c", PROGRAM, cluster.address, str(cluster.token_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as program:
        assert program.stdout is not None
        assert await asyncio.to_thread(program.stdout.readline) == "RUNNING\n"
        program.send_signal(number)
        out, err = await asyncio.to_thread(program.communicate, timeout=20)
    assert (program.returncode, out) == (0, "ended\n")
    assert "Traceback" not in err
    assert cluster.status().tasks_by_state["RUNNING"] == 1


async def test_a_second_signal_ends_run_also_when_a_callback_hangs(cluster: Cluster) -> None:
    hangs = PROGRAM.replace("print(status.state.name, flush=True)", "print(1, flush=True); hang()")
    hangs = "import threading\nhang = threading.Event().wait\n" + hangs
    with subprocess.Popen(  # noqa: ASYNC220 - it returns at once
        [sys.executable, "-c", hangs, cluster.address, str(cluster.token_file)],
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as program:
        assert program.stdout is not None
        assert await asyncio.to_thread(program.stdout.readline) == "1\n"
        # Two signals of one number may arrive as one.
        program.send_signal(signal.SIGINT)
        program.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(program.wait, 20) == 0


# --- the words of tasks ---------------------------------------------------------------------------

ECHO = """
from mesoslite.executor import connect
with connect() as framework:
    framework.send(b"ready " + framework.task_id.encode())
    for order in framework:
        framework.send(b"echo " + order)
        if order == b"end":
            break
"""
ECHO_ASYNC = """
import asyncio
from mesoslite.executor import connect_async
async def main():
    async with await connect_async() as framework:
        await framework.send(b"ready " + framework.task_id.encode())
        async for order in framework:
            await framework.send(b"echo " + order)
            if order == b"end":
                break
asyncio.run(main())
"""


@pytest.mark.parametrize("program", [ECHO, ECHO_ASYNC], ids=["threads", "asyncio"])
async def test_a_task_and_its_framework_exchange_messages(cluster: Cluster, program: str) -> None:
    class Talker(Batch):
        name = "talker"
        heard: tuple[bytes, ...] = ()

        def framework_message(self, task_id: str, agent_id: str, data: bytes) -> None:
            self.heard += (data,)
            if data.startswith(b"ready"):
                self.message(task_id, agent_id, b"one")
                self.message(task_id, agent_id, b"end")

    root = os.pathsep.join(sys.path)
    needs = Resources(cpus=0.1, mem=256)
    talker = Talker(
        Task("echo", [sys.executable, "-c", program], needs, environment={"PYTHONPATH": root})
    )
    await run_on(cluster, talker)
    assert talker.heard == (b"ready echo", b"echo one", b"echo end")
    assert talker.told[-1].state is TaskState.FINISHED, talker.told[-1]


async def test_who_is_no_task_can_not_attach(cluster: Cluster) -> None:
    with pytest.raises(NotATask, match="MESOSLITE_EXECUTOR_SOCKET"):
        connect({})
    with pytest.raises(NotATask):
        await connect_async({})
    stranger = {
        "MESOSLITE_EXECUTOR_SOCKET": f"127.0.0.1:{cluster.agents[0].port}",
        "MESOSLITE_CONTAINER_ID": "none",
        "MESOSLITE_SECRET": "guess",
    }
    with pytest.raises(NotAttached, match="no task here"):
        await asyncio.to_thread(connect, stranger)
    with pytest.raises(NotAttached, match="no task here"):
        await connect_async(stranger)
