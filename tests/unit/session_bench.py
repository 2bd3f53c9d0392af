"""A session on the bench: schedulers that do one thing, and how a story about them begins."""

from collections.abc import Sequence

from mesoslite.messages import (
    Accept,
    Offers,
    SchedulerCall,
    SchedulerEvent,
    Subscribed,
)
from mesoslite.model import Offer, OperationResult, Task
from mesoslite.resources import Resources
from mesoslite.scheduler.protocol import Effect, MasterSpoke, StreamOpened, Tick
from mesoslite.scheduler.scheduler import Scheduler
from mesoslite.scheduler.session import Session
from mesoslite.testing import SessionHarness, offer

DONE = OperationResult()


def task(task_id: str = "t1", cpus: float = 1) -> Task:
    return Task(task_id, ["true"], Resources(cpus=cpus, mem=32))


class Launcher(Scheduler):
    """Launches what waits, one task for each offer; keeps what it is told."""

    name = "launcher"

    def __init__(self, *tasks: Task) -> None:
        self.waiting = list(tasks)

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for one in offers:
            if self.waiting:
                self.launch(one, self.waiting.pop(0))


class Holder(Scheduler):
    """Keeps every offer."""

    name = "holder"
    acknowledge_automatically = False

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        self.hold(offers)


def subscribed(scheduler: Scheduler) -> SessionHarness:
    bench = SessionHarness(scheduler)
    bench.subscribe()
    bench.callbacks.clear()
    return bench


def busy_session() -> Session:
    """One whose `subscribed` callback runs."""
    session = Session(SessionHarness(Launcher()).session.config)
    session.handle(StreamOpened())
    hear(session, Subscribed("f"))
    return session


def hear(session: Session, *events: SchedulerEvent) -> list[Effect]:
    """A batch of what the master says, and the Tick that ends it."""
    said = [effect for event in events for effect in session.handle(MasterSpoke(1, event))]
    return said + session.handle(Tick(0))


def kinds(calls: Sequence[SchedulerCall]) -> list[str]:
    return [type(call).__name__ for call in calls]


def launched(*tasks: Task) -> SessionHarness:
    """A session with one unanswered accept, number 1, of these tasks."""

    class AllAtOnce(Scheduler):
        name = "all-at-once"

        def resource_offers(self, offers: Sequence[Offer]) -> None:
            self.launch(offers[0], tasks)

    bench = subscribed(AllAtOnce())
    [accept] = bench.hears(Offers((offer(cpus=64),)))
    assert isinstance(accept, Accept)
    bench.callbacks.clear()
    return bench
