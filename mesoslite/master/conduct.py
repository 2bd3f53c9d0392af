"""Conduct: nobody hoards, and nobody keeps the others waiting by being fast.

A framework that behaves never meets any of this; accepts that launch something are never slowed.

- An offer whose lease runs out is held against its framework: that agent is refused for it, 5 s at
  first and twice as long each time up to 60 s, and it may have half as many offers at a time as it
  had, down to one. Each offer that it answers doubles that again, until it is as good as any.
  While it may have fewer than any, what it is offered stands for a third of the time.
- An offer that comes back unused with hardly any refuse time goes out again at once. A framework
  may do that once for each agent and SHORT_DECLINES_MAX times more, which is filled up again
  within 10 s; beyond it every refusal of its holds for a second at least.
- A revive with something to forget makes the allocator look at all idle agents, and so does a
  request for more of who has declined what it requested. Ten of them take effect at once and five
  a second after that; those in between are put together into one at the next such time, so none
  is lost.
- A request with a `where` that is new makes the allocator ask all agents about it, and counts as
  a revive does; of those put off one expression takes its turn at each such time. One that
  requires something which few agents are (`hostname == h7`) asks only these, and is free: a
  framework that pins a hundred tasks to as many machines starts at once.

None of this is forgotten when the scheduler subscribes again, or another process in its place: who
behaves is as free as any after a few answers.

Each is named in one warning when it begins, and shown for as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Iterable

from mesoslite.master.protocol import Misconduct, Warn
from mesoslite.master.records import Episode, FrameworkEntry, OutstandingOffer, Tables, Timer
from mesoslite.model import Request

SHORT_LEASE_PART = 3  # 10 s: who answers within that is free again, and a silent one holds less
WARN_AGAIN_MS = 60_000  # two warnings about the same of the same framework are so far apart
WHERES_MAX = 100  # expressions that a framework has paid for and may use again: up to 1 kB each
NARROW = 256  # agents that may be asked about a `where` for nothing: at most ~0.3 ms
LAPSES_MAX = 1_000  # of a framework, to be shown: ~200 B each

# --- holding --------------------------------------------------------------------------------------


def answered(t: Tables, framework: FrameworkEntry, offer: OutstandingOffer) -> None:
    """The framework answered an offer in time, whatever it answered."""
    framework.offers_answered += 1
    _held(t, framework, offer)
    conduct = framework.conduct
    if conduct.offers_max is not None:
        doubled = 2 * conduct.offers_max
        conduct.offers_max = doubled if doubled < t.config.offers_outstanding_max else None
        t.allocator.set_outstanding_max(framework.framework_id, conduct.offers_max)
        if conduct.offers_max is None:
            conduct.episodes.pop(Misconduct.SILENT, None)


def short_lease_ms(t: Tables) -> int:
    """How long an offer stands of a framework that may have fewer than any."""
    return max(1, t.config.offer_lease_ms // SHORT_LEASE_PART)


def leases_ran_out(t: Tables, offers: Iterable[OutstandingOffer]) -> None:
    """These offers, which still stand, were left unanswered. The caller takes them back."""
    of_framework: dict[str, list[OutstandingOffer]] = {}
    for offer in offers:
        of_framework.setdefault(offer.framework_id, []).append(offer)
    for framework_id, left in of_framework.items():
        _was_silent(t, t.frameworks[framework_id], left)


def _was_silent(t: Tables, framework: FrameworkEntry, left: list[OutstandingOffer]) -> None:
    conduct, standing = framework.conduct, len(framework.offers)
    if conduct.offers_max is None:
        conduct.lapse_refuse_ms = t.config.lease_refuse_ms
        conduct.offers_max = standing
    else:
        doubled = 2 * conduct.lapse_refuse_ms
        conduct.lapse_refuse_ms = min(doubled, t.config.lease_refuse_max_ms)
    # Half for each: one of a hundred costs half of them, a hundred of a hundred all but one.
    conduct.offers_max = max(1, min(conduct.offers_max, standing) >> len(left))
    t.allocator.set_outstanding_max(framework.framework_id, conduct.offers_max)
    framework.offers_lapsed += len(left)
    for offer in left:
        _held(t, framework, offer)
        conduct.lapses.pop((offer.role, offer.agent_id), None)
        conduct.lapses[offer.role, offer.agent_id] = t.now_ms + conduct.lapse_refuse_ms
    while len(conduct.lapses) > LAPSES_MAX:
        del conduct.lapses[next(iter(conduct.lapses))]
    numbers = {"leases_run_out": len(left), "offers_max": conduct.offers_max}
    _hold_against(t, framework, Misconduct.SILENT, numbers, len(left))


def _held(t: Tables, framework: FrameworkEntry, offer: OutstandingOffer) -> None:
    held_ms = t.now_ms - offer.made_ms
    framework.held_ms += held_ms
    framework.held_longest_ms = max(framework.held_longest_ms, held_ms)


# --- declining ------------------------------------------------------------------------------------


def refuse_ms(t: Tables, framework: FrameworkEntry, asked_ms: int) -> int:
    """How long to refuse what came back unused, when the framework asked for `asked_ms`."""
    floor_ms = t.config.refuse_floor_ms
    if asked_ms >= floor_ms:
        return asked_ms
    conduct = framework.conduct
    at_once, per_s = _short_declines(t)
    if conduct.declines.full(t.now_ms, per_s=per_s):
        conduct.episodes.pop(Misconduct.DECLINES, None)
    if conduct.declines.take(t.now_ms, at_once=at_once, per_s=per_s):
        return asked_ms
    numbers = {"at_once": at_once, "per_s": per_s, "refuse_ms_min": floor_ms}
    _hold_against(t, framework, Misconduct.DECLINES, numbers)
    return floor_ms


def _short_declines(t: Tables) -> tuple[int, int]:
    """How many a framework may make at once, and how many a second after that.

    Whoever declines each agent once is in no loop, however many agents there are. It is filled up
    within 10 s: a loop at the floor, each agent once a second, finds it empty for good as soon as
    there are a dozen agents; with fewer of them it is no burden.
    """
    at_once = t.config.short_declines_max + len(t.agents)
    return at_once, max(1, at_once // 10)


# --- reviving -------------------------------------------------------------------------------------


def may_revive(t: Tables, framework: FrameworkEntry, roles: Iterable[str]) -> bool:
    """Whether a revive of these roles takes effect now; else it is put off until Timer.REVIVE."""
    conduct = framework.conduct
    if not any(role in conduct.refused_in or role in framework.suppressed for role in roles):
        return True  # there is nothing to forget
    if _may_now(t, framework):
        return True
    _put_off(t, framework)
    conduct.revive_later.update(roles)
    return False


def may_ask(t: Tables, framework: FrameworkEntry, request: Request) -> bool:
    """Whether a request for more takes effect now; else it is put off until Timer.REVIVE."""
    conduct = framework.conduct
    costs = request.role in conduct.declined_in or _asks_all(t, framework, request)
    if not costs and request.request_id not in conduct.ask_later:
        return True
    if not conduct.ask_later and _may_now(t, framework):
        conduct.declined_in.discard(request.role)
        _paid(framework, request)
        return True
    _put_off(t, framework)
    conduct.ask_later[request.request_id] = None
    return False


def _asks_all(t: Tables, framework: FrameworkEntry, request: Request) -> bool:
    """Whether it makes the allocator ask (nearly) all agents about an expression that is new."""
    where = request.where
    return (
        where != "" and where not in framework.conduct.wheres and t.allocator.to_ask(where) > NARROW
    )


def _paid(framework: FrameworkEntry, request: Request) -> None:
    """The framework may use the expression again, as long as it uses few others."""
    wheres = framework.conduct.wheres
    if request.where and request.where not in wheres:
        while len(wheres) >= WHERES_MAX:
            del wheres[next(iter(wheres))]
        wheres[request.where] = None


def _may_now(t: Tables, framework: FrameworkEntry) -> bool:
    """Take a token for something that makes the allocator look again. False: there is none."""
    conduct = framework.conduct
    at_once, per_s = t.config.revives_max, t.config.revives_per_s
    if conduct.revives.full(t.now_ms, per_s=per_s):
        conduct.episodes.pop(Misconduct.REVIVES, None)
    return conduct.revives.take(t.now_ms, at_once=at_once, per_s=per_s)


def _put_off(t: Tables, framework: FrameworkEntry) -> None:
    """Something is to be done at the time of the next token; the caller notes what."""
    conduct = framework.conduct
    if not conduct.revive_later and not conduct.ask_later:
        _set_timer(t, framework)
    numbers = {"at_once": t.config.revives_max, "per_s": t.config.revives_per_s}
    _hold_against(t, framework, Misconduct.REVIVES, numbers)


def _set_timer(t: Tables, framework: FrameworkEntry) -> None:
    at_once, per_s = t.config.revives_max, t.config.revives_per_s
    due_ms = framework.conduct.revives.next_ms(t.now_ms, at_once=at_once, per_s=per_s)
    t.timers.set((Timer.REVIVE, framework.framework_id), due_ms)


def due(t: Tables, framework: FrameworkEntry) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(roles, requests) whose revive, or effect, was put off until now; one token for them all.

    But of expressions that all agents are to be asked about one at a time.
    """
    conduct = framework.conduct
    conduct.revives.take(t.now_ms, at_once=t.config.revives_max, per_s=t.config.revives_per_s)
    now: list[str] = []
    paid = False
    for request_id in conduct.ask_later:
        request = framework.requests[request_id].request
        if _asks_all(t, framework, request):
            if paid:
                continue
            _paid(framework, request)
            paid = True
        now.append(request_id)
    for request_id in now:
        del conduct.ask_later[request_id]
    if conduct.ask_later:
        _set_timer(t, framework)
    conduct.declined_in.clear()
    return tuple(sorted(conduct.revive_later)), tuple(now)


