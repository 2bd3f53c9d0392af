"""Schedulers of a simulated cluster: the author's class in the real session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

from mesoslite.lifecycle import TaskState
from mesoslite.master import protocol as master
from mesoslite.messages import Decline, SchedulerCall, SchedulerEvent
from mesoslite.model import Offer, Source, TaskStatus
from mesoslite.scheduler import protocol as session
from mesoslite.scheduler.calling import call, each, session_config
from mesoslite.scheduler.scheduler import Returned, Scheduler
from mesoslite.scheduler.session import Session
from mesoslite.scheduler.store import StoreCall
from mesoslite.testing.masters import Masters
from mesoslite.testing.nodes import STOPPED_LOOK_MS, Client
from mesoslite.testing.world import World

PRINCIPAL = "local"
BACKOFF_MAX_MS = 15_000
CALLBACK_MAX_MS = 5  # how long the author's code takes, at most
SCHEDULER_CALLS = frozenset(get_args(SchedulerCall))
SCHEDULER_EVENTS = frozenset(get_args(SchedulerEvent))


class SchedulerNode(Client[session.Event, session.Effect]):
    """A scheduler's process: the author's class, and the real session around it."""

    kind = "session"
    backoff_max_ms = BACKOFF_MAX_MS

    def __init__(
        self, world: World, name: str, masters: Masters, make: Callable[[], Scheduler]
    ) -> None:
        super().__init__(world, name, name, masters)
        self._make = make
        self.scheduler = make()
        """The author's object of the newest run."""
        self.machine: Session | None = None
        self.framework_id = ""
        self.finish: session.Finish | None = None
        """How the newest run ended by itself; None while it has not."""
        self.statuses: list[TaskStatus] = []
        """What `status_update` was told, by all runs, in order."""
        self.offers: list[Offer] = []
        """What `resource_offers` was given, by all runs, in order."""
        self.states: dict[str, TaskState] = {}
        """The last state that its `status_update` was told of each task. Without the history of
        the simulation: of each that has not ended."""
        self._untold: list[Callable[[Scheduler], None]] = []

    def start(self) -> None:
        """Start its process anew: a new object of the author's class, a new session."""
        if self.runs:
            self.scheduler = self._make()
        scheduler = self.scheduler
        self.finish = None
        machine = Session(session_config(scheduler, f"{self.name}-{self.runs + 1}"))
        self.machine = machine
        self.process = self._run(machine, session.Tick, lambda _: True, self._perform)
        scheduler._on_call(self._take_calls)
        scheduler.store._open(scheduler._record, waits=False)
        untold, self._untold = self._untold, []
        for action in untold:
            action(scheduler)
        self._take_calls()
        self._attempt = 0
        self._dial_later()

    def tell(self, action: Callable[[Scheduler], None]) -> None:
        """Do something with the author's object: now, or when a process of it starts."""
        if self.alive:
            action(self.scheduler)
        else:
            self._untold.append(action)

    def _take_calls(self) -> None:
        for decision in self.scheduler._take_calls():
            if isinstance(decision, session.AcceptOffers) and decision.operations:
                self._count("launched_on", len(decision.offers))
            self.world.counts[f"decision: {type(decision).__name__}"] += 1
            self.post(session.Decided(decision))

    def _perform(self, effect: session.Effect) -> None:
        match effect:
            case session.ToMaster(said):
                if isinstance(said, Decline):
                    self._count("declined", len(said.offer_ids))
                self._say(said)
            case session.DropStream(why):
                self._drop(why)
            case session.RunCallback(callback):
                process = self.process
                delay_ms = self.rng.randint(0, CALLBACK_MAX_MS)
                steps = self._steps(callback)

                def go_on() -> None:
                    if self.stopped and self.process is process:
                        self.world.agenda.after(STOPPED_LOOK_MS, go_on)
                        return
                    call = next(steps, None) if self.process is process is not None else None
                    if call is not None:
                        call._when_done(lambda: self.world.agenda.after(0, go_on))

                self.world.agenda.after(delay_ms, go_on)
            case session.StoreAnswered(answer):
                self.scheduler.store._answered(answer)
            case session.Finish():
                self.finish = effect
                if effect.refusal is not None:
                    self.world.counts[f"finish: {effect.refusal.name}"] += 1
                self._leave()

    def _steps(self, callback: session.Callback | session.OnStatuses) -> Iterator[StoreCall[Any]]:
        """Run the author's code, with a pause at each call of the store that it awaits."""
        for one in each(callback):
            if self.scheduler._stop_called:
                break
            returned = self._call(one)
            if returned is not None:
                for awaited in returned.__await__():
                    if not isinstance(awaited, StoreCall):
                        raise RuntimeError(
                            "in a simulation a callback can await the store and nothing else: "
                            "there is no time but virtual"
                        )
                    yield awaited
            if isinstance(callback, session.OnStatuses):
                self.post(session.StatusesTold(1))
        self.post(session.CallbackReturned())

    def _call(self, callback: session.Callback) -> Returned:
        """Call the author's code; an exception in it ends the simulation."""
        self.world.counts[f"callback: {type(callback).__name__}"] += 1
        self.world.story.callback(self.name, callback)
        match callback:
            case session.OnSubscribed(framework_id):
                self.framework_id = framework_id
                self.world.meter.subscribed(framework_id, self.scheduler.name)
            case session.OnStatus(status):
                if status.source is Source.SESSION and status.refusal is not None:
                    self.world.counts[f"refusal: {status.refusal.name}"] += 1
                self._note(status)
                self.world.meter.told(self.scheduler.name, status)
                for watcher in self.world.watchers:
                    watcher.status_told(self, status)
            case session.OnOperation(ended):
                if ended.refusal is not None:
                    self.world.counts[f"refusal: {ended.refusal.name}"] += 1
                for watcher in self.world.watchers:
                    watcher.operation_told(self, ended)
            case session.OnOffers(offers):
                if self.world.history:
                    self.offers += offers
                self._count("made", len(offers))
                for watcher in self.world.watchers:
                    watcher.offers_told(self, offers)
            case session.OnRescinded():
                self._count("rescinded", 1)
            case _:
                pass
        return call(self.scheduler, callback)

    def _count(self, fate: str, offers: int) -> None:
        self.world.meter.offers(self.scheduler.name, fate, offers)

    def _note(self, status: TaskStatus) -> None:
        if self.world.history:
            self.statuses.append(status)
        elif status.terminal:
            self.states.pop(status.task_id, None)
            return
        self.states[status.task_id] = status.state

    def _leave(self) -> None:
        """It ends by itself: what it said before is still written."""
        if self.process is not None:
            self.process.end()
        if self._end is not None:
            self._end.close()
            self._end = None
        self._down("ends")

    def _down(self, why: str) -> None:
        self.world.story.note(self.name, why)
        self.process = None
        self.machine = None
        self.scheduler._on_call(None)
        self.scheduler.store._close()
        self._hang_up()

    def called(self, stream: str, said: Any) -> master.Event:
        """What the master's process is told when this one says something."""
        assert type(said) in SCHEDULER_CALLS, f"no scheduler says {said!r}"
        return master.SchedulerCalled(stream, PRINCIPAL, said)

    def _heard(self, epoch: int, said: Any) -> session.Event:
        assert type(said) in SCHEDULER_EVENTS, f"nobody says {said!r} to a scheduler"
        return session.MasterSpoke(epoch, said)

    def _opened(self) -> session.Event:
        return session.StreamOpened()

    def _lost(self, why: str) -> session.Event:
        return session.StreamLost(why)
