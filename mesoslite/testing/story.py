"""What happened in a simulation, in order: kept as it is, put into words only when it is read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from mesoslite.master import protocol as master
from mesoslite.messages import Heartbeat
from mesoslite.scheduler import protocol as session
from mesoslite.testing.agenda import BEGIN_MS, Agenda
from mesoslite.testing.telling import tell, tell_status
from mesoslite_agent import container
from mesoslite_agent import protocol as agent

LINES_MAX = 2_000  # of a story's tail; ~200 B each


class Story:
    """The newest lines of what happened; all of them with `lines_max` None."""

    def __init__(self, agenda: Agenda, lines_max: int | None = LINES_MAX) -> None:
        self._agenda = agenda
        self._lines: deque[tuple[int, str, str, Any]] = deque(maxlen=lines_max)

    def note(self, who: str, text: str) -> None:
        """Something happened to somebody."""
        self._lines.append((self._agenda.now_ms, who, "*", text))

    def event(self, who: str, event: object) -> None:
        """A machine took this."""
        self._lines.append((self._agenda.now_ms, who, "<", event))

    def effect(self, who: str, effect: object) -> None:
        """A machine asks for this, and it is committed."""
        self._lines.append((self._agenda.now_ms, who, ">", effect))

    def callback(self, who: str, callback: object) -> None:
        """A scheduler's code is called."""
        self._lines.append((self._agenda.now_ms, who, "!", callback))

    def lines(self) -> Iterator[str]:
        """Each line in words; heartbeats are left out."""
        for at_ms, who, sign, what in self._lines:
            text = what if isinstance(what, str) else _in_words(what)
            if text:
                yield f"{(at_ms - BEGIN_MS) / 1000:10.3f} {who:>10} {sign} {text}"


def _in_words(what: object) -> str:
    match what:
        case master.SchedulerCalled(stream, _, said) | master.AgentCalled(stream, said):
            return "" if isinstance(said, Heartbeat) else f"{stream}: {tell(said)}"
        case master.ToScheduler(stream, said) | master.ToAgent(stream, said):
            return "" if isinstance(said, Heartbeat) else f"{stream}: {tell(said)}"
        case agent.MasterSpoke(epoch, said) | session.MasterSpoke(epoch, said):
            return "" if isinstance(said, Heartbeat) else f"({epoch}) {tell(said)}"
        case agent.ToMaster(said) | session.ToMaster(said):
            return "" if isinstance(said, Heartbeat) else tell(said)
        case session.RunCallback() | session.StatusesTold() | session.CallbackReturned():
            return ""
        case session.OnStatus(status) | agent.SaveUpdate(_, status):
            return f"{type(what).__name__} {tell_status(status)}"
        case session.OnOffers(offers):
            return f"OnOffers {', '.join(f'{o.offer_id}@{o.agent_id}' for o in offers)}"
        case agent.StartContainer(spec):
            return f"StartContainer {spec.container_id} of {spec.framework_id}/{spec.task_id}"
        case agent.SaveTask(record):
            return f"SaveTask {record.framework_id}/{record.task.task_id} {record.container_id}"
        case master.SaveAgent(record):
            gone = record.unreachable_since_ms
            return f"SaveAgent {record.info.agent_id}{'' if gone is None else ' unreachable'}"
        case master.SaveFramework(framework):
            return f"SaveFramework {framework.framework_id} until {framework.deadline_ms}"
        case master.SaveEntry(entry):
            return f"SaveEntry {entry.framework_id} {entry.key} version {entry.entry.version}"
        case session.StoreAnswered(answer):
            return f"StoreAnswered {tell(answer)}"
        case session.Decided(decision):
            return f"Decided {type(decision).__name__}"
        case container.ContainerPhase():
            return f"{what.container_id} {what.phase.name}"
        case _:
            return str(what)
