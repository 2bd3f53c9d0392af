"""What tasks themselves write of their lives, and what their framework was told: do they agree?"""

from __future__ import annotations

import json
import random
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from math import inf
from pathlib import Path

#: Ends that nobody can know more of: the launcher, or the host, died with the task.
UNKNOWN_ENDS = frozenset({"LAUNCHER_TERMINATED", "HOST_REBOOTED"})
#: Its agent died before it had passed the command on to the launcher.
NOT_STARTED = "SPAWN_FAILED"
FENCE_LEASE_OVER = "FENCE_LEASE_OVER"
#: How ends are told of tasks whose command never started. GONE: the master that was to launch it
#: has died, its agent is there without it, and the session asked before its launch was answered.
NEVER_RAN = frozenset({"DROPPED", "ERROR", "GONE"})
STOPPED = 143  # by SIGTERM, as a shell says
BEAT_S = 0.3
SLACK_S = 5.0  # a task may have been launched before a death and started around it


def key_of(task_id: str) -> str:
    """The key of a fenced task's fence; empty: it has none."""
    last = task_id.rpartition(".")[2]
    return last if last.startswith("key") else ""


def script_of(
    folder: Path,
    task_id: str,
    rng: random.Random,
    life_s: tuple[float, float],
    *,
    fenced: bool = False,
) -> str:
    """A shell's script that lives for a while and writes how it began and ended.

    `TASK.start` has its pid, where it works and the time; it is written once, and whoever finds
    it there writes `TASK.again`. `TASK.end` has its exit code, or -9 just before it kills itself.
    With a fence, `TASK.token` has its token, and `TASK.beat` when it was last alive.
    """
    base = shlex.quote(str(folder / "evidence" / task_id))
    code = rng.choices([0, 7, -9], [7, 2, 1])[0]
    ending = f"echo {code} > {base}.end; " + ("kill -9 $$" if code < 0 else f"exit {code}")
    beats = (
        f"echo $MESOSLITE_FENCE_TOKEN > {base}.token; "
        f"( while :; do date +%s.%N >> {base}.beat; sleep {BEAT_S}; done ) & "
        if fenced
        else ""
    )
    return (
        f"set -C; {{ echo $$ $PWD $(date +%s.%N) > {base}.start; }} 2>/dev/null || "
        f"echo $$ >> {base}.again; set +C; "
        f"trap 'echo {STOPPED} > {base}.end; exit {STOPPED}' TERM; "
        f"{beats}sleep {rng.uniform(*life_s):.1f} & wait $!; trap '' TERM; {ending}"
    )


@dataclass(slots=True)
class Life:
    """What is known of one task, from both sides."""

    task_id: str
    run: str = ""
    launched: bool = False
    kill_asked: bool = False
    told: dict[tuple[str, str, int | None, int | None], int] = field(default_factory=dict)
    """(state, reason, exit code, signal) of each end that was told -> how often."""
    told_running: bool = False
    started_at: float | None = None
    place: str = ""
    end: int | None = None
    ended_at: float | None = None
    again: bool = False
    token: int | None = None
    """Of its fence, if it has one."""
    alive_at: float = 0.0
    """When one with a fence said for the last time that it was alive."""


@dataclass(frozen=True, slots=True)
class Death:
    """A launcher or host was killed: its tasks' ends are nobody's to know."""

    agent: str
    at: float


@dataclass(slots=True)
class Evidence:
    """All lives, and which scheduler process was the last of each framework."""

    lives: dict[str, Life] = field(default_factory=dict)
    last_runs: set[str] = field(default_factory=set)
    ends: Counter[str] = field(default_factory=Counter)
    """How often each kind of end was told."""

    def launches(self, since: float = 0.0, until: float = inf) -> int:
        """Tasks whose process really started, in this time."""
        begins = (life.started_at for life in self.lives.values())
        return sum(at is not None and since <= at <= until for at in begins)

    def completions(self, since: float = 0.0, until: float = inf) -> int:
        """Tasks that ended by themselves in this time, and said so."""
        ends = (life.ended_at for life in self.lives.values())
        return sum(at is not None and since <= at <= until for at in ends)


