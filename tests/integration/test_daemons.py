"""Master and agent as programs: flags, one clear line for what is wrong, kill -9 and back."""

import os
import socket
import stat
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from mesoslite.daemon import run_daemon
from mesoslite.health import is_serving
from mesoslite.master.daemon import serve as serve_master
from mesoslite.master.settings import MasterSettings
from mesoslite.v1 import operator_pb2
from mesoslite_agent.daemon import serve as serve_agent
from mesoslite_agent.settings import AgentSettings
from tests.integration.containers import Place
from tests.integration.daemons import AGENT, MASTER, Cluster, cluster_in, environment, tried
from tests.integration.waiting import until


def run_here(module: str, *flags: str) -> int:
    """What a daemon's program does with flags that are wrong; it comes to nothing else."""
    run = partial(run_daemon, program=module, about="", arguments=flags)
    if module == MASTER:
        return run(MasterSettings, serve_master, table="master")
    return run(AgentSettings, serve_agent, table="agent")


# --- flags ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [MASTER, AGENT])
def test_what_is_printed_as_the_configuration_reads_back_as_the_same(
    module: str, tmp_path: Path
) -> None:
    first = tried(
        module, "--print-config", "--port", "17", "--host", "::1", MESOSLITE_LOG_LEVEL="debug"
    )
    assert first.returncode == 0, first.stderr
    [(table, values)] = tomllib.loads(first.stdout).items()
    assert (values["port"], values["log-level"]) == ("17", "debug")
    assert 'port = "17"  # flag --port' in first.stdout
    assert 'log-level = "debug"  # variable MESOSLITE_LOG_LEVEL' in first.stdout
    assert 'log-format = "text"  # default' in first.stdout
    config = tmp_path / "config.toml"
    config.write_text(first.stdout)
    second = tried(module, "--print-config", MESOSLITE_CONFIG=str(config))
    assert tomllib.loads(second.stdout) == {table: values}


def test_a_flag_wins_over_the_variable_and_the_variable_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        "[master]\nport = 1\nhost = '127.0.0.3'\noffer-lease-s = 1.5\n[agent]\nport = 9\n"
    )
    out = tried(
        MASTER, f"--config={config}", "--port=3", "--print-config",
        MESOSLITE_PORT="2", MESOSLITE_HOST="127.0.0.2",
    )  # fmt: skip
    values = tomllib.loads(out.stdout)["master"]
    assert (values["port"], values["host"], values["offer-lease-s"]) == ("3", "127.0.0.2", "1.5")


@pytest.mark.parametrize(
    ("module", "flags", "names"),
    [
        (MASTER, ["--port=70000"], "flag --port"),
        (MASTER, ["--nonsense"], "--nonsense"),
        (MASTER, ["--weights=ads"], "role=weight"),
        (MASTER, ["--weights=ads=0"], "weight"),
        (MASTER, ["--weights=a b=1"], "role"),
        (MASTER, ["--offer-lease-s=soon"], "seconds"),
        (MASTER, ["--log-format=xml"], "text, json"),
        (MASTER, ["--host=0.0.0.0"], "--insecure"),
        (MASTER, ["--heartbeat-s=5", "--silence-s=5"], "not above heartbeat-s = 5"),
        (AGENT, ["--silence-s=10"], "silence-s = 10 is not above heartbeat-s = 15"),
        (AGENT, ["--host=192.0.2.1"], "--insecure"),
        (AGENT, ["--resources=cpus:-1"], "cpus"),
        (AGENT, ["--resources=cpus(a)(b):1"], "cpus(a)(b) is a reservation that is made while"),
        (AGENT, ["--attributes=::"], "attributes"),
        (AGENT, ["--master=a/b"], "HOST:PORT"),
        (AGENT, ["--master=zk://h"], "zk://HOST1,HOST2:2181/PATH"),
        (AGENT, ["--boot-id=a b"], "boot-id"),
        (AGENT, ["--config=/does/not/exist"], "/does/not/exist"),
    ],
)
def test_wrong_usage_is_one_line_with_its_origin_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], module: str, flags: list[str], names: str
) -> None:
    assert run_here(module, *flags) == 2
    out, err = capsys.readouterr()
    assert names in err
    assert len(err.splitlines()) == 1
    assert out == ""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[master]\nprot = 1\n", "prot"),
        ("[mister]\nport = 1\n", "mister"),
        ("[master]\nport = [1]\n", "master.port"),
        ("[master\n", "not TOML"),
        ("[master]\nport = 'x'\n", "file "),
    ],
)
def test_a_config_file_that_is_wrong_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, names: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    assert run_here(MASTER, f"--config={config}") == 2
    err = capsys.readouterr().err
    assert names in err
    assert str(config) in err
    assert len(err.splitlines()) == 1