def revived(t: Tables, framework: FrameworkEntry, roles: Iterable[str]) -> None:
    """Nothing is refused in these roles any more."""
    conduct = framework.conduct
    conduct.refused_in.difference_update(roles)
    conduct.declined_in.difference_update(roles)
    for key in [key for key in conduct.lapses if key[0] in roles]:
        del conduct.lapses[key]
    put_off_no_more(t, framework, roles)


def put_off_no_more(t: Tables, framework: FrameworkEntry, roles: Iterable[str]) -> None:
    """A revive of these roles that was put off is done, or not wanted any more."""
    framework.conduct.revive_later.difference_update(roles)
    _drop_timer(t, framework)


def ask_no_more(t: Tables, framework: FrameworkEntry, request_id: str) -> None:
    """A request is gone that may have been put off."""
    if framework.conduct.ask_later:
        framework.conduct.ask_later.pop(request_id, None)
        _drop_timer(t, framework)


def _drop_timer(t: Tables, framework: FrameworkEntry) -> None:
    if not framework.conduct.revive_later and not framework.conduct.ask_later:
        t.timers.drop((Timer.REVIVE, framework.framework_id))


# --- episodes -------------------------------------------------------------------------------------


def standing(t: Tables, framework: FrameworkEntry) -> dict[Misconduct, Episode]:
    """What is held against the framework now."""
    conduct = framework.conduct
    per_s = _short_declines(t)[1]
    calm = {
        Misconduct.SILENT: conduct.offers_max is None,
        Misconduct.DECLINES: conduct.declines.full(t.now_ms, per_s=per_s),
        Misconduct.REVIVES: conduct.revives.full(t.now_ms, per_s=t.config.revives_per_s),
    }
    return {what: episode for what, episode in conduct.episodes.items() if not calm[what]}


def _hold_against(
    t: Tables, framework: FrameworkEntry, what: Misconduct, numbers: dict[str, int], times: int = 1
) -> None:
    """Count it, and name the framework when this is the first time in an episode."""
    conduct = framework.conduct
    episode = conduct.episodes.get(what)
    if episode is not None:
        episode.times += times
        return
    conduct.episodes[what] = Episode(t.now_ms, times)
    warned_ms = conduct.warned_ms.get(what)
    if warned_ms is None or t.now_ms - warned_ms >= WARN_AGAIN_MS:
        conduct.warned_ms[what] = t.now_ms
        t.emit(Warn(framework.framework_id, framework.info.name, what, tuple(numbers.items())))
