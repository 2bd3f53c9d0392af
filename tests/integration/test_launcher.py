"""The launcher as a real process: exact ends, idempotent starts, and deaths on either side."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mesoslite_agent import launcher, launcher_client, lines
from mesoslite_agent.journal import sealed, unsealed
from mesoslite_agent.launcher_client import (
    LauncherBroken,
    LauncherClient,
    LauncherRefused,
    command,
    launch,
)
from mesoslite_agent.processes import read_process
from tests.integration.containers import Place, descriptors
from tests.integration.waiting import until


class Listener:
    """A client, and the last event of each container."""

    def __init__(self, place: Place, name: str = "launcher", **wishes: Any) -> None:
        self.folder = place.work_dir / name
        self.sandbox = place.work_dir / "sandbox"
        self.sandbox.mkdir(exist_ok=True)
        self.last: dict[str, dict[str, Any]] = {}
        self.all: list[dict[str, Any]] = []
        self.client = LauncherClient(self.folder, self._heard, lambda ids: None, **wishes)

    def _heard(self, event: dict[str, Any]) -> None:
        self.last[event["id"]] = event
        self.all.append(event)

    async def start(self, container_id: str, *argv: str, **more: Any) -> None:
        await self.client.request(
            "start",
            id=container_id,
            argv=argv,
            env={"PATH": os.defpath, "MARK": f"{self.sandbox}/{container_id}"},
            cwd=str(self.sandbox),
            stdout=str(self.sandbox / f"{container_id}.out"),
            stderr=str(self.sandbox / f"{container_id}.err"),
            marker=f"MARK={self.sandbox}/{container_id}",
            **more,
        )

    async def over(self, container_id: str) -> dict[str, Any]:
        await until(lambda: self.last.get(container_id, {}).get("event") in {"exited", "failed"})
        return self.last[container_id]

    async def says(self, container_id: str, text: str) -> None:
        file = self.sandbox / f"{container_id}.out"
        await until(lambda: file.exists() and text in file.read_text())

    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    async def end(self) -> None:
        await self.client.shut_down(kill=True, patience_s=10)
        await self.client.close()


async def opened(place: Place, **wishes: Any) -> Listener:
    listener = Listener(place, **wishes)
    await listener.client.open()
    return listener


def program_of(*argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True)


def start_of(program: subprocess.Popen[bytes]) -> int:
    process = read_process(program.pid)
    assert process is not None
    return process.start


def record_of(container_id: str, program: subprocess.Popen[bytes], start: int) -> dict[str, Any]:
    return {"is": "record", "id": container_id, "pid": program.pid, "start": start}


def may_lower_scores() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff"))
    return bool(int(effective.split()[1], 16) & 1 << 24)  # CAP_SYS_RESOURCE


def score_of(pid: int) -> str:
    return Path(f"/proc/{pid}/oom_score_adj").read_text()


def lives(pid: int) -> bool:
    process = read_process(pid)
    return process is not None and process.lives


async def test_a_task_ends_with_its_exit_code_or_its_signal(place: Place) -> None:
    it = await opened(place)
    await it.start("three", "sh", "-c", "echo out; echo err >&2; exit 3")
    await it.start("killed", "sh", "-c", "kill -9 $$")
    three, killed = await it.over("three"), await it.over("killed")
    assert (three["exit_code"], three["signal"], three["lost"]) == (3, None, False)
    assert (killed["exit_code"], killed["signal"]) == (None, signal.SIGKILL)
    assert (it.sandbox / "three.out").read_text() == "out\n"
    assert (it.sandbox / "three.err").read_text() == "err\n"
    await it.end()


async def test_a_command_that_is_not_there_fails_with_the_reason(place: Place) -> None:
    it = await opened(place)
    await it.start("none", "/no/such/command")
    failed = await it.over("none")
    assert failed["event"] == "failed"
    assert "/no/such/command" in failed["error"]
    await it.end()


# --- leases of fenced containers ------------------------------------------------------------------


def boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def test_a_container_whose_lease_is_over_is_killed_with_all_that_it_started(
    place: Place,
) -> None:
    it = await opened(place)
    until_s = boot_s() + 0.5
    script = "trap '' TERM; sleep 300 & setsid sleep 300 & echo up; wait"
    await it.start("fenced", "sh", "-c", script, lease_until_s=until_s)
    await it.start("free", "sleep", "300")
    await it.says("fenced", "up")
    end = await it.over("fenced")
    assert boot_s() >= until_s
    assert (end["over"], end["signal"]) == ("lease", signal.SIGKILL)
    assert "free" not in {event["id"] for event in it.all if event["event"] == "exited"}
    assert not [words for words in place.processes().values() if words.startswith("sleep 300")][1:]
    await it.end()


async def test_a_lease_ends_without_anybody_connected(place: Place) -> None:
    """The agent is dead, or stopped: the launcher alone keeps what was promised."""
    it = await opened(place)
    await it.start("fenced", "sh", "-c", "echo up; sleep 300", lease_until_s=boot_s() + 0.5)
    await it.start("free", "sleep", "300")
    await it.says("fenced", "up")
    await it.client.close()
    await until(lambda: not any("sleep 300" in w and "sh" in w for w in place.processes().values()))
    again = await opened(place)
    assert (await again.over("fenced"))["over"] == "lease"
    await again.end()


async def test_a_lease_that_is_extended_in_time_ends_nothing_and_only_grows(place: Place) -> None:
    it = await opened(place)
    began_s = boot_s()
    await it.start("fenced", "sleep", "300", lease_until_s=began_s + 0.3)
    await it.client.request("lease", ids=["fenced", "unknown"], until_s=began_s + 1.2)
    await it.client.request("lease", ids=["fenced"], until_s=began_s + 0.1)
    assert (await it.over("fenced"))["over"] == "lease"
    assert boot_s() >= began_s + 1.2
    await it.end()


async def test_a_start_whose_lease_is_over_already_runs_nothing(place: Place) -> None:
    """It was decided in time, and waited for a disk that was full: another may have its key."""
    it = await opened(place)
    await it.start("late", "sh", "-c", "echo up", lease_until_s=boot_s() - 1)
    end = await it.over("late")
    assert (end["event"], end["over"], end.get("pid")) == ("failed", "lease", None)
    await it.client.request("forget", id="late")
    await it.end()


async def test_it_is_the_last_to_be_killed_for_memory_and_its_tasks_are_not(place: Place) -> None:
    it = await opened(place)
    await it.start("plain", "cat", "/proc/self/oom_score_adj")
    await it.over("plain")
    assert (it.sandbox / "plain.out").read_text() == score_of(os.getpid())
    assert score_of(it.pid()) == ("-1000\n" if may_lower_scores() else score_of(os.getpid()))
    await it.end()


async def test_what_cannot_be_asked_is_refused_and_the_connection_goes_on(place: Place) -> None:
    it = await opened(place)
    with pytest.raises(LauncherRefused) as refused:
        await it.start("long", "echo", "x" * (2 << 20))
    assert refused.value.code == "too-large"
    with pytest.raises(LauncherRefused):
        await it.start("empty")
    await it.start("null", "echo", "a\0b")
    assert (await it.over("null"))["event"] == "failed"
    await it.end()


async def test_usage_is_that_of_the_whole_tree(place: Place) -> None:
    it = await opened(place)
    burn = "sum(range(6_000_000)); x = bytearray(64 << 20)"
    await it.start("burner", "sh", "-c", f"{sys.executable} -S -c '{burn}'; true")
    burner = await it.over("burner")
    assert burner["cpu_ms"] > 20
    assert 64 << 20 < burner["peak_mem_bytes"] < 200 << 20
    await it.end()


async def test_a_start_that_is_asked_twice_runs_once(place: Place) -> None:
    it = await opened(place)
    for _ in range(3):
        await it.start("once", "sh", "-c", "echo ran")
    await it.over("once")
    await it.start("once", "sh", "-c", "echo ran")
    assert (it.sandbox / "once.out").read_text() == "ran\n"
    assert it.last["once"]["event"] == "exited"
    await it.end()


async def test_a_signal_reaches_every_process(place: Place) -> None:
    it = await opened(place)
    inner = "trap 'echo inner got it; exit' TERM; echo ready; while :; do sleep 0.01; done"
    await it.start("two", "sh", "-c", f'setsid sh -c "{inner}" & trap "wait; exit 5" TERM; wait')
    await it.says("two", "ready")
    await it.client.request("signal", id="two", signal=signal.SIGTERM)
    assert (await it.over("two"))["exit_code"] == 5
    assert "inner got it" in (it.sandbox / "two.out").read_text()
    await it.end()


@pytest.mark.parametrize(
    "leave",
    [
        "sleep 300 &",
        "setsid sleep 300 &",
        "(setsid sh -c 'sleep 300 & sleep 300' &)",
        "setsid env -i sleep 300 &",
        "trap '' TERM HUP; (sleep 300 & sleep 300 & wait) &",
    ],
)
async def test_a_container_is_over_with_its_first_process(place: Place, leave: str) -> None:
    it = await opened(place)
    await it.start("leaver", "sh", "-c", f"{leave}\nsleep 0.05; exit 4")
    assert (await it.over("leaver"))["exit_code"] == 4
    # The launcher itself is all that is left when it is over.
    assert set(place.processes()) == {it.pid()}
    await it.end()


async def test_memory_over_the_limit_is_killed_and_told_apart_from_a_kill(place: Place) -> None:
    it = await opened(place)
    hold = "x = bytearray(200 << 20); import time; time.sleep(60)"
    await it.start("big", sys.executable, "-S", "-c", hold, mem_bytes_max=32 << 20)
    big = await it.over("big")
    assert (big["signal"], big["over"]) == (signal.SIGKILL, "mem")
    await it.start("small", "sleep", "60", mem_bytes_max=32 << 20)
    await it.client.request("signal", id="small", signal=signal.SIGKILL)
    small = await it.over("small")
    assert (small["signal"], small["over"]) == (signal.SIGKILL, None)
    await it.end()


async def test_too_many_processes_are_killed(place: Place) -> None:
    it = await opened(place)
    bomb = "for i in $(seq 200); do sleep 60 & done; wait"
    await it.start("bomb", "sh", "-c", bomb, pids_max=100)
    assert (await it.over("bomb"))["over"] == "pids"
    assert set(place.processes()) == {it.pid()}
    await it.end()


async def test_tasks_do_not_notice_that_their_agent_was_killed(place: Place) -> None:
    """The agent is another process here, killed with SIGKILL in the middle of everything."""
    folder, out = place.work_dir / "launcher", place.work_dir / "out"
    program = f"""