def test_a_port_file_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    wrong = f"--port-file={tmp_path / 'nowhere' / 'port'}"
    flags = ("--port=0", "--http-port=none", f"--token-file={tmp_path / 'token'}", wrong)
    done = tried(MASTER, *flags, f"--work-dir={tmp_path / 'w'}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "cannot write the port file" in done.stderr.splitlines()[-1]


def test_a_port_in_use_a_damaged_registry_and_a_bad_work_dir_are_one_line_each(
    tmp_path: Path,
) -> None:
    token = f"--token-file={tmp_path / 'token'}"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        in_use = tried(
            MASTER, f"--port={taken.getsockname()[1]}", token, f"--work-dir={tmp_path / 'w1'}"
        )
    (tmp_path / "w2").mkdir()
    (tmp_path / "w2" / "registry.sqlite").write_bytes(b"nonsense" * 1_000)
    damaged = tried(MASTER, "--port=0", token, f"--work-dir={tmp_path / 'w2'}")
    no_dir = tried(MASTER, "--port=0", token, f"--work-dir={tmp_path / 'token' / 'w3'}")
    (tmp_path / "token").chmod(0o644)
    bare = tried(MASTER, "--port=0", token, f"--work-dir={tmp_path / 'w4'}")
    for out, names in (
        (in_use, "in use"),
        (damaged, "damaged"),
        (no_dir, "work dir"),
        (bare, "chmod 600"),
    ):
        last = out.stderr.splitlines()[-1]
        assert out.returncode == 1, out.stderr
        assert names in last
        assert last.startswith("mesoslite-master: error: ")
        assert "Traceback" not in out.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        out = subprocess.run(
            [sys.executable, "-m", MASTER, "--port=x"],
            stderr=full,
            env=environment(),
            check=False,
            timeout=30,
        )
    assert out.returncode == 2


# --- a cluster ------------------------------------------------------------------------------------


@pytest.fixture
async def cluster(place: Place) -> AsyncIterator[Cluster]:
    with cluster_in(place.work_dir) as made:
        await made.master.start()
        yield made


async def test_a_master_starts_serves_and_ends_in_order(cluster: Cluster) -> None:
    assert stat.S_IMODE(cluster.token_file.stat().st_mode) == 0o600
    assert cluster.status().epoch == 1
    async with grpc.aio.insecure_channel(cluster.address) as channel:
        assert await is_serving(channel)
    assert cluster.master.stop() == 0
    assert not cluster.master.port_file.exists()
    assert "Traceback" not in cluster.master.said


async def test_a_master_after_a_kill_has_a_higher_epoch_and_agents_come_back_by_themselves(
    cluster: Cluster,
) -> None:
    port = cluster.master.port
    agent = await cluster.start_agent("--kill-on-exit")
    await until(lambda: cluster.agents_active() == 1)
    cluster.master.kill()
    await cluster.master.start(f"--port={port}")
    assert cluster.status().epoch == 2
    await until(lambda: cluster.agents_active() == 1)
    assert agent.stop() == 0
    assert cluster.master.stop() == 0


async def test_an_agent_keeps_its_name_over_a_kill_and_is_ready_when_registered(
    cluster: Cluster,
) -> None:
    agent = await cluster.start_agent()
    await until(lambda: cluster.agents_active() == 1)
    [before] = listed(cluster)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{agent.port}") as channel:
        while not await is_serving(channel):
            pass  # the master knows it before it hears so
    agent.kill()
    await until(lambda: cluster.agents_active() == 0)
    await agent.start("--kill-on-exit")
    await until(lambda: cluster.agents_active() == 1)
    [after] = listed(cluster)
    assert after.info.agent_id == before.info.agent_id
    assert agent.stop() == 0
    assert "Traceback" not in agent.said


async def test_an_agent_comes_back_with_more_and_with_less_only_when_that_is_meant(
    cluster: Cluster,
) -> None:
    """docs/semantics.md 3.6"""
    agent = await cluster.start_agent("--kill-on-exit", "--attributes=rack:r1")
    await until(lambda: cluster.agents_active() == 1)
    agent.kill()
    more = ("--resources=cpus:5;mem:1024", "--zone=z1")
    await agent.start(*more)
    await until(lambda: [row.info.zone for row in listed(cluster)] == ["z1"])
    assert agent.stop() == 0
    flags = (*agent.flags, *more, f"--work-dir={agent.folder / 'work'}")
    out = tried(AGENT, *flags, "--attributes=rack:r2")
    assert out.returncode == 1
    assert "attribute rack: r1 -> r2" in out.stderr.splitlines()[-1]
    await agent.start(*more, "--attributes=rack:r2", "--reconfigure")
    await until(lambda: [str(row.info.attributes[0].text) for row in listed(cluster)] == ["r2"])
    assert agent.stop() == 0
    assert "Traceback" not in agent.said


async def test_an_agent_without_a_master_is_not_ready_and_ends_in_order(
    cluster: Cluster,
) -> None:
    agent = await cluster.start_agent("--kill-on-exit")
    await until(lambda: cluster.agents_active() == 1)
    cluster.master.stop()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{agent.port}") as channel:
        while await is_serving(channel):
            pass
    assert agent.stop() == 0
    assert "Traceback" not in agent.said


async def test_a_second_agent_on_one_work_dir_is_refused(cluster: Cluster) -> None:
    agent = await cluster.start_agent("--kill-on-exit")
    out = tried(
        AGENT,
        f"--work-dir={agent.folder / 'work'}",
        f"--token-file={cluster.token_file}",
        "--port=0",
    )
    assert out.returncode == 1
    assert "in use by another agent" in out.stderr
    assert agent.stop() == 0


async def test_a_containerizer_that_does_not_work_here_is_refused_with_its_reason(
    cluster: Cluster,
) -> None:
    out = tried(
        AGENT,
        f"--work-dir={cluster.folder / 'none'}",
        f"--token-file={cluster.token_file}",
        "--port=0",
        "--containerizers=nonsense",
    )
    assert out.returncode == 1
    assert "nonsense" in out.stderr.splitlines()[-1]


async def test_stopping_with_stdin_ends_a_daemon_whose_parent_has_gone(tmp_path: Path) -> None:
    read, write = os.pipe()
    process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
        [
            sys.executable, "-m", MASTER, "--port=0", "--stop-with-stdin",
            f"--work-dir={tmp_path}", f"--token-file={tmp_path / 'token'}",
            f"--port-file={tmp_path / 'port'}",
        ],
        stdin=read,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )  # fmt: skip
    os.close(read)
    try:
        await until((tmp_path / "port").exists, 30)
        assert process.poll() is None
        os.close(write)
        assert process.wait(20) == 0
    finally:
        process.kill()


def listed(cluster: Cluster) -> list[operator_pb2.AgentRow]:
    answer = cluster.ask("ListAgents", operator_pb2.ListAgentsRequest())
    assert isinstance(answer, operator_pb2.ListAgentsResponse)
    return list(answer.agents)
