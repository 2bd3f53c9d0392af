"""What changed since the agent's last run, and whether it may come back so (docs/semantics.md 3.6).

Frameworks placed their tasks by what the agent said of itself, and an agent that comes back keeps
its id. So what it adds is always welcome; what the operator takes away needs `--reconfigure`,
since a forgotten flag or a wrong file would do the same. What the host itself turns out to have is
not the operator's to confirm: a new kernel leaves a MiB less of memory, and the agent must start.
Never may it have less than what its running tasks hold, or than what is reserved on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mesoslite.attributes import Attribute
from mesoslite.model import AgentInfo
from mesoslite.resources import Resources


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that an agent says differently of itself."""

    what: str
    """`resources`, `attribute rack`, `region`: as its flag is called."""
    before: str
    now: str
    takes_away: bool
    stated: bool = True
    """An operator said it; else the host turned out to be so."""

    def __str__(self) -> str:
        return f"{self.what}: {self.before or 'none'} -> {self.now or 'none'}"


def changes(
    before: AgentInfo, now: AgentInfo, *, detected: frozenset[str] = frozenset()
) -> tuple[Change, ...]:
    """All that differs, its version aside. `detected` are names of fields that nobody stated."""
    found = [*_of_resources(before.resources, now.resources)]
    found += _of_attributes(before.attributes, now.attributes)
    for name in ("hostname", "region", "zone"):
        was, is_now = getattr(before, name), getattr(now, name)
        if was != is_now:
            found.append(Change(name, was, is_now, takes_away=bool(was)))
    if before.containerizers != now.containerizers:
        gone = set(before.containerizers) - set(now.containerizers)
        spelled = (",".join(before.containerizers), ",".join(now.containerizers))
        found.append(Change("containerizers", *spelled, takes_away=bool(gone)))
    return tuple(
        Change(c.what, c.before, c.now, c.takes_away, c.what not in detected) for c in found
    )


def why_not(
    found: Iterable[Change],
    now: AgentInfo,
    held: Resources,
    *,
    reconfigure: bool,
    has: Resources | None = None,
) -> str | None:
    """Why the agent must not come back so, in one line that says what to do; None: it may.

    `held` is what its running tasks hold; `has` what it would have with its reservations and
    volumes apart from the rest, when there are any.
    """
    if missing := (has or now.resources).missing(held):
        return (
            f"its running tasks hold {held}, and it would have {has or now.resources}: give it "
            f"{missing} more, or start it as it was until they have ended"
        )
    refused = [change for change in found if change.takes_away and change.stated]
    if refused and not reconfigure:
        what = "; ".join(map(str, refused))
        return (
            f"its settings take away what it had ({what}): put them back, say --reconfigure "
            "if that is meant, or give it a new --work-dir to be another agent"
        )
    return None


def why_not_reserved(what: str, now: AgentInfo) -> str:
    """Why it must not come back with less than what is reserved on it: `what` names that."""
    return (
        f"it would have {now.resources}, and that is less than what is reserved on it: {what}; "
        "give it as much as it had, and let the reservation be given up first "
        "(`mesoslite reservation rm`)"
    )


def _of_resources(before: Resources, now: Resources) -> Iterator[Change]:
    if before != now:
        takes_away = not now.covers(before)
        yield Change("resources", str(before), str(now), takes_away)


def _of_attributes(before: Iterable[Attribute], now: Iterable[Attribute]) -> Iterator[Change]:
    was, is_now = _by_name(before), _by_name(now)
    for name in sorted(was.keys() | is_now.keys()):
        old, new = was.get(name, frozenset()), is_now.get(name, frozenset())
        if old != new:
            spelled = (",".join(sorted(old)), ",".join(sorted(new)))
            # A key may repeat: one more value beside the others takes nothing away.
            yield Change(f"attribute {name}", *spelled, takes_away=not old <= new)


def _by_name(attributes: Iterable[Attribute]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for one in attributes:
        found[one.name] = found.get(one.name, frozenset()) | {one.value_text()}
    return found
