"""The session's laws under any order of events: cuts, failovers, resends, races, slow callbacks."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesoslite.lifecycle import TaskState
from mesoslite.messages import SILENCE_MAX_MS, Accept, Offers
from mesoslite.model import (
    FrameworkInfo,
    Launch,
    Offer,
    Reason,
    Refusal,
    Request,
    Task,
    TaskReference,
    TaskStatus,
)
from mesoslite.resources import Resources
from mesoslite.scheduler.launches import STATE_OF_REFUSED
from mesoslite.scheduler.protocol import (
    AcceptOffers,
    Callback,
    CallbackReturned,
    Decided,
    Decision,
    DeclineOffers,
    DropRequests,
    DropStream,
    Event,
    Finish,
    HoldOffer,
    KillTask,
    MakeRequest,
    MasterSpoke,
    OnOffers,
    OnRescinded,
    OnStatus,
    OnStatuses,
    ReconcileTasks,
    ReviveRoles,
    RunCallback,
    StatusesTold,
    StreamLost,
    StreamOpened,
    Tick,
    ToMaster,
)
from mesoslite.scheduler.session import Session, SessionConfig
from tests.properties.session_world import World

AGENTS = ["a1", "a2", "a3"]
REQUEST_IDS = ["r1", "r2"]
UNIT = Resources(cpus=1, mem=32)
LAUNCH_REFUSALS = [Refusal.TOO_LARGE, Refusal.CONTAINERIZER_UNAVAILABLE, Refusal.NO_RESOURCES]
HEALING_ROUNDS_MAX = 100


class AnyOrder(RuleBasedStateMachine):
    """One session, its author and the world, with every move that either side may make."""

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(SessionConfig(FrameworkInfo("f"), "session-1"))
        self.world = World()
        self.now_ms = 1_000_000
        self.lost_untold = False  # the stream is gone, the session has not noticed
        self.running: Callback | OnStatuses | None = None
        self.untold: list[TaskStatus] = []  # of the statuses that are being told together
        self.mine: dict[str, Offer] = {}  # what the author may use, as far as it was told
        self.task_count = 0
        self.launched: dict[str, str] = {}  # task id -> agent id
        self.asked: set[str] = set()
        self.used: set[str] = set()  # offers that were launched on
        self.sent: dict[str, str] = {}  # task id -> the request that its launch named
        self.requests: dict[str, tuple[int, set[str], set[str]]] = {}
        """Request -> its count, what was sent before it, what of that was answered by then."""
        self.refused: Counter[str] = Counter()
        self.told: Counter[tuple[str, str]] = Counter()
        self.ends: Counter[str] = Counter()  # told, of tasks that were launched
        self.dealt_with: set[tuple[str, str]] = set()
        self.feed(Tick(self.now_ms))

    def feed(self, event: Event) -> None:
        """Hand an event to the session; carry out what it says."""
        for effect in self.session.handle(event):
            match effect:
                case ToMaster(call):
                    if self.world.open:
                        self.world.to_master.append(call)
                case RunCallback(callback):
                    assert self.running is None, "callbacks never overlap"
                    self.running = callback
                    self.hear(callback)
                case DropStream():
                    self.end_stream(0)
                case Finish():
                    raise AssertionError("nobody asked for the end")
        self.session.check()

    def hear(self, callback: Callback | OnStatuses) -> None:
        match callback:
            case OnStatuses(statuses):
                self.untold = list(statuses)
                for status in statuses:
                    self.hear(OnStatus(status))
            case OnOffers(offers):
                assert offers
                for offer in offers:
                    assert offer.offer_id not in self.mine
                    self.mine[offer.offer_id] = offer
            case OnRescinded(offer_id):
                self.mine.pop(offer_id, None)
            case OnStatus(status) if status.reason is Reason.LAUNCH_REFUSED:
                assert status.refusal is not None
                assert status.state is STATE_OF_REFUSED[status.refusal]
                self.refused[status.task_id] += 1
            case OnStatus(status):
                if status.update_id:
                    self.told[status.task_id, status.update_id] += 1
                self.ends[status.task_id] += status.terminal
            case _:
                pass

    def end_stream(self, read: int) -> None:
        if self.world.open:
            self.world.cut(read)
        self.lost_untold = False

    # --- the stream -------------------------------------------------------------------------------

    @precondition(lambda self: not self.world.open and not self.lost_untold)
    @rule()
    def the_stream_opens(self) -> None:
        self.world.open_stream()
        self.feed(StreamOpened())

    @precondition(lambda self: self.world.open)
    @rule(read=st.integers(0, 5), heard=st.integers(0, 5), at_once=st.booleans())
    def the_stream_is_cut(self, read: int, heard: int, at_once: bool) -> None:
        for _ in range(heard):
            if self.world.to_session:
                self.the_session_hears()
        self.world.cut(read)
        self.lost_untold = True
        if at_once:
            self.the_session_notices()

    @precondition(lambda self: self.lost_untold)
    @rule()
    def the_session_notices(self) -> None:
        self.lost_untold = False
        self.feed(StreamLost("cut"))

    @rule()
    def the_master_fails_over(self) -> None:
        self.lost_untold = self.lost_untold or self.world.open
        self.world.fail_over()

    @precondition(lambda self: self.world.to_session)
    @rule(count=st.integers(1, 4))
    def the_session_hears_some(self, count: int) -> None:
        self.a_batch_comes(count)

    def a_batch_comes(self, count: int) -> None:
        """So much of what is on its way, and the Tick that ends a batch."""
        for _ in range(count):
            self.the_session_hears()
        self.feed(Tick(self.now_ms))

    def the_session_hears(self) -> None:
        if self.world.to_session:
            self.feed(MasterSpoke(self.world.epoch, self.world.to_session.popleft()))

    @precondition(lambda self: self.world.to_master)
    @rule(count=st.integers(1, 4))
    def the_master_reads(self, count: int) -> None:
        for _ in range(min(count, len(self.world.to_master))):
            self.world.master_reads()

    @precondition(lambda self: self.world.subscribed and self.world.epoch > 1)
    @rule()
    def an_earlier_master_speaks(self) -> None:
        """A paused leader that still has the stream: nothing it offers may be seen."""
        void = Offer("1-void", "f", "a1", "a1", "*", Resources(cpus=1))
        if self.session.epoch == self.world.epoch:
            self.feed(MasterSpoke(self.world.epoch - 1, Offers((void,))))
            assert not self.world.open, "such a stream is given up"

    # --- the master and the agents ----------------------------------------------------------------

    @precondition(lambda self: self.world.subscribed)
    @rule(agents=st.lists(st.sampled_from(AGENTS), min_size=1, unique=True))
    def offers_are_made(self, agents: list[str]) -> None:
        self.world.offer(agents, self.now_ms)

    @precondition(lambda self: self.world.subscribed and self.world.wanted)
    @rule(agents=st.lists(st.sampled_from(AGENTS), min_size=1, unique=True), pick=st.integers(0, 1))
    def requested_offers_are_made(self, agents: list[str], pick: int) -> None:
        request_ids = list(self.world.wanted)
        self.world.offer(agents, self.now_ms, request_ids[pick % len(request_ids)])

    @precondition(lambda self: self.world.offers)
    @rule(pick=st.integers(0, 9))
    def an_offer_is_rescinded(self, pick: int) -> None:
        offers = list(self.world.offers)
        self.world.rescind(offers[pick % len(offers)])

    @rule(refusal=st.sampled_from(LAUNCH_REFUSALS))
    def the_next_launch_will_be_refused(self, refusal: Refusal) -> None:
        self.world.refuse_next = refusal

    @precondition(lambda self: self.world.tasks)
    @rule(pick=st.integers(0, 9))
    def a_task_goes_on(self, pick: int) -> None:
        tasks = list(self.world.tasks)
        self.world.advance(tasks[pick % len(tasks)])

    @rule()
    def agents_send_again(self) -> None:
        self.world.resend_statuses()

    @rule()
    def the_master_says_a_result_again(self) -> None:
        for result in self.world.results.values():
            self.world.say(result)

    # --- the author -------------------------------------------------------------------------------

    def decide(self, decision: Decision) -> None:
        self.feed(Decided(decision))

    @precondition(lambda self: self.mine)
    @rule(pick=st.integers(0, 9), tasks=st.integers(1, 3), again=st.booleans())
    def the_author_launches(self, pick: int, tasks: int, again: bool) -> None:
        offers = list(self.mine.values())
        offer = offers[pick % len(offers)]
        operations = []
        for _ in range(tasks):
            self.task_count += 1
            task_id = f"t{self.task_count}"
            self.launched[task_id] = offer.agent_id
            operations.append(Launch(Task(task_id, ["x"], UNIT), offer.request_id))
        pending = self.session.accepts_unanswered
        self.decide(AcceptOffers((offer,), tuple(operations), None))
        if self.session.accepts_unanswered > pending:
            self.sent |= {o.task.task_id: offer.request_id for o in operations}
        self.used.add(offer.offer_id)
        if not again:  # else the author forgets that it has used the offer
            del self.mine[offer.offer_id]

    @rule(request_id=st.sampled_from(REQUEST_IDS), count=st.integers(0, 5))
    def the_author_requests(self, request_id: str, count: int) -> None:
        named = {task_id for task_id, r in self.sent.items() if r == request_id}
        answered = {t for t in named if not self.session.tables.launches.launching(t)}
        self.requests[request_id] = (count, named, answered)
        self.decide(MakeRequest(Request(request_id, "*", UNIT, count)))

    @precondition(lambda self: self.requests)
    @rule(request_ids=st.sampled_from([("r1",), ("r1", "r2"), ()]))
    def the_author_withdraws(self, request_ids: tuple[str, ...]) -> None:
        self.decide(DropRequests(request_ids))
        for request_id in request_ids or REQUEST_IDS:
            self.requests.pop(request_id, None)

    def wanted(self, request_id: str) -> int:
        """The count, but for launches since; with those that were under way and then refused."""
        count, before, answered = self.requests[request_id]
        for task_id, named in self.sent.items():
            if named == request_id and task_id not in answered:
                ran = task_id not in self.refused
                count += (not ran) if task_id in before else -ran
        return max(count, 0)

    @precondition(lambda self: self.mine)
    @rule(pick=st.integers(0, 9))
    def the_author_declines(self, pick: int) -> None:
        offer = self.mine.pop(list(self.mine)[pick % len(self.mine)])
        self.decide(DeclineOffers((offer,), None))

    @precondition(lambda self: self.mine)
    @rule(pick=st.integers(0, 9))
    def the_author_holds(self, pick: int) -> None:
        self.decide(HoldOffer(list(self.mine.values())[pick % len(self.mine)]))

    @precondition(lambda self: self.launched)
    @rule(pick=st.integers(0, 9))
    def the_author_kills(self, pick: int) -> None:
        self.decide(KillTask(list(self.launched)[pick % len(self.launched)], None))

    @rule()
    def the_author_revives(self) -> None:
        self.decide(ReviveRoles(()))

    @precondition(lambda self: self.launched)
    @rule(pick=st.integers(0, 9))
    def the_author_asks(self, pick: int) -> None:
        task_id = list(self.launched)[pick % len(self.launched)]
        self.decide(ReconcileTasks((TaskReference(task_id),)))
        self.asked.add(task_id)

    def tell(self, count: int) -> None:
        """`status_update` has returned for so many of the statuses that are told together."""
        told, self.untold = self.untold[:count], self.untold[count:]
        self.dealt_with |= {(status.task_id, status.update_id) for status in told}
        self.feed(StatusesTold(len(told)))

    @precondition(lambda self: len(self.untold) > 1)
    @rule(count=st.integers(1, 3))
    def some_of_the_statuses_are_told(self, count: int) -> None:
        self.tell(count)

    @precondition(lambda self: self.running is not None)
    @rule()
    def the_callback_returns(self) -> None:
        callback, self.running = self.running, None
        if isinstance(callback, OnStatuses) and self.untold:
            self.tell(len(self.untold))
        if isinstance(callback, OnStatus):
            self.dealt_with.add((callback.status.task_id, callback.status.update_id))
        if isinstance(callback, OnOffers):
            held = self.session.tables.offers
            for offer in callback.offers:
                # What was left unanswered goes back now; what is held stays the author's.
                entry = held._entries.get(offer.offer_id)
                if entry is None or not entry.held:
                    self.mine.pop(offer.offer_id, None)
        self.feed(CallbackReturned())

    # --- time -------------------------------------------------------------------------------------

    @rule(duration_ms=st.sampled_from([1, 1_000, 5_000, 15_000, 31_000, SILENCE_MAX_MS]))
    def time_passes(self, duration_ms: int) -> None:
        end_ms = self.now_ms + duration_ms
        while (due_ms := self.session.next_deadline_ms()) is not None and due_ms < end_ms:
            assert due_ms > self.now_ms or due_ms == self.now_ms, "a deadline moves forward"
            self.now_ms = max(self.now_ms, due_ms)
            self.feed(Tick(self.now_ms))
            following = self.session.next_deadline_ms()
            assert following is None or following > self.now_ms, "a deadline is met once"
        self.now_ms = end_ms
        self.feed(Tick(end_ms))
        self.world.end_leases(end_ms)

    # --- when all goes well -----------------------------------------------------------------------

    def flow(self, launches: int) -> None:
        """Whatever is on its way arrives, and callbacks return; some launch on what they see."""
        for _ in range(HEALING_ROUNDS_MAX):
            if self.lost_untold:
                self.the_session_notices()
            if not self.world.open:
                self.the_stream_opens()
            while self.world.to_master:
                self.world.master_reads()
            self.a_batch_comes(len(self.world.to_session))
            while self.running is not None:
                if launches and isinstance(self.running, OnOffers) and self.mine:
                    launches -= 1
                    self.the_author_launches(launches, 1 + launches % 2, again=False)
                self.the_callback_returns()
            self.feed(Tick(self.now_ms))
            if self.world.open and not self.world.to_master and not self.world.to_session:
                return
        raise AssertionError("it never comes to rest")

    @rule(agents=st.lists(st.sampled_from(AGENTS), min_size=1, unique=True))
    def all_goes_well(self, agents: list[str]) -> None:
        self.flow(0)
        self.world.offer(agents, self.now_ms, next(iter(self.world.wanted), ""))
        self.flow(2)

    @rule(agents=st.lists(st.sampled_from(AGENTS), min_size=1, unique=True))
    def offers_are_seen(self, agents: list[str]) -> None:
        """All arrives, up to a callback that has offers in its hands."""
        self.flow(0)
        self.world.offer(agents, self.now_ms)
        self.a_batch_comes(len(self.world.to_session))

    @precondition(lambda self: self.world.tasks)
    @rule(pick=st.integers(0, 9))
    def a_status_is_seen(self, pick: int) -> None:
        """All arrives, up to a callback that is being told of a task."""
        self.flow(0)
        self.a_task_goes_on(pick)
        self.a_batch_comes(len(self.world.to_session))

    # --- the laws ---------------------------------------------------------------------------------

    @invariant()
    def an_offer_is_answered_at_most_once(self) -> None:
        assert all(count == 1 for count in self.world.answers.values())

    @invariant()
    def an_update_is_told_once_and_acknowledged_only_after_its_callback(self) -> None:
        assert all(count == 1 for count in self.told.values())
        assert self.world.acknowledged.keys() <= self.dealt_with

    @invariant()
    def an_end_is_told_once_unless_the_author_asks(self) -> None:
        assert all(self.ends[task_id] <= 1 for task_id in self.ends.keys() - self.asked)

    @invariant()
    def a_launch_is_refused_at_most_once_and_never_when_it_was_launched(self) -> None:
        assert all(count == 1 for count in self.refused.values())
        # docs/decisions.md D2: "safe to launch again" must be true.
        assert not self.refused.keys() & self.world.tasks.keys()

    @invariant()
    def the_first_subscribe_is_new_and_all_others_resume(self) -> None:
        for subscribe in self.world.subscribes:
            assert subscribe.resuming == bool(subscribe.framework_id)

    def teardown(self) -> None:
        """The network heals: whatever was on its way arrives, and then nothing is pending."""
        self.flow(0)
        self.world.resend_statuses()
        self.flow(0)
        for task_id, agent_id in self.launched.items():
            told = self.refused[task_id]
            task = self.world.tasks.get(task_id)
            assert (told == 1) != (task is not None), f"{task_id} on {agent_id} has one outcome"
        for request_id in REQUEST_IDS:
            wanted = self.wanted(request_id) if request_id in self.requests else 0
            assert self.session.wanted(request_id) == wanted
            assert self.world.wanted.get(request_id, 0) == wanted
        assert self.world.demand_roles == set(self.session.tables.requests.roles)
        assert self.session.accepts_unanswered == 0
        assert self.session.callbacks_waiting == 0
        assert not self.session.tables.reconciliation.unanswered
        assert not self.world.results, "every result is confirmed"
        assert not any(task.unacknowledged for task in self.world.tasks.values())
        held = self.mine.keys() - self.used
        assert self.world.offers.keys() == held, "what is not held went back"
        for task_id, task in self.world.tasks.items():
            assert bool(self.ends[task_id]) == task.state.terminal
        alive = {t for t, task in self.world.tasks.items() if not task.state.terminal}
        assert alive == self.session.tables.reconciliation.known.keys()


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=60)
TestAnyOrder = AnyOrder.TestCase


def test_the_world_can_launch_and_finish_a_task() -> None:
    """The model itself: a straight story, in which every law bites on something."""
    story = AnyOrder()
    story.the_stream_opens()
    story.the_master_reads(1)
    story.the_session_hears_some(1)
    story.the_callback_returns()
    story.offers_are_made(["a1"])
    story.the_session_hears_some(1)
    story.the_author_launches(0, 1, again=False)
    story.the_callback_returns()
    story.the_master_reads(4)
    for _ in range(3):
        story.a_task_goes_on(0)
    story.teardown()
    assert story.world.tasks["t1"].state is TaskState.FINISHED
    assert story.told == Counter({("t1", f"t1-{n}"): 1 for n in (1, 2, 3)})
    assert [type(call) for call in story.world.accepts.values()] == [Accept]
