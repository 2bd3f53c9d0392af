"""Several masters as programs: one leads, another when it is gone, and nothing is lost."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from mesoslite import (
    Offer,
    Resources,
    Scheduler,
    Task,
    TaskState,
    TaskStatus,
    run_async,
    take_fitting,
)
from mesoslite.credentials import call_metadata, read_tokens
from mesoslite.masters import NODE_PREFIX, new_client, parse_ensemble
from mesoslite.messages import Heartbeat, Subscribe, Subscribed
from mesoslite.model import FrameworkInfo
from mesoslite.testing.zookeeper import ZooKeeperServer
from tests.integration.containers import Place
from tests.integration.daemons import MASTER, Daemon, environment, tried
from tests.integration.door import SUBSCRIBE, Peer
from tests.integration.masters import SESSION_S, Masters, masters_in
from tests.integration.waiting import until

ELECTED_S_MAX = SESSION_S + 15
SMALL = Resources(cpus=0.1, mem=16)


@pytest.fixture
def masters(place: Place, zookeeper: ZooKeeperServer) -> Iterator[Masters]:
    """No master yet; nothing of them is left afterwards."""
    with masters_in(place.work_dir, zookeeper) as made:
        yield made


class Batch(Scheduler):
    """Runs its tasks, notes what it is told, and leaves when all have ended."""

    name = "batch"

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.waiting = list(tasks)
        self.left = len(self.waiting)
        self.told: list[TaskStatus] = []
        self.subscribes = 0

    def subscribed(self, framework_id: str) -> None:
        self.subscribes += 1

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for offer in offers:
            self.launch(offer, take_fitting(self.waiting, offer.resources))

    def status_update(self, status: TaskStatus) -> None:
        self.told.append(status)
        self.left -= status.terminal
        if not self.left:
            self.teardown()

    @property
    def running(self) -> int:
        return sum(status.state is TaskState.RUNNING for status in self.told)


def waiting_for(gate: Path, *names: str) -> list[Task]:
    """Tasks that note that they ran, and end when the gate is there."""
    script = f"echo $0 >>{gate}.ran; until [ -e {gate} ]; do sleep 0.05; done"
    return [Task(name, ["sh", "-c", script, name], SMALL) for name in names]


def ran(gate: Path) -> list[str]:
    """Which of them were started, once for each start."""
    return sorted(Path(f"{gate}.ran").read_text().split())


async def run_on(masters: Masters, scheduler: Scheduler, master: str = "") -> None:
    async with asyncio.timeout(90):
        await run_async(scheduler, master=master or masters.zk, token_file=masters.token_file)


def address_of(master: Daemon) -> str:
    return f"127.0.0.1:{master.port}"


# --- a leader that is gone ------------------------------------------------------------------------


async def test_when_the_leader_is_killed_another_leads_and_no_task_is_lost(
    masters: Masters, tmp_path: Path
) -> None:
    await masters.start(3)
    await until(lambda: masters.leaders == masters.masters[:1])
    await masters.start_agent()
    gate = tmp_path / "gate"
    batch = Batch(waiting_for(gate, "t0", "t1", "t2"))
    running = asyncio.create_task(run_on(masters, batch))
    await until(lambda: batch.running == 3)
    epoch = masters.status_of(masters.masters[0]).epoch
    masters.masters[0].kill()
    await until(lambda: masters.leaders, ELECTED_S_MAX)
    await until(lambda: batch.subscribes == 2 and masters.agents_active() == 1)
    [leader] = masters.leaders
    assert masters.status_of(leader).epoch > epoch
    assert masters.status_of(leader).tasks_by_state["RUNNING"] == 3
    batch.waiting += waiting_for(gate, "t3")
    batch.left += 1
    await until(lambda: batch.running >= 4)
    gate.touch()
    await running
    ends = {status.task_id: status.state for status in batch.told if status.terminal}
    assert ends == dict.fromkeys(("t0", "t1", "t2", "t3"), TaskState.FINISHED)
    assert ran(gate) == ["t0", "t1", "t2", "t3"]


async def test_a_leader_that_was_paused_says_nothing_more_and_ends(masters: Masters) -> None:
    """One that is not told of the new leader keeps its stream to the old one, and hears no word."""
    await masters.start(2)
    first, second = masters.masters
    await masters.start_agent()
    await until(lambda: masters.agents_active_at(first) == 1)
    metadata = call_metadata(read_tokens(masters.token_file).own)
    async with grpc.aio.insecure_channel(address_of(first)) as channel:
        peer = Peer(channel.stream_stream(SUBSCRIBE, None, None)(None, metadata=metadata))
        await peer.say(Subscribe(FrameworkInfo("deaf"), "session"))
        await peer.hear(Subscribed)
        await peer.say(Heartbeat(1))
        assert await peer.hear(Heartbeat) == Heartbeat(1)
        assert first.process is not None
        first.process.send_signal(signal.SIGSTOP)
        await until(lambda: masters.agents_active_at(second) == 1, ELECTED_S_MAX)
        streams = masters.agents[0].said.count("connected to the master")
        peer.heard.clear()
        await peer.say(Heartbeat(2))
        first.process.send_signal(signal.SIGCONT)
        await peer.ended()
        assert peer.heard == []
    assert await asyncio.to_thread(first.process.wait, 20) == 75
    assert "this master leads no more" in first.said.splitlines()[-1]
    assert "Traceback" not in first.said
    assert masters.agents_active_at(second) == 1
    assert masters.agents[0].said.count("connected to the master") == streams


class Wire:
    """A way to ZooKeeper for one master, which can be cut: then nothing comes through any more."""

    def __init__(self, port: int) -> None:
        self._there = port
        self._open = True
        self._ends: set[asyncio.StreamWriter] = set()
        self._carrying: set[asyncio.Task[None] | None] = set()

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for end in self._ends:
            end.close()
        await asyncio.gather(*filter(None, self._carrying))

    def cut(self) -> None:
        self._open = False

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._carrying.add(asyncio.current_task())
        there, back = await asyncio.open_connection("127.0.0.1", self._there)
        self._ends |= {writer, back}
        with suppress(OSError):
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if self._open:
                writer.write(data)
        if self._open:
            writer.close()


async def test_a_leader_that_is_cut_off_from_zookeeper_ends_before_another_leads(
    masters: Masters,
) -> None:
    wire = Wire(masters.zookeeper.port)
    async with wire as port:
        direct, masters.zk = masters.zk, f"zk://127.0.0.1:{port}/mesoslite"
        await masters.start(1)
        masters.zk = direct
        await masters.start(1)
        first, second = masters.masters
        await until(lambda: masters.followed_by(second) == address_of(first))
        wire.cut()
        await until(lambda: "leads no more" in first.said, 20)
        assert masters.followed_by(second) is not None, "they led both"
        await until(lambda: masters.followed_by(second) is None, 20)
        assert first.process is not None
        assert first.process.wait(20) == 75


async def test_a_leader_that_is_stopped_in_order_makes_room_at_once(
    place: Place, zookeeper: ZooKeeperServer
) -> None:
    with masters_in(place.work_dir, zookeeper, session_s=10) as masters:
        await masters.start(2)
        first, second = masters.masters
        await until(lambda: masters.leaders == [first])
        assert await asyncio.to_thread(first.stop) == 0
        await until(lambda: masters.leaders == [second], 9)


async def test_a_zookeeper_that_is_back_in_time_is_not_noticed(
    place: Place, zookeeper: ZooKeeperServer
) -> None:
    with masters_in(place.work_dir, zookeeper, session_s=10) as masters:
        await masters.start(1)
        await masters.start_agent()
        await until(lambda: masters.agents_active() == 1)
        zookeeper.kill()
        await asyncio.to_thread(zookeeper.start)
        [leader] = masters.masters
        await masters.start_agent()
        await until(lambda: masters.agents_active() == 2)  # admitted: that was committed
        assert (leader.starts, leader.alive) == (1, True)
        assert "leads no more" not in leader.said


async def test_a_zookeeper_that_stays_away_ends_the_leader_with_one_line(
    masters: Masters,
) -> None:
    await masters.start(1)
    [leader] = masters.masters
    await masters.start_agent()
    await until(lambda: masters.agents_active() == 1)
    masters.zookeeper.kill()
    assert leader.process is not None
    assert await asyncio.to_thread(leader.process.wait, 20) == 75
    last = leader.said.splitlines()[-1]
    assert last.startswith("mesoslite-master: error: this master leads no more: nothing was heard")
    assert "Traceback" not in leader.said


async def test_a_leader_and_a_follower_end_when_asked_to_while_zookeeper_is_away(
    masters: Masters,
) -> None:
    await masters.start(2)
    leader, follower = masters.masters
    await until(lambda: masters.followed_by(follower) == address_of(leader))
    masters.zookeeper.kill()
    assert await asyncio.to_thread(follower.stop) == 0
    assert await asyncio.to_thread(leader.stop) in {0, 75}
    assert "Traceback" not in leader.said + follower.said


async def test_the_registry_outlives_all_masters(masters: Masters, tmp_path: Path) -> None:
    await masters.start(2)
    await masters.start_agent()
    gate = tmp_path / "gate"
    batch = Batch(waiting_for(gate, "t0"))
    running = asyncio.create_task(run_on(masters, batch))
    await until(lambda: batch.running == 1)
    for one in masters.masters:
        one.kill()
    for one in masters.masters:
        await one.start()
    await until(lambda: masters.leaders, ELECTED_S_MAX)
    await until(lambda: batch.subscribes == 2 and masters.agents_active() == 1)
    [leader] = masters.leaders
    assert masters.status_of(leader).epoch == 2
    assert "agents=1" in leader.said
    assert "frameworks=1" in leader.said
    gate.touch()
    await running
    assert [s.state for s in batch.told if s.terminal] == [TaskState.FINISHED]


@pytest.mark.parametrize("way", ["zookeeper", "addresses"])
async def test_a_run_goes_on_under_the_next_master_with_all_of_its_output(
    masters: Masters, tmp_path: Path, way: str
) -> None:
    await masters.start(2)
    await masters.start_agent()
    await until(lambda: masters.agents_active() == 1)
    gate = tmp_path / "gate"
    script = f"echo before; until [ -e {gate} ]; do sleep 0.05; done; echo after; exit 3"
    addresses = ",".join(address_of(one) for one in masters.masters)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mesoslite.cli.main", "run", "--cpus=0.1", "--mem=16"),
        *("--", "sh", "-c", script),
        env={
            **environment(),
            "MESOSLITE_MASTER": masters.zk if way == "zookeeper" else addresses,
            "MESOSLITE_TOKEN_FILE": str(masters.token_file),
        },
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"before\n"
        masters.masters[0].kill()
        await until(lambda: masters.agents_active_at(masters.masters[1]) == 1, ELECTED_S_MAX)
        gate.touch()
        assert await process.stdout.read() == b"after\n"
        assert await process.wait() == 3


# --- followers ------------------------------------------------------------------------------------


async def test_a_follower_sends_everybody_to_the_leader(masters: Masters, tmp_path: Path) -> None:
    await masters.start(2)
    leader, follower = masters.masters
    await until(lambda: masters.followed_by(follower) == address_of(leader))
    assert follower.http.ask("/healthz").status == 200
    answer = follower.http.ask("/readyz")
    assert (answer.status, answer.text) == (503, f"not ready: follows {address_of(leader)}\n")
    assert "mesoslite_ready 0.0" in follower.http.metrics().text
    await until(lambda: leader.http.ask("/readyz").status == 200)
    status = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "mesoslite.cli.main", "status", "-o", "json"],
        env={
            **environment(),
            "MESOSLITE_MASTER": address_of(follower),
            "MESOSLITE_TOKEN_FILE": str(masters.token_file),
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["epoch"] == 1
    await masters.start_agent(master=address_of(follower))
    gate = tmp_path / "gate"
    gate.touch()
    batch = Batch(waiting_for(gate, "t0"))
    await run_on(masters, batch, master=address_of(follower))
    assert [s.state for s in batch.told if s.terminal] == [TaskState.FINISHED]


async def test_the_leader_is_found_where_mesos_would_be(masters: Masters) -> None:
    await masters.start(1, "--advertise=m1.example:5060")
    await until(lambda: masters.leaders)
    client = new_client(parse_ensemble(masters.zk), 4.0)
    await asyncio.to_thread(client.start)
    try:
        children = await asyncio.to_thread(client.get_children, "/mesoslite")
        [node] = [child for child in children if child.startswith(NODE_PREFIX)]
        info = json.loads((await asyncio.to_thread(client.get, f"/mesoslite/{node}"))[0])
    finally:
        client.stop()
        client.close()
    http_port = int((masters.masters[0].folder / "http").read_text())
    assert node == "json.info_0000000000"
    assert info["mesoslite"] == {"address": "m1.example:5060"}
    assert (info["hostname"], info["port"]) == ("m1.example", http_port)
    assert info["address"]["port"] == http_port
    assert info["pid"].endswith(f":{http_port}")


async def test_a_master_without_zookeeper_waits_for_it(place: Place) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    token = place.work_dir / "token"
    token.write_text("local secret\n")
    token.chmod(0o600)
    master = Daemon(
        MASTER,
        place.work_dir / "master",
        (f"--zk=zk://127.0.0.1:{port}/mesoslite", f"--token-file={token}", "--port=0"),
    )
    try:
        await master.start()
        assert "has not answered" in master.http.ask("/readyz").text
        assert f"the master waits for ZooKeeper at 127.0.0.1:{port}" in master.said
        assert "serves" not in master.said
        assert master.stop() == 0
    finally:
        master.kill()


# --- flags ----------------------------------------------------------------------------------------


def test_what_does_not_go_together_is_one_line(tmp_path: Path) -> None:
    token = tmp_path / "token"
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "registry.sqlite").touch()
    zk = "--zk=zk://127.0.0.1:1/mesoslite"
    no_token = tried(MASTER, zk, f"--token-file={token}", "--port=0", f"--work-dir={tmp_path}")
    assert no_token.returncode == 1
    assert "share a token" in no_token.stderr.splitlines()[-1]
    assert not token.exists()
    other = tried(MASTER, zk, f"--token-file={token}", "--port=0", f"--work-dir={alone}")
    assert other.returncode == 1
    assert "a master that was alone" in other.stderr.splitlines()[-1]
    anywhere = tried(MASTER, zk, "--host=0.0.0.0", "--insecure")
    assert anywhere.returncode == 2
    assert "--advertise HOST:PORT" in anywhere.stderr.splitlines()[-1]