import asyncio
from pathlib import Path
from mesoslite_agent.launcher_client import LauncherClient
async def main():
    client = LauncherClient(Path({str(folder)!r}), lambda event: None, lambda ids: None)
    await client.open()
    for name, code in (("soon", "sleep 0.05; exit 7"), ("later", "echo up; sleep 60")):
        await client.request("start", id=name, argv=["sh", "-c", code], env={{"PATH": "/bin"}},
            cwd="/", stdout={str(out)!r} + name, stderr={str(out)!r} + name)
    print("started", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    with program_of(sys.executable, "-c", program) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"started\n"
        agent.kill()
    launcher_pid = int((folder / "pid").read_text())
    it = await opened(place)
    assert it.pid() == launcher_pid
    assert (await it.over("soon"))["exit_code"] == 7
    assert it.last["later"]["event"] == "started"
    assert lives(it.last["later"]["pid"])
    await it.end()


async def test_an_exit_is_told_again_until_it_is_forgotten(place: Place) -> None:
    it = await opened(place)
    await it.start("told", "true")
    await it.over("told")
    await it.client.close()
    again = await opened(place)
    assert again.last["told"]["exit_code"] == 0
    await again.client.request("forget", id="told")
    await again.client.request("forget", id="told")
    await again.client.close()
    third = await opened(place)
    assert third.last == {}
    await third.end()


async def test_what_may_wait_is_asked_all_the_same(place: Place) -> None:
    """With the next request, by itself after a moment, or as its client goes."""
    it = await opened(place)
    for container_id in ("with", "alone", "last"):
        await it.start(container_id, "true")
        await it.over(container_id)
    waiting = it.client.ask("forget", patient=True, id="with")
    assert waiting is not None
    await it.client.request("list")
    assert waiting.done()
    alone = it.client.ask("forget", patient=True, id="alone")
    assert alone is not None
    assert (await asyncio.wait_for(alone, 5))["ok"]
    it.client.ask("forget", patient=True, id="last")
    await it.client.close()
    again = await opened(place)
    assert again.last == {}
    await again.end()


async def test_what_runs_cannot_be_forgotten(place: Place) -> None:
    it = await opened(place)
    await it.start("runs", "sleep", "60")
    with pytest.raises(LauncherRefused) as refused:
        await it.client.request("forget", id="runs")
    assert refused.value.code == "running"
    await it.end()


async def test_a_launcher_that_dies_takes_its_containers_with_it(place: Place) -> None:
    it = await opened(place)
    await it.start("done", "sh", "-c", "exit 9")
    await it.over("done")
    deep = "setsid sleep 300 & setsid env -i sleep 300 & echo ready; sleep 300"
    await it.start("lost", "sh", "-c", deep)
    await it.says("lost", "ready")
    first = it.pid()
    os.kill(first, signal.SIGKILL)
    lost = await it.over("lost")
    assert (lost["lost"], lost["exit_code"], lost["signal"]) == (True, None, None)
    assert it.last["done"]["exit_code"] == 9
    assert it.pid() != first
    assert set(place.processes()) == {it.pid()}
    await it.start("next", "true")
    assert (await it.over("next"))["exit_code"] == 0
    await it.end()


async def test_a_start_without_a_record_is_found_by_its_marker(place: Place) -> None:
    """As if the launcher had died between the spawn and its record (docs/decisions.md D8)."""
    it = await opened(place)
    await it.start("unrecorded", "sleep", "300")
    await until(lambda: "unrecorded" in it.last)
    pid = it.last["unrecorded"]["pid"]
    os.kill(it.pid(), signal.SIGSTOP)
    journal = it.folder / "journal"
    lines = [line for line in journal.read_text().splitlines() if '"record"' not in line]
    journal.write_text("\n".join(lines) + '\n{"is": "reco')  # and a torn last line
    os.kill(it.pid(), signal.SIGKILL)
    assert (await it.over("unrecorded"))["lost"]
    assert not lives(pid)
    await it.end()


@pytest.mark.parametrize("hit", ["boot", "intent", "record", "end"])
async def test_a_damaged_line_of_the_journal_costs_what_it_said_and_no_process(
    place: Place, hit: str
) -> None:
    it = await opened(place)
    await it.start("runs", "sleep", "300")
    await it.start("done", "true")
    assert (await it.over("done"))["exit_code"] == 0
    await until(lambda: "runs" in it.last)
    pid = it.last["runs"]["pid"]
    os.kill(it.pid(), signal.SIGSTOP)
    journal = it.folder / "journal"
    lines = journal.read_bytes().splitlines()
    where = next(n for n, line in enumerate(lines) if f'"is": "{hit}"'.encode() in line)
    lines[where] = lines[where].replace(b'"', b"'", 1)
    journal.write_bytes(b"\n".join([*lines, b"nonsense", b'12345678 {"is": "forg']))
    os.kill(it.pid(), signal.SIGKILL)
    assert (await it.over("runs"))["lost"]
    assert not lives(pid)
    assert it.last["done"]["lost"] == (hit == "end")
    assert "2 lines of the journal are damaged" in (it.folder / "launcher.log").read_text()
    await it.end()


def test_no_line_with_a_changed_byte_is_taken_for_what_was_written() -> None:
    line = sealed({"is": "end", "id": "1-1", "state": "exited", "end": {"exit_code": 0}})
    assert unsealed(line.rstrip(b"\n")) is not None
    for at in range(len(line) - 1):
        changed = bytearray(line.rstrip(b"\n"))
        changed[at] ^= 1
        assert unsealed(bytes(changed)) is None
    assert unsealed(b'{"is": "forget", "id": "1-1"}') == {"is": "forget", "id": "1-1"}


async def test_a_journal_that_is_removed_under_its_launcher_is_written_anew(place: Place) -> None:
    it = await opened(place)
    await it.start("runs", "sleep", "300")
    (it.folder / "journal").unlink()
    await it.start("next", "sleep", "300")
    os.kill(it.pid(), signal.SIGKILL)
    assert (await it.over("runs"))["lost"]
    assert (await it.over("next"))["lost"]
    assert not it.client.forgetful
    await it.end()


async def test_after_a_reboot_a_recorded_pid_is_somebody_elses(place: Place) -> None:
    folder = place.work_dir / "launcher"
    folder.mkdir()
    with program_of("sleep", "60") as stranger:
        (folder / "journal").write_text(
            '{"is": "boot", "boot": "another"}\n{"is": "intent", "id": "old"}\n'
            + json.dumps(record_of("old", stranger, start_of(stranger)))
        )
        it = await opened(place)
        assert it.last["old"]["lost"]
        assert stranger.poll() is None
        stranger.kill()
    await it.end()


async def test_a_pid_that_was_given_to_somebody_else_is_left_alone(place: Place) -> None:
    it = await opened(place)
    await it.start("gone", "sleep", "300")
    await until(lambda: "gone" in it.last)
    pid = it.last["gone"]["pid"]
    os.kill(it.pid(), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    with program_of("sleep", "60") as stranger:
        # One clock tick earlier: two processes made in the same 10 ms never share a pid.
        record = {
            "is": "record",
            "id": "gone",
            "pid": stranger.pid,
            "start": start_of(stranger) - 1,
        }
        with (it.folder / "journal").open("a") as journal:
            journal.write(json.dumps(record) + "\n")
        await until(lambda: it.last["gone"].get("lost"))
        assert stranger.poll() is None
        stranger.kill()
    await it.end()


async def test_a_newer_agent_speaks_as_the_older_launcher_does(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade of the agent must not cost what runs."""
    older = await opened(place)
    await older.start("runs", "sleep", "300")
    await until(lambda: "runs" in older.last)
    pid = older.last["runs"]["pid"]
    await older.client.close()
    monkeypatch.setattr(launcher_client, "VERSION", launcher.VERSION + 2)
    newer = await opened(place)
    assert newer.client.version == launcher.VERSION
    assert newer.last["runs"]["pid"] == pid
    await newer.client.request("signal", id="runs", signal=signal.SIGTERM)
    assert (await newer.over("runs"))["signal"] == signal.SIGTERM
    await newer.end()


async def test_an_agent_that_does_not_speak_as_its_launcher_says_what_to_do(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = await opened(place)
    for name in ("VERSION", "VERSION_OLDEST"):
        monkeypatch.setattr(launcher_client, name, launcher.VERSION + 1)
    other = LauncherClient(older.folder, lambda _: None, lambda _: None)
    with pytest.raises(LauncherBroken, match=r"another version .* until its tasks end"):
        await other.open(patience_s=1.0)
    assert older.client.problem is None, "who speaks with it goes on"
    await older.end()


async def test_one_launcher_serves_a_directory(place: Place) -> None:
    it = await opened(place)
    await asyncio.to_thread(launch, it.folder)
    await asyncio.to_thread(launch, it.folder)
    argv = " ".join(command(it.folder))
    assert list(place.processes().values()).count(argv + " ") == 1
    await it.end()


async def test_signals_that_end_others_do_not_end_it(place: Place) -> None:
    it = await opened(place)
    await it.start("stays", "sh", "-c", "trap 'exit 6' TERM; echo up; while :; do sleep 0.01; done")
    await it.says("stays", "up")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(it.pid(), number)
    await it.client.request("list")
    assert lives(it.last["stays"]["pid"])
    # And what it ignores is not ignored by its children.
    await it.client.request("signal", id="stays", signal=signal.SIGTERM)
    assert (await it.over("stays"))["exit_code"] == 6
    await it.end()


async def test_it_drains_when_nothing_runs_any_more(place: Place) -> None:
    it = await opened(place)
    os.mkfifo(it.sandbox / "go")
    await it.start("really", "sh", "-c", "echo up; read x < go; exit 2")
    pid = it.pid()
    await it.client.shut_down(kill=False, patience_s=1)
    assert lives(pid)
    await asyncio.to_thread((it.sandbox / "go").write_text, "go\n")
    await until(lambda: not lives(pid))
    assert (await it.over("really"))["exit_code"] == 2
    await it.client.close()


async def test_long_work_directories_are_no_obstacle(place: Place) -> None:
    name = "/".join(["x" * 60] * 4)
    it = Listener(place, name)
    await it.client.open()
    await it.start("far", "true")
    assert (await it.over("far"))["exit_code"] == 0
    await it.end()


async def test_a_directory_that_is_gone_ends_the_launcher(place: Place) -> None:
    it = await opened(place)
    await it.start("orphan", "sleep", "300")
    await until(lambda: "orphan" in it.last)
    await it.client.close()
    for file in it.folder.iterdir():
        file.unlink()
    it.folder.rmdir()
    await until(lambda: not place.processes(), deadline_s=3 * launcher.LOOK_AROUND_S)


async def test_what_it_says_of_a_start_time_is_what_the_kernel_says(place: Place) -> None:
    """It says so without asking, most of the time."""
    it = await opened(place)
    ids = [f"c{number}" for number in range(20)]
    for container_id in ids:
        await it.start(container_id, "sleep", "300")
    await until(lambda: len(it.last) == len(ids))
    lines = (it.folder / "journal").read_bytes().splitlines()
    entries = [entry for line in lines if (entry := unsealed(line))]
    assert len(entries) == len(lines)
    records = [entry for entry in entries if entry["is"] == "record"]
    assert [entry["id"] for entry in records] == ids
    for entry in records:
        process = read_process(entry["pid"])
        assert process is not None
        assert entry["start"] == process.start
    await it.end()


async def test_alone_and_with_nothing_to_do_it_ends_and_the_next_one_knows_the_ends(
    place: Place,
) -> None:
    group, busy = place.work_dir / "cgroup" / "mine", place.work_dir / "cgroup" / "busy"
    group.mkdir(parents=True)
    (busy / "container").mkdir(parents=True)
    it = await opened(place, groups=[str(group), str(busy)])
    first = it.pid()
    os.mkfifo(it.sandbox / "go")
    await it.start("last", "sh", "-c", "echo up; read x < go; exit 2")
    await it.says("last", "up")
    await it.client.close()
    await asyncio.to_thread((it.sandbox / "go").write_text, "go\n")
    await until(lambda: not lives(first), 3 * (launcher.IDLE_S + launcher.LOOK_AROUND_S))
    assert not group.exists()
    assert (busy / "container").exists()
    again = await opened(place)
    assert again.pid() != first
    assert again.last["last"]["exit_code"] == 2
    await again.end()


async def test_left_alone_for_too_long_it_kills_what_runs_if_that_was_its_clients_wish(
    place: Place,
) -> None:
    group = place.work_dir / "cgroup" / "mine"
    (group / "container").mkdir(parents=True)
    it = await opened(place, unattended_s=0.1, groups=[str(group)])
    first = it.pid()
    await it.start("orphan", "sh", "-c", "setsid sleep 300 & echo up; sleep 300")
    await it.says("orphan", "up")
    await it.client.close()
    await until(lambda: not place.processes(), 3 * (launcher.IDLE_S + launcher.LOOK_AROUND_S))
    assert not group.parent.exists()
    again = await opened(place)
    assert again.pid() != first
    assert (again.last["orphan"]["signal"], again.last["orphan"]["lost"]) == (signal.SIGKILL, False)
    await again.end()


async def test_garbage_on_the_socket_is_refused_and_harms_nobody(place: Place) -> None:
    it = await opened(place)
    folder = os.open(it.folder, os.O_PATH)
    path = f"/proc/self/fd/{folder}/launcher.sock"
    for garbage, answered in (
        (b"\x00\xff garbage\n", True),
        (b"[]\n", True),
        (b'{"seq": 1, "op": "hello", "version": 999}\n', True),
        (b'{"seq": 1, "op": "list"}\n', True),
        (b"x" * (lines.LINE_BYTES_MAX + 100_000), False),
    ):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(garbage)
        if answered:
            assert b'"ok": false' in await reader.readline()
        else:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
    os.close(folder)
    for bad in ({"id": "x"}, {"id": "x", "argv": 5}, {"id": "x", "argv": ["true"], "env": []}):
        with pytest.raises(LauncherRefused):
            await it.client.request("start", **bad)
    with pytest.raises(LauncherRefused):
        await it.client.request("signal", id="x", signal=9)
    await it.start("fine", "true")
    assert (await it.over("fine"))["exit_code"] == 0
    await it.end()


async def test_five_hundred_starts_leak_neither_descriptors_nor_memory(place: Place) -> None:
    it = await opened(place)

    async def burst(name: str) -> None:
        ids = [f"{name}-{i}" for i in range(500)]
        await asyncio.gather(*(it.start(container_id, "/bin/true") for container_id in ids))
        for container_id in ids:
            assert (await it.over(container_id))["exit_code"] == 0
        await asyncio.gather(*(it.client.request("forget", id=x) for x in ids))

    await burst("warm")
    open_before, process = descriptors(it.pid()), read_process(it.pid())
    await burst("more")
    after = read_process(it.pid())
    assert process is not None
    assert after is not None
    assert descriptors(it.pid()) == open_before
    assert after.rss_bytes < process.rss_bytes + (4 << 20)
    assert after.rss_bytes < 32 << 20
    await it.end()


def test_it_loads_nothing_but_the_standard_library_and_its_neighbours(place: Place) -> None:
    argv = command(place.work_dir / "launcher")
    code = argv[argv.index("-c") + 1].replace("sys.exit(main())", "print(*sys.modules)")
    argv[argv.index("-c") + 1] = code
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    foreign = {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names}
    assert foreign - {"__main__"} == {
        "mesoslite_agent",
        "mesoslite_agent.fencing",
        "mesoslite_agent.journal",
        "mesoslite_agent.launcher",
        "mesoslite_agent.lines",
        "mesoslite_agent.offspring",
        "mesoslite_agent.processes",
        "mesoslite_agent.spawning",
        "mesoslite_agent.watching",
    }
    assert Path(launcher.__file__).name == "launcher.py"