def read(folder: Path, frameworks: Iterable[str]) -> Evidence:
    """Everything that was written in a chaos's folder. O(lines)."""
    found = Evidence()
    lives: defaultdict[str, Life] = defaultdict(lambda: Life(""))
    for name in frameworks:
        run = ""
        for line in (folder / f"{name}.log").read_text().splitlines():
            said = json.loads(line)
            run = said["run"]
            if "task_id" in said:
                life = lives[said["task_id"]]
                life.task_id = said["task_id"]
                _take(life, said)
        found.last_runs.add(run)
    for path in (folder / "evidence").iterdir():
        task_id, _, kind = path.name.rpartition(".")
        life = lives[task_id]
        life.task_id = task_id
        text = path.read_text().split()
        if kind == "start" and len(text) == 3:
            life.place, life.started_at = text[1], float(text[2])
        elif kind == "end" and text:
            life.end, life.ended_at = int(text[0]), path.stat().st_mtime
        elif kind == "again":
            life.again = True
        elif kind == "token" and text:
            life.token = int(text[0])
        elif kind == "beat" and text:
            life.alive_at = float(text[-1])
    found.lives = dict(lives)
    for life in found.lives.values():
        for state, reason, _, _ in life.told:
            found.ends[f"{state} {reason}".strip()] += 1
    return found


def _take(life: Life, said: Mapping[str, object]) -> None:
    match said["is"]:
        case "launch":
            life.launched, life.run = True, str(said["run"])
        case "kill":
            life.kill_asked = True
        case "status" if said["terminal"]:
            end = (said["state"], said["reason"], said["exit_code"], said["signal"])
            life.told[end] = life.told.get(end, 0) + 1  # type: ignore[index,arg-type]
        case "status":
            life.told_running |= said["state"] == "RUNNING"


def wrong(found: Evidence, deaths: Iterable[Death]) -> list[str]:
    """Every task whose two stories do not agree, and how. Empty: all is well."""
    by_agent: defaultdict[str, list[float]] = defaultdict(list)
    for death in deaths:
        by_agent[death.agent].append(death.at)
    out = []
    for life in sorted(found.lives.values(), key=lambda life: life.task_id):
        why = _why_wrong(life, by_agent, found.last_runs)
        if why:
            out.append(f"{life.task_id}: {why} ({life})")
    return out


@dataclass(frozen=True, slots=True)
class Stopped:
    """A launcher was stopped with its agent: it could not end what had to end."""

    agent: str
    since: float
    until: float


def lived_together(found: Evidence, stops: Iterable[Stopped]) -> tuple[list[str], list[str]]:
    """(what must not be, what may be): tasks of one key that were alive at the same time.

    It may be while the launcher of the older one was stopped (D14), and then the older one has the
    smaller token, by which a store outside of the cluster would know it.
    """
    by_key: defaultdict[tuple[str, str], list[Life]] = defaultdict(list)
    for life in found.lives.values():
        if life.token is not None and life.started_at is not None:
            framework = life.task_id.partition(".")[0]
            by_key[framework, key_of(life.task_id)].append(life)
    bad: list[str] = []
    excused: list[str] = []
    for (framework, key), lives in sorted(by_key.items()):
        lives.sort(key=lambda life: life.started_at or 0.0)
        for older, newer in combinations(lives, 2):
            began = newer.started_at or 0.0
            if older.alive_at < began:
                continue
            what = f"{framework}/{key}: {older.task_id} until {older.alive_at - began:.1f} s after"
            what += f" {newer.task_id} began, tokens {older.token} and {newer.token}"
            stopped = any(
                f"/{stop.agent}/" in older.place and stop.since <= began <= stop.until + SLACK_S
                for stop in stops
            )
            ordered = (older.token or 0) < (newer.token or 0)
            (excused if stopped and ordered else bad).append(what)
    return bad, excused


def _why_wrong(life: Life, deaths: Mapping[str, list[float]], last_runs: set[str]) -> str | None:
    started = life.started_at
    if life.again:
        return "its command started twice"
    if not life.told:
        if started is not None:
            return "it ran, and its end was never told"
        if life.run in last_runs:
            return "its launch was never answered"
        return None  # its scheduler died before the launch was said
    if len(life.told) > 1:
        return "several ends were told"
    [(state, reason, exit_code, number)] = life.told
    if state in NEVER_RAN or reason == NOT_STARTED:
        return "it ran, and is said never to have" if started is not None else None
    unknowable = started is None or any(
        at >= started - SLACK_S
        for agent, times in deaths.items()
        if f"/{agent}/" in life.place
        for at in times
    )
    if reason in UNKNOWN_ENDS:
        return None if unknowable else "its end is told as unknowable, and nothing died"
    if reason == FENCE_LEASE_OVER:
        return None if key_of(life.task_id) else "it has no fence, and ended for its lease"
    if state == "KILLED":
        return None if life.kill_asked else "it was killed, and nobody asked for it"
    if life.end is None:
        return f"it is told as {state} {reason}, and it wrote nothing"
    expected = {0: ("FINISHED", 0, None), -9: ("FAILED", None, 9)}
    if (state, exit_code, number) != expected.get(life.end, ("FAILED", life.end, None)):
        return f"it is told as {state} {reason}, and it wrote {life.end}"
    return None
