"""Frameworks: they subscribe, fail over, go away, and are removed."""

from __future__ import annotations

from mesoslite.master import (
    conduct,
    fences,
    offers,
    operations,
    releases,
    requests,
    store,
    tasks,
)
from mesoslite.master.protocol import (
    CloseStream,
    CompletedRecord,
    CompleteFramework,
    ForgetCompleted,
    SaveFramework,
    ToAgent,
    ToScheduler,
)
from mesoslite.master.records import FrameworkEntry, Tables, Timer
from mesoslite.messages import (
    Refused,
    Revive,
    ShutdownFramework,
    Subscribe,
    Subscribed,
    Suppress,
    Update,
)
from mesoslite.model import Refusal

# --- subscribe ------------------------------------------------------------------------------------


def subscribe(t: Tables, stream: str, principal: str, call: Subscribe) -> None:
    """Give the framework of this identity to this stream, or refuse with the reason."""
    framework = _found(t, principal, call)
    refused = _why_not(t, stream, principal, call, framework)
    if refused is not None:
        refusal, message = refused
        t.no(refusal)
        t.emit(ToScheduler(stream, Refused(refusal, message)))
        t.emit(CloseStream(stream))
        return
    if framework is None:
        framework = _create(t, principal, call)
    else:
        _take_over(t, framework, call)
    framework.stream = stream
    framework.paused = framework.asks_for_all = False
    framework.deadline_ms = None
    framework.since_ms = t.now_ms
    t.timers.drop((Timer.FAILOVER, framework.framework_id))
    t.greet(stream, framework_id=framework.framework_id)
    t.emit(SaveFramework(framework.record()))
    t.emit(ToScheduler(stream, Subscribed(framework.framework_id)))
    for role in call.framework.roles:
        requests.set_demand(t, framework, role, on=role in call.demand_roles)
    t.allocator.activate_framework(framework.framework_id)
    if conduct.may_revive(t, framework, framework.info.roles):
        _revive(t, framework, framework.info.roles)
    if call.suppressed_roles:
        suppress(t, framework, Suppress(call.suppressed_roles))
    for entry in framework.tasks.values():
        if entry.pending is not None:
            entry.told = entry.pending.state
            t.emit(ToScheduler(stream, Update(entry.pending)))
    for stray in framework.strays.values():
        t.emit(ToScheduler(stream, Update(stray)))
    operations.subscribed(t, framework)


def _found(t: Tables, principal: str, call: Subscribe) -> FrameworkEntry | None:
    if call.framework_id:
        return t.frameworks.get(call.framework_id)
    return t.identities.get((principal, call.framework.name))


def _why_not(
    t: Tables, stream: str, principal: str, call: Subscribe, framework: FrameworkEntry | None
) -> tuple[Refusal, str] | None:
    """The first reason why this scheduler can not have its framework. Only reads."""
    if stream in t.peers:
        return Refusal.NOT_SUBSCRIBED, "this stream has subscribed before"
    if framework is None:
        if call.framework_id or call.resuming:
            return Refusal.FRAMEWORK_REMOVED, f"{call.framework.name} {call.framework_id}".strip()
        if len(t.frameworks) >= t.config.frameworks_max:
            return Refusal.TOO_MANY_FRAMEWORKS, f"it has {len(t.frameworks)}"
    elif (framework.principal, framework.info.name) != (principal, call.framework.name):
        return Refusal.INVALID_FRAMEWORK, f"{call.framework_id} is another's: its name is not yours"
    elif call.resuming and call.session_id != framework.session_id:
        return Refusal.FENCED, f"framework {framework.info.name!r} ({framework.framework_id})"
    unknown = {*call.suppressed_roles, *call.demand_roles} - set(call.framework.roles)
    if unknown:
        said = ", ".join(sorted(unknown))
        return Refusal.UNKNOWN_ROLE, f"suppressed or in demand, but not subscribed: {said}"
    return None


def _create(t: Tables, principal: str, call: Subscribe) -> FrameworkEntry:
    t.framework_count += 1
    framework = FrameworkEntry(
        framework_id=f"{t.epoch}-F{t.framework_count}",
        principal=principal,
        info=call.framework,
        session_id=call.session_id,
        since_ms=t.now_ms,
        deadline_ms=None,
    )
    t.frameworks[framework.framework_id] = framework
    t.identities[principal, call.framework.name] = framework
    t.allocator.add_framework(framework.framework_id, call.framework.roles)
    return framework


def _take_over(t: Tables, framework: FrameworkEntry, call: Subscribe) -> None:
    """A scheduler is back, or another one of the same identity comes instead of it."""
    old = framework.stream
    if old is not None:
        if call.session_id != framework.session_id:
            refused = Refused(t.no(Refusal.FENCED), f"framework {framework.info.name!r}")
            t.emit(ToScheduler(old, refused))
        t.emit(CloseStream(old))
        t.part(old)
        framework.stream = None
    for offer in list(framework.offers.values()):
        offers.give_back(t, offer)
    requests.drop(t, framework, list(framework.requests))  # its session says them again
    if call.session_id != framework.session_id:
        framework.session_id = call.session_id
        framework.results.clear()
        framework.waiting.clear()
        framework.confirmed = 0
    if set(call.framework.roles) != set(framework.info.roles):
        t.allocator.remove_framework(framework.framework_id)
        t.allocator.add_framework(framework.framework_id, call.framework.roles)
        t.allocator.set_outstanding_max(framework.framework_id, framework.conduct.offers_max)
        framework.demand_roles.clear()
        left = set(framework.info.roles) - set(call.framework.roles)
        conduct.put_off_no_more(t, framework, left)
    framework.info = call.framework
    framework.suppressed &= set(call.framework.roles)


