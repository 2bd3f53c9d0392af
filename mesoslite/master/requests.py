"""Requests: what frameworks still want, passed on to the allocator, which finds it (D12)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mesoslite.allocator import Impossible
from mesoslite.master import conduct
from mesoslite.master.protocol import ToScheduler
from mesoslite.master.records import FrameworkEntry, Tables, Timer, Wanted
from mesoslite.messages import RequestResources, RequestUnsatisfiable, WithdrawRequests
from mesoslite.model import InvalidRequest, Refusal, Request
from mesoslite.resources import UNRESERVED, Resources

JUDGE_AFTER_MS = 5_000  # the agents of a cluster that starts are all there by then
JUDGE = (Timer.JUDGE, "")


def request(t: Tables, framework: FrameworkEntry, call: RequestResources) -> None:
    """Want this from now on, and say at once what can not be; each stands for itself."""
    for one in call.requests:
        refused = _why_not(t, framework, one)
        if refused is not None:
            drop(t, framework, [one.request_id])  # who asked for this does not want what was before
            told = one.request_id, t.no(refused[0]), refused[1], call.number
            _tell(t, framework, RequestUnsatisfiable(*told))
        elif isinstance(one, Request):
            _take(t, framework, one, call.number)


def _why_not(
    t: Tables, framework: FrameworkEntry, one: Request | InvalidRequest
) -> tuple[Refusal, str] | None:
    """The first reason why this can not be in force. Only reads."""
    if isinstance(one, InvalidRequest):
        return Refusal.INVALID_REQUEST, one.message
    if one.role not in framework.info.roles:
        return Refusal.UNKNOWN_ROLE, f"role {one.role!r}"
    new = one.count and one.request_id not in framework.requests
    if new and len(framework.requests) >= t.config.requests_max:
        return Refusal.TOO_MANY_REQUESTS, f"it has {len(framework.requests):,}"
    return None


def _take(t: Tables, framework: FrameworkEntry, one: Request, number: int) -> None:
    if not one.count:
        drop(t, framework, [one.request_id])
        set_demand(t, framework, one.role, on=True)
        return
    set_demand(t, framework, one.role, on=True)
    before = framework.requests.get(one.request_id)
    framework.requests[one.request_id] = Wanted(one, one.count, number)
    put_off = one.request_id in framework.conduct.ask_later
    if not (put_off or _wants_more(before, one)) or conduct.may_ask(t, framework, one):
        t.allocator.request(framework.framework_id, one)
    elif before is not None:  # and it is put off: until then nothing is offered by an old count
        t.allocator.withdraw(framework.framework_id, before.request.role, one.request_id)
    if not t.awaited:
        _judge(t, framework, framework.requests[one.request_id])


def _wants_more(before: Wanted | None, one: Request) -> bool:
    """Whether this forgets what was declined: it is new, or for more, or for something else."""
    if before is None or one.count > before.units:
        return True
    return replace(before.request, count=one.count) != one


def pass_on(t: Tables, framework: FrameworkEntry, request_ids: Iterable[str]) -> None:
    """Tell the allocator of requests that were put off, as they are now."""
    for request_id in request_ids:
        wanted = framework.requests[request_id]
        now = replace(wanted.request, count=wanted.units)
        t.allocator.request(framework.framework_id, now)
        if not t.awaited:
            _judge(t, framework, wanted)


def withdraw(t: Tables, framework: FrameworkEntry, call: WithdrawRequests) -> None:
    """Want nothing more under these ids; without ids, in these roles, which are then as of old."""
    if call.request_ids:
        drop(t, framework, call.request_ids)
        return
    roles = [role for role in framework.info.roles if role in call.roles or not call.roles]
    drop(t, framework, [i for i, w in framework.requests.items() if w.request.role in roles])
    for role in roles:
        set_demand(t, framework, role, on=False)


def drop(t: Tables, framework: FrameworkEntry, request_ids: Iterable[str]) -> None:
    """Forget these requests. Those that are not there are no matter: they were met meanwhile."""
    for request_id in request_ids:
        wanted = framework.requests.pop(request_id, None)
        if wanted is not None:
            conduct.ask_no_more(t, framework, request_id)
            t.allocator.withdraw(framework.framework_id, wanted.request.role, request_id)


def set_demand(t: Tables, framework: FrameworkEntry, role: str, *, on: bool) -> None:
    """Offer only what is requested in this role, or everything."""
    if on != (role in framework.demand_roles):
        (framework.demand_roles.add if on else framework.demand_roles.discard)(role)
        t.allocator.set_demand(framework.framework_id, role, on=on)


def launched(t: Tables, framework: FrameworkEntry, units: Mapping[str, int]) -> None:
    """So many units of each request have become tasks: they are not wanted any more."""
    for request_id, count in units.items():
        wanted = framework.requests.get(request_id)
        if wanted is None:
            continue
        wanted.units -= count
        role = wanted.request.role
        if wanted.units > 0:
            t.allocator.launched(framework.framework_id, role, request_id, count)
        else:
            drop(t, framework, [request_id])


# --- what can not be ------------------------------------------------------------------------------


def judge_soon(t: Tables) -> None:
    """An agent has come, or one is gone: what could be may not be now.

    Not at once: the first agent of a cluster that starts is seldom the largest.
    """
    if JUDGE not in t.timers:
        t.timers.set(JUDGE, t.now_ms + JUDGE_AFTER_MS)


def judge_now(t: Tables) -> None:
    """Every agent that an earlier master knew of is back or given up: judge at the next Tick."""
    t.timers.set(JUDGE, t.now_ms)


def judge_all(t: Tables) -> None:
    """Tell of every request whether it can not be, if that is news.

    While agents are awaited the one that is large enough may be among them.
    """
    if t.awaited:
        return
    for framework in t.frameworks.values():
        for wanted in framework.requests.values():
            _judge(t, framework, wanted)


def _judge(t: Tables, framework: FrameworkEntry, wanted: Wanted) -> None:
    one = wanted.request
    if one.request_id in framework.conduct.ask_later:
        return  # it is judged when it is passed on
    impossible = t.allocator.why_impossible(one.role, one)
    message = "" if impossible is None else _missing(t, impossible, one)
    if message and message != wanted.told:
        told = one.request_id, t.no(Refusal.NO_AGENT_FITS), message, wanted.number
        _tell(t, framework, RequestUnsatisfiable(*told))
    wanted.told = message


def fits_nowhere(t: Tables, role: str, unit: Resources) -> str | None:
    """What a task lacks on every agent, even an empty one; None: some agent could hold it.

    None too while agents are awaited, one of which may be large enough.
    """
    if t.awaited or unit.roles() - {UNRESERVED}:
        return None
    one = Request("task", role, unit, 1)
    impossible = t.allocator.why_impossible(role, one)
    return _missing(t, impossible, one) if impossible is not None else None


def _missing(t: Tables, impossible: Impossible, one: Request) -> str:
    """What is missing on the agent that comes nearest, in one line."""
    if impossible.missing is None:
        return f"no agent is where {one.where}"
    agent_id = impossible.agent_id
    nearest = f"{t.agents[agent_id].info.hostname} (agent {agent_id})"
    return f"the nearest, {nearest}, lacks {impossible.lacks}"


def _tell(t: Tables, framework: FrameworkEntry, told: RequestUnsatisfiable) -> None:
    if framework.stream is not None:
        t.emit(ToScheduler(framework.stream, told))
