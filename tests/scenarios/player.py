"""Plays a scenario: one text file that tells a story to a master and shows all that it says.

A file is a row of blocks, each ended by an empty line: command lines, a line `----`, and the
effects. The commands of a block reach the master as ONE batch. Lines that begin with `#` are for
the reader. Heartbeats are left out; peers say theirs unless they are `silent`. A framework is shown
by its name. The commands are in `commands.py`; these are blocks of their own:

    wait SECONDS           time passes, with a Tick at each of the master's deadlines
    restart [WEIGHTS]      the master dies; the next one starts from the registry, a new epoch
    show                   agents, frameworks, tasks and offers, as the master has them
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from mesoslite.master import protocol as p
from mesoslite.master.state import Master, MasterConfig
from mesoslite.messages import Heartbeat, Subscribed
from mesoslite.testing.agenda import BEGIN_MS
from mesoslite.testing.storage import Disk, Registry
from mesoslite.testing.telling import tell
from tests.scenarios.commands import Cast, ScenarioError

RULE = "----"
WAIT_STEPS_MAX = 10_000  # ticks of one `wait`: a master that wants more of them spins


@dataclass(frozen=True, slots=True)
class Block:
    """Some commands, and what they are expected to make the master say."""

    heading: tuple[str, ...]
    """The lines above the rule as they are, comments and all."""
    expected: tuple[str, ...]

    @property
    def commands(self) -> list[str]:
        """The lines that are not comments."""
        return [line for line in self.heading if not line.startswith("#")]


def parse(text: str) -> list[Block]:
    """The blocks of a scenario file."""
    blocks: list[Block] = []
    for paragraph in text.split("\n\n"):
        lines = [line.rstrip() for line in paragraph.splitlines() if line.strip()]
        if lines:
            cut = lines.index(RULE) if RULE in lines else len(lines)
            blocks.append(Block(tuple(lines[:cut]), tuple(lines[cut + 1 :])))
    return blocks


def play(text: str) -> str:
    """The same file, with what the master says now below each block of commands."""
    player = Player()
    parts: list[str] = []
    for block in parse(text):
        lines = list(block.heading)
        if block.commands:
            lines += [RULE, *player.play(block.commands)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


class Player:
    """One master in virtual time, and the peers that a scenario speaks for."""

    def __init__(self) -> None:
        self.now_ms = BEGIN_MS
        self.cast = Cast()
        self.registry = Registry(Disk())
        self.master = Master(self.registry.recover())

    def play(self, commands: list[str]) -> list[str]:
        """One block; what it makes the master say, line by line."""
        words = [shlex.split(command, comments=True) for command in commands]
        alone = {"wait": self._wait, "restart": self._restart, "show": self._show}
        for verb, *rest in words:
            if verb in alone:
                if len(words) > 1:
                    raise ScenarioError(f"{verb!r} is a block of its own: {commands}")
                return list(alone[verb](rest))
        self.cast.now_ms = self.now_ms
        return list(self._batch([self.cast.event(verb, rest) for verb, *rest in words]))

    def _batch(self, events: list[p.Event]) -> Iterator[str]:
        effects: list[p.Effect] = []
        for event in (p.Tick(self.now_ms), *events, p.Tick(self.now_ms)):
            effects += self.master.handle(event)
            self.master.check()
        assert self.registry.commit(effects)
        for effect in effects:
            if isinstance(effect, p.ToScheduler) and isinstance(effect.event, Subscribed):
                self.cast.subscribed(effect.stream, effect.event.framework_id)
        for effect in effects:
            spoken = effect.event if isinstance(effect, p.ToScheduler | p.ToAgent) else None
            if not isinstance(spoken, Heartbeat):
                yield self.cast.by_name(_line(effect))

    def _wait(self, words: list[str]) -> Iterator[str]:
        began_ms = self.now_ms
        until_ms = began_ms + round(float(words[0]) * 1000)
        for _ in range(WAIT_STEPS_MAX):
            due_ms = self.master.next_deadline_ms()
            if due_ms is None or due_ms > until_ms:
                self.now_ms = until_ms
                return
            self.now_ms = max(due_ms, self.now_ms)
            lines = list(self._batch(self.cast.heartbeats(self.master.tables.peers)))
            if lines:
                yield f"after {(self.now_ms - began_ms) / 1000:g} s"
                yield from (f"  {line}" for line in lines)
        raise ScenarioError(f"the master wanted {WAIT_STEPS_MAX} ticks in one wait")

    def _restart(self, words: list[str]) -> Iterator[str]:
        weights = {
            role: int(weight) * 1000 for role, _, weight in (w.partition("=") for w in words)
        }
        self.master = Master(self.registry.recover(), MasterConfig(weights=weights))
        yield f"epoch {self.registry.epoch}"
        yield from self._batch([])

    def _show(self, _: list[str]) -> Iterator[str]:
        t = self.master.tables
        for agent_id, agent in t.agents.items():
            free = t.allocator.free(agent_id) if agent.state.value in PRESENT else "unknown"
            yield f"agent {agent_id} {agent.state.name} free {free or 'nothing'}"
        for framework in t.frameworks.values():
            state = "subscribed" if framework.stream is not None else "away"
            yield f"framework {framework.info.name} {state}"
            for entry in framework.tasks.values():
                held = "" if entry.holds else ", holds nothing"
                yield f"  task {entry.task.task_id} {entry.state.name} on {entry.agent_id}{held}"
            for offer in framework.offers.values():
                yield f"  offer {offer.offer_id} of {offer.agent_id} ({offer.resources})"
            for request_id, wanted in framework.requests.items():
                yield f"  request {request_id} wants {wanted.units}"
        held_by_nobody = (
            self.cast.by_name(
                f"removed {entry.framework_id}: task {entry.task.task_id} "
                f"{entry.state.name} on {entry.agent_id}{'' if entry.holds else ', holds nothing'}"
            )
            for agent in t.agents.values()
            for entry in agent.tasks.values()
            if entry.framework_id not in t.frameworks
        )
        yield from held_by_nobody


PRESENT = ("active", "disconnected")


def _line(effect: p.Effect) -> str:
    match effect:
        case p.ToScheduler(stream, event):
            return f"-> {stream}: {tell(event)}"
        case p.ToAgent(stream, message):
            return f"-> {stream}: {tell(message)}"
        case p.CloseStream(stream):
            return f"close {stream}"
        case p.SaveAgent(record):
            gone = " unreachable" if record.unreachable_since_ms is not None else ""
            return f"save agent {record.info.agent_id}{gone}"
        case p.ForgetAgent(agent_id):
            return f"forget agent {agent_id}"
        case p.SaveFramework(framework):
            deadline_ms = framework.deadline_ms
            away = (
                "" if deadline_ms is None else f" away until {(deadline_ms - BEGIN_MS) / 1000:g} s"
            )
            return f"save framework {framework.framework_id}{away}"
        case p.CompleteFramework(completed):
            return f"complete framework {completed.framework_id}"
        case p.SaveFence(fence):
            return f"save fence {fence.framework_id} {fence.key} of {fence.task_id}"
        case p.ForgetFence(framework_id, key):
            return f"forget fence {framework_id} {key}"
        case p.SaveRelease(release):
            return f"save release of {release.name} up to {release.framework_id}"
        case p.ForgetRelease(principal, name):
            return f"forget release of {principal}'s {name}"
        case p.SaveStore(store):
            return f"save store {store.framework_id} revision {store.revision}"
        case p.ForgetStore(framework_id):
            return f"forget store {framework_id}"
        case p.SaveEntry(saved):
            return f"save entry {saved.framework_id} {saved.key} version {saved.entry.version}"
        case p.ForgetEntry(framework_id, key):
            return f"forget entry {framework_id} {key}"
        case p.ForgetCompleted(framework_id):
            return f"forget completed framework {framework_id}"
        case p.Warn(framework_id, _, what, numbers):
            counts = ", ".join(f"{name} {value}" for name, value in numbers)
            return f"warn of {framework_id}: {what.name} ({counts})"
        case p.PeerSilent(agent_id, framework_id, _, silent_ms):
            return f"tell that {agent_id or framework_id} was silent for {silent_ms} ms"
        case p.Answer():
            if effect.refusal is not None:
                return f"answer #{effect.request}: {effect.refusal.name} ({effect.message})"
            return f"answer #{effect.request}: done, {effect.tasks} tasks of {effect.framework_id}"
