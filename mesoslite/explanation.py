"""Why a framework is offered no more than it is, or what became of a task: the nouns of an answer.

`Blocked` and `Explained` are what the allocator knows; the master makes `Why` of each, with the
offers, times and names that it knows, and with what would help. Times are milliseconds since the
Unix epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesoslite.lifecycle import TaskState
from mesoslite.model import Reason, Refusal, Request, WhyNot
from mesoslite.resources import Resources


def lack_text(missing: Resources, ports: int = 0) -> str:
    """What is missing, for people: ``cpus:2;mem:512 and 3 ports``."""
    counted = "1 port" if ports == 1 else f"{ports:,} ports"
    return " and ".join([str(missing)] * bool(missing) + [counted] * bool(ports))


@dataclass(frozen=True, slots=True)
class Blocked:
    """One reason of the allocator's, and the agents it is true of."""

    reason: WhyNot
    agent_ids: tuple[str, ...] = ()
    """Each agent under one reason; empty: it is true of the framework, the role or the request."""
    ends_ms: tuple[int, ...] = ()
    """With REFUSED: when the last refusal of each of these agents ends."""
    nearest: str = ""
    """With DEMAND_TOO_LARGE, NO_AGENT_FITS and TOO_SMALL: the agent that lacks least."""
    missing: Resources | None = None
    """What that agent lacks."""
    missing_ports: int = 0
    """How many ports it lacks besides, whichever they are."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What keeps a framework from being offered more in one role, or for one request of it."""

    role: str
    request: Request | None = None
    """None: everything is wanted, or what is reserved for the role."""
    open: int = 0
    """Units of the request that are neither launched nor offered."""
    offers: int = 0
    """Unanswered offers, of the role or for the request."""
    blocked: tuple[Blocked, ...] = ()


@dataclass(frozen=True, slots=True)
class Why:
    """One reason in full."""

    reason: WhyNot
    message: str
    """For people: the reason with its numbers, in one line."""
    remedy: str
    """What would make it fit, in one line."""
    agents: int = 0
    """Of how many it is true; 0: of the framework, the role or the request as a whole."""
    agent_id: str = ""
    """One of them: the nearest, where something is missing."""
    framework_id: str = ""
    """Who has what is wanted."""
    offer_id: str = ""
    """In which offer; the oldest of several."""
    since_ms: int | None = None
    until_ms: int | None = None
    missing: Resources | None = None


@dataclass(frozen=True, slots=True)
class RoleExplanation:
    """A role, or a request in it: what is wanted, what is offered, and why it is no more."""

    role: str
    request: Request | None
    open: int
    offers: int
    verdict: str
    """The whole in one line."""
    whys: tuple[Why, ...]
    """What holds for all first, then by the number of agents, most first."""


@dataclass(frozen=True, slots=True)
class FrameworkExplanation:
    """Why a framework is offered no more than it is."""

    framework_id: str
    name: str
    verdict: str
    roles: tuple[RoleExplanation, ...]


@dataclass(frozen=True, slots=True)
class TaskExplanation:
    """What became of a task, and what it waits for."""

    task_id: str
    framework_id: str
    framework_name: str
    verdict: str
    remedy: str = ""
    """What would help; empty: nothing has to."""
    state: TaskState | None = None
    """None: its launch was refused."""
    reason: Reason | None = None
    refusal: Refusal | None = None
    agent_id: str = ""
    since_ms: int | None = None
    """Since when it is in this state, or when its launch was refused."""


Explanation = FrameworkExplanation | TaskExplanation
