"""The stream to the master: opened, the framework's, lost, or refused for good."""

from __future__ import annotations

from mesoslite.messages import ConfirmResults, Subscribe, Teardown
from mesoslite.model import Refusal
from mesoslite.scheduler.protocol import (
    DropStream,
    OnDisconnected,
    OnError,
    OnRescinded,
    OnSubscribed,
    StoreAnswered,
)
from mesoslite.scheduler.tables import Stream, Tables

TEARDOWN_WAIT_MS = 10_000  # for the master's word that the framework is removed

#: Refusals that pass: the stream is opened again after a backoff. All others end the session.
PASSING_REFUSALS = frozenset(
    {Refusal.TOO_MANY_FRAMEWORKS, Refusal.OUTBOX_FULL, Refusal.STALE_EPOCH}
)


def open_stream(t: Tables) -> None:
    """Subscribe on the new stream."""
    if t.fatal is not None:
        return
    close(t)
    t.stream = Stream.OPEN
    t.heard_ms = t.beat_ms = t.now_ms
    t.say(
        Subscribe(
            t.config.framework,
            t.config.session_id,
            t.framework_id,
            resuming=bool(t.framework_id),
            suppressed_roles=tuple(t.suppressed),
            demand_roles=t.requests.subscribing(),
        )
    )


def lose(t: Tables, why: str) -> None:
    """There is no stream any more."""
    was_subscribed = t.subscribed
    close(t)
    if was_subscribed and t.fatal is None:
        t.queue.append(OnDisconnected(why))
    give_up_store_calls(t)


def drop(t: Tables, why: str) -> None:
    """Give the stream up."""
    t.out.append(DropStream(why))
    lose(t, why)


def close(t: Tables) -> None:
    """What only an open stream is good for waits until there is one again."""
    t.stream = Stream.CLOSED
    t.reconciliation.pause()
    t.operations.pause()
    t.teardown_ends_ms = None


def subscribed(t: Tables, framework_id: str) -> None:
    """The stream is the framework's: say all that an earlier one may have lost.

    Accepts come before requests, which count what is wanted after them (D12).
    """
    if t.subscribed:
        return
    t.stream = Stream.SUBSCRIBED
    t.framework_id = framework_id
    t.queue.extend(map(OnRescinded, t.offers.void()))
    t.queue.append(OnSubscribed(framework_id))
    if t.tearing_down:
        t.kept.clear()  # all of its tasks end: nothing else is to be said
        t.kills.clear()
        tear_down(t)
        return
    t.launches.confirm_again()
    confirm(t)
    for accept in t.launches.unanswered():
        t.say(accept)
    for call in t.requests.begin():
        t.say(call)
    kept, t.kept = t.kept, {}
    for call in kept.values():
        t.say(call)
    for kill in t.kills.all(t.reconciliation.agent_of):
        t.say(kill)
    for store_call in t.store_calls.said():
        t.say(store_call)
    for question in t.reconciliation.begin(t.now_ms):
        t.say(question)
    for asked in t.operations.begin(t.now_ms):
        t.say(asked)


def refused(t: Tables, refusal: Refusal, message: str) -> None:
    """The master does not serve the framework: for now, or never."""
    if t.fatal is not None:
        return
    if refusal is Refusal.FRAMEWORK_REMOVED and t.tearing_down:
        t.stopping = True
        give_up_store_calls(t)
    elif refusal in PASSING_REFUSALS:
        drop(t, f"refused: {message or refusal.value}")
    else:
        close(t)
        t.queue.clear()
        t.fatal = OnError(refusal, message or refusal.value)
        t.queue.append(t.fatal)
        give_up_store_calls(t)


def give_up_store_calls(t: Tables) -> None:
    """The session ends, so a callback must not wait for an answer that no master gives."""
    if t.fatal is not None:
        refusal, message = t.fatal.refusal, t.fatal.message
    elif t.tearing_down and (t.stopping or not t.subscribed):
        refusal, message = Refusal.FRAMEWORK_REMOVED, "the framework is torn down with its store"
    elif t.stopping and not t.subscribed:
        refusal, message = Refusal.NOT_SUBSCRIBED, "the scheduler stops, and no master is heard"
    else:
        return
    t.out += map(StoreAnswered, t.store_calls.give_up(refusal, message))


def confirm(t: Tables) -> None:
    """Tell which results have arrived, so that the master may forget them."""
    through = t.launches.to_confirm()
    if through is not None:
        t.say(ConfirmResults(through))


def tear_down(t: Tables) -> None:
    """Ask for the framework's end."""
    t.reconciliation.pause()
    t.operations.pause()
    t.say(Teardown(t.releasing))
    t.teardown_ends_ms = t.now_ms + TEARDOWN_WAIT_MS