# --- going away -----------------------------------------------------------------------------------


def disconnected(t: Tables, framework: FrameworkEntry) -> None:
    """Its stream has ended: its offers go back, its tasks run on, and its time to return starts."""
    if framework.stream is not None:
        t.part(framework.stream)
    framework.stream = None
    framework.since_ms = t.now_ms
    t.allocator.deactivate_framework(framework.framework_id)
    conduct.put_off_no_more(t, framework, framework.info.roles)
    for offer in list(framework.offers.values()):
        offers.give_back(t, offer)
    requests.drop(t, framework, list(framework.requests))  # its session says them again
    await_return(t, framework, t.now_ms + framework.info.failover_timeout_ms)
    t.emit(SaveFramework(framework.record()))


def await_return(t: Tables, framework: FrameworkEntry, deadline_ms: int) -> None:
    """Remove the framework at `deadline_ms` unless it subscribes again."""
    framework.deadline_ms = deadline_ms
    t.timers.set((Timer.FAILOVER, framework.framework_id), deadline_ms)


def remove(t: Tables, framework: FrameworkEntry, why: str, *, release: bool = False) -> None:
    """Take the framework out for good: its tasks are ended, its id is never given again.

    What it has reserved stays, or is given up (`release`) as soon as nothing uses it.

    What its tasks hold stays charged until their agents report the end of each, and no status
    is sent (docs/semantics.md 3.4).
    """
    if framework.stream is not None:
        t.emit(ToScheduler(framework.stream, Refused(Refusal.FRAMEWORK_REMOVED, why)))
        t.emit(CloseStream(framework.stream))
        t.part(framework.stream)
    for offer in list(framework.offers.values()):
        offers.give_back(t, offer)
    store.drop(t, framework)
    operations.removed(t, framework)
    if release:
        releases.ask(t, framework.principal, framework.info.name, framework.framework_id)
    fences.drop_framework(t, framework)
    del t.frameworks[framework.framework_id]
    del t.identities[framework.principal, framework.info.name]
    t.timers.drop((Timer.FAILOVER, framework.framework_id))
    t.timers.drop((Timer.REVIVE, framework.framework_id))
    t.allocator.remove_framework(framework.framework_id)
    for agent_id in dict.fromkeys(entry.agent_id for entry in framework.tasks.values()):
        agent = t.agents[agent_id]
        if agent.stream is not None:
            t.emit(ToAgent(agent.stream, ShutdownFramework(framework.framework_id)))
        del agent.unacknowledged[framework.framework_id]
    for entry in framework.tasks.values():
        if entry.state.terminal:
            tasks.forget(t, entry)
    record = CompletedRecord(framework.framework_id, framework.principal, framework.info, t.now_ms)
    t.completed.append(record)
    t.emit(CompleteFramework(record))
    bound_completed(t)


def bound_completed(t: Tables) -> None:
    """Forget the oldest completed frameworks beyond those that are kept to be shown."""
    while len(t.completed) > t.config.completed_frameworks_max:
        t.emit(ForgetCompleted(t.completed.popleft().framework_id))


# --- roles ----------------------------------------------------------------------------------------


def revive(t: Tables, framework: FrameworkEntry, call: Revive) -> None:
    """Forget refusals and suppression for these roles of the framework, or soon if it is hasty."""
    roles = _own_roles(t, framework, call.roles)
    if roles and conduct.may_revive(t, framework, roles):
        _revive(t, framework, roles)


def do_what_was_put_off(t: Tables, framework: FrameworkEntry) -> None:
    """Revive roles, and pass on requests, that were put off until now."""
    roles, request_ids = conduct.due(t, framework)
    if roles:
        _revive(t, framework, roles)
    requests.pass_on(t, framework, request_ids)


def _revive(t: Tables, framework: FrameworkEntry, roles: tuple[str, ...]) -> None:
    framework.suppressed.difference_update(roles)
    t.allocator.revive(framework.framework_id, roles)
    conduct.revived(t, framework, roles)


def suppress(t: Tables, framework: FrameworkEntry, call: Suppress) -> None:
    """No more offers for these roles; those already made stay."""
    if roles := _own_roles(t, framework, call.roles):
        framework.suppressed |= set(roles)
        conduct.put_off_no_more(t, framework, roles)
        t.allocator.suppress(framework.framework_id, roles)


def _own_roles(t: Tables, framework: FrameworkEntry, asked: tuple[str, ...]) -> tuple[str, ...]:
    own = framework.info.roles
    for role in asked:
        if role not in own:
            t.no(Refusal.UNKNOWN_ROLE)
    return tuple(role for role in asked if role in own) if asked else own
