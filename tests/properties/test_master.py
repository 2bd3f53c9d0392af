"""The master under any order of events, nonsense included: docs/semantics.md 3.9, no task twice.

The world around it is a model: agents that hold what was launched on them and report it, schedulers
that answer live offers (and dead ones, and each other's). `Master.check` runs after every event.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from mesoslite.lifecycle import MOVES, TaskState
from mesoslite.master import conduct
from mesoslite.master.protocol import Misconduct, TaskKillAsked, TeardownAsked, ToAgent, ToScheduler
from mesoslite.master.state import MasterConfig
from mesoslite.messages import (
    Accept,
    AcceptResult,
    Acknowledge,
    ConfirmResults,
    Decline,
    Heartbeat,
    Kill,
    Offers,
    Reconcile,
    ReconcileTasks,
    Refused,
    Registered,
    RequestResources,
    Revive,
    RunTask,
    ShutdownFramework,
    StatusReport,
    Subscribed,
    Suppress,
    TaskOnAgent,
    Update,
    WithdrawRequests,
)
from mesoslite.model import (
    InvalidRequest,
    Launch,
    Offer,
    Policy,
    Refusal,
    Request,
    TaskReference,
    TaskStatus,
    WhyNot,
)
from mesoslite.resources import Resources
from tests.unit.master_world import World, task

AGENTS = ("a", "b")
NAMES = ("f", "g")
TOTAL = {"a": "cpus:4;mem:1024;ports:[1-4]", "b": "cpus:2;mem:2048"}
AWAY = (WhyNot.NO_AGENTS, WhyNot.AGENT_AWAY, WhyNot.TOO_SMALL)
NEEDS = ("cpus:1;mem:128", "cpus:2;mem:512", "cpus:0.5;mem:1;ports:[2-2]", "cpus:9;mem:1")
WHERES = ("", "", "hostname == a.example", "hostname != a.example", "has rack")


class AnyOrder(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(
            config=MasterConfig(
                reregister_ms=60_000,
                offers_outstanding_max=50,
                short_declines_max=1,
                revives_max=1,
            )
        )
        self.streams = 0
        self.agent_stream: dict[str, str] = {}
        self.scheduler_stream: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self.on_agent: dict[str, dict[tuple[str, str], TaskOnAgent]] = {a: {} for a in AGENTS}
        self.unread: list[tuple[str, TaskStatus]] = []
        self.offers: dict[str, list[Offer]] = {n: [] for n in NAMES}
        self.number = Counter[str]()
        self.answers: dict[tuple[str, str, int], tuple[object, ...]] = {}
        self.session: dict[str, str] = {}
        self.launches = Counter[tuple[str, str]]()
        self.accepts: list[tuple[str, Accept]] = []

    @initialize()
    def everybody_comes(self) -> None:
        """Without it most runs would never see a launch."""
        for name in NAMES:
            self.a_scheduler_subscribes(name, anew=True, two=False)
        for agent_id in AGENTS:
            self.an_agent_registers(agent_id, lost=False)

    # --- what the master says reaches the world ---------------------------------------------------

    def _hear(self) -> None:
        for effect in self.world.said:
            if isinstance(effect, ToAgent):
                self._agent_hears(effect)
            elif isinstance(effect, ToScheduler):
                self._scheduler_hears(effect)

    def _agent_hears(self, effect: ToAgent) -> None:
        [agent_id] = [a for a, s in self.agent_stream.items() if s == effect.stream] or [""]
        if not agent_id:
            return
        tasks = self.on_agent[agent_id]
        match effect.event:
            case RunTask(framework_id, role, launched):
                self.launches[framework_id, launched.task_id] += 1
                key = framework_id, launched.task_id
                assert key not in tasks, "launched on an agent that has it"
                tasks[key] = TaskOnAgent(framework_id, role, launched, TaskState.STAGING)
            case ShutdownFramework(framework_id):
                for key in [k for k in tasks if k[0] == framework_id]:
                    gone = tasks.pop(key)
                    if not gone.state.terminal:
                        self._report(agent_id, gone, TaskState.KILLED, "")
            case ReconcileTasks(missing):
                for framework_id, task_id in missing:
                    assert (framework_id, task_id) not in tasks

    def _scheduler_hears(self, effect: ToScheduler) -> None:
        [name] = [n for n, s in self.scheduler_stream.items() if s == effect.stream] or [""]
        if not name:
            return
        match effect.event:
            case Subscribed(framework_id):
                self.ids[name] = framework_id
                self.offers[name] = []
            case Offers(offers):
                self.offers[name] += offers
                self._check_matches(name, {offer.request_id for offer in offers})
            case Update(status):
                if status.update_id:
                    self.unread.append((name, status))
            case AcceptResult(number, results):
                key = (self.ids[name], self.session[name], number)
                forgotten = any(r.refusal is Refusal.RESULT_FORGOTTEN for r in results)
                assert forgotten or self.answers.setdefault(key, results) == results
            case Refused():
                del self.scheduler_stream[name]

    def _check_matches(self, name: str, request_ids: set[str]) -> None:
        """Who was offered something just now for a request is not offered more than it wants."""
        framework = self.world.master.tables.frameworks[self.ids[name]]
        for request_id in request_ids - {""}:
            matches = [o for o in framework.offers.values() if o.request_id == request_id]
            wanted = framework.requests[request_id]
            assert sum(offer.units for offer in matches) <= wanted.units
            for offer in matches:
                assert offer.role in framework.demand_roles

    def _stream(self) -> str:
        self.streams += 1
        return f"s{self.streams}"

    def _report(
        self, agent_id: str, on: TaskOnAgent, state: TaskState, update_id: str | None = None
    ) -> None:
        self.streams += 1
        status = TaskStatus(
            on.task.task_id,
            state,
            on.framework_id,
            agent_id,
            f"u{self.streams}" if update_id is None else update_id,
        )
        self.world.tell(self.agent_stream[agent_id], StatusReport(status, state))
        self._hear()

    # --- agents -----------------------------------------------------------------------------------

    @rule(agent_id=st.sampled_from(AGENTS), lost=st.booleans())
    def an_agent_registers(self, agent_id: str, lost: bool) -> None:
        """Sometimes without its newest launch, which was lost with the old stream."""
        tasks = self.on_agent[agent_id]
        staging = [k for k, on in tasks.items() if on.state is TaskState.STAGING]
        if lost and staging:
            del tasks[staging[-1]]
        self.agent_stream[agent_id] = self._stream()
        self.world.agent(
            agent_id,
            TOTAL[agent_id],
            stream=self.agent_stream[agent_id],
            tasks=list(tasks.values()),
        )
        assert self.world.heard(self.agent_stream[agent_id], Registered)
        self._hear()

    @rule(agent_id=st.sampled_from(AGENTS))
    def an_agent_goes(self, agent_id: str) -> None:
        if agent_id in self.agent_stream:
            self.world.close(self.agent_stream.pop(agent_id))
            self._hear()

    @precondition(lambda self: any(self.on_agent[a] for a in self.agent_stream))
    @rule(data=st.data())
    def a_task_moves(self, data: st.DataObject) -> None:
        choices = [(a, k) for a in self.agent_stream for k in self.on_agent[a]]
        agent_id, key = data.draw(st.sampled_from(choices))
        on = self.on_agent[agent_id][key]
        moves = sorted(
            (m for m in MOVES[on.state] if m is not TaskState.UNREACHABLE), key=lambda m: m.name
        )
        if moves:
            state = data.draw(st.sampled_from(moves))
            self.on_agent[agent_id][key] = TaskOnAgent(on.framework_id, on.role, on.task, state)
            self._report(agent_id, on, state)

    # --- schedulers -------------------------------------------------------------------------------

    @rule(
        name=st.sampled_from(NAMES),
        anew=st.booleans(),
        two=st.booleans(),
        demand=st.sampled_from([(), ("x",)]),
    )
    def a_scheduler_subscribes(
        self, name: str, anew: bool, two: bool, demand: tuple[str, ...] = ()
    ) -> None:
        resuming = not anew and name in self.session and name in self.ids
        if not resuming:
            self.session[name] = self._stream()
            self.number[name] = 0
        self.scheduler_stream[name] = self._stream()
        self.world.framework(
            name,
            roles=("x", "y") if two else ("x",),
            stream=self.scheduler_stream[name],
            session_id=self.session[name],
            framework_id=self.ids[name] if resuming else "",
            resuming=resuming,
            failover_timeout_ms=100_000,
            demand_roles=demand,
        )
        self._hear()

    @rule(name=st.sampled_from(NAMES))
    def a_scheduler_goes(self, name: str) -> None:
        if name in self.scheduler_stream:
            self.world.close(self.scheduler_stream.pop(name))
            self._hear()

    def _live(self) -> list[Offer]:
        return [
            offer
            for name in self.scheduler_stream
            for offer in self.offers[name]
            if offer.offer_id in self.world.master.tables.offers
        ]

    @precondition(lambda self: self._live())
    @rule(
        data=st.data(),
        needs=st.lists(st.sampled_from(NEEDS), min_size=1, max_size=3),
        refuse_ms=st.sampled_from([0, 0, 1_000, 50_000]),
        first_id=st.integers(0, 30),
    )
    def an_offer_is_accepted(
        self, data: st.DataObject, needs: list[str], refuse_ms: int, first_id: int
    ) -> None:
        offer = data.draw(st.sampled_from(self._live()))
        [name] = [n for n, i in self.ids.items() if i == offer.framework_id]
        done, sent = self._accept(name, offer, needs, refuse_ms, first_id)
        assert done == sent

    @precondition(lambda self: any(self.offers[n] for n in self.scheduler_stream))
    @rule(data=st.data(), needs=st.lists(st.sampled_from(NEEDS), max_size=2))
    def the_offer_of_another_or_a_dead_one_is_accepted(
        self, data: st.DataObject, needs: list[str]
    ) -> None:
        choices = [(n, o) for n in self.scheduler_stream for o in self.offers[n][-6:]]
        name, offer = data.draw(st.sampled_from(choices))
        if len(self.scheduler_stream) == 2:
            [name] = [n for n in self.scheduler_stream if n != name]
        elif offer in self._live():
            return
        done, sent = self._accept(name, offer, needs, 0, 40)
        assert done == sent == 0 or offer.offer_id.split("-")[0] != str(self.world.registry.epoch)
        assert sent == 0

    def _accept(
        self, name: str, offer: Offer, needs: list[str], refuse_ms: int, first_id: int
    ) -> tuple[int, int]:
        """How many launches were answered with done, and how many were sent to an agent."""
        self.number[name] += 1
        request_id = offer.request_id
        launches = tuple(
            Launch(task(f"t{first_id + i}", n), request_id) for i, n in enumerate(needs)
        )
        accept = Accept(self.number[name], offer.agent_id, (offer.offer_id,), launches, refuse_ms)
        self.accepts.append((name, accept))
        self.world.call(self.scheduler_stream[name], accept)
        results = self.world.heard(self.scheduler_stream[name], AcceptResult)
        sent = sum(isinstance(e, ToAgent) and isinstance(e.event, RunTask) for e in self.world.said)
        done = sum(r.done for message in results for r in message.results)
        self._hear()
        return done, sent

    @precondition(lambda self: self.accepts)
    @rule(data=st.data())
    def an_accept_is_said_again(self, data: st.DataObject) -> None:
        name, accept = data.draw(st.sampled_from(self.accepts[-5:]))
        if name in self.scheduler_stream and accept.number <= self.number[name]:
            self.world.call(self.scheduler_stream[name], accept)
            assert (
                not [
                    e
                    for e in self.world.said
                    if isinstance(e, ToAgent) and isinstance(e.event, RunTask)
                ]
                or (self.ids[name], self.session[name], accept.number) not in self.answers
            )
            self._hear()

    @precondition(lambda self: any(self.offers[n] for n in self.scheduler_stream))
    @rule(data=st.data(), refuse_ms=st.sampled_from([0, 5_000, 400 * 24 * 3_600_000]))
    def an_offer_is_declined(self, data: st.DataObject, refuse_ms: int) -> None:
        choices = [(n, o) for n in self.scheduler_stream for o in self.offers[n][-6:]]
        name, offer = data.draw(st.sampled_from(choices))
        self.world.call(self.scheduler_stream[name], Decline((offer.offer_id,), refuse_ms))
        self._hear()

    @precondition(lambda self: self.unread)
    @rule(data=st.data())
    def a_status_is_acknowledged(self, data: st.DataObject) -> None:
        name, status = data.draw(st.sampled_from(self.unread[-4:]))
        if name not in self.scheduler_stream:
            return
        known = status.agent_id in self.agent_stream
        self.world.call(
            self.scheduler_stream[name],
            Acknowledge(status.agent_id, status.task_id, status.update_id),
        )
        key = (status.framework_id, status.task_id)
        on = self.on_agent[status.agent_id].get(key)
        if known and on is not None and on.state.terminal and on.state is status.state:
            entry = self.world.master.tables.agents[status.agent_id].tasks.get(key)
            if entry is None:
                del self.on_agent[status.agent_id][key]
        self._hear()

    @rule(
        name=st.sampled_from(NAMES),
        request_id=st.sampled_from(["r1", "r2", "r3"]),
        role=st.sampled_from("xy"),
        unit=st.sampled_from(NEEDS),
        count=st.integers(0, 4),
        ports=st.sampled_from([0, 0, 1]),
        where=st.sampled_from(WHERES),
        policy=st.sampled_from(Policy),
    )
    def a_scheduler_requests(
        self,
        name: str,
        request_id: str,
        role: str,
        unit: str,
        count: int,
        ports: int,
        where: str,
        policy: Policy,
    ) -> None:
        if name in self.scheduler_stream:
            need = Resources.parse(unit)
            request = Request(request_id, role, need, count, ports, where, policy)
            self.world.call(self.scheduler_stream[name], RequestResources((request,)))
            self._hear()

    @rule(
        name=st.sampled_from(NAMES),
        call=st.sampled_from(
            [
                WithdrawRequests(("r1", "r2")),
                WithdrawRequests((), ("x",)),
                RequestResources((InvalidRequest("r1", "no"),)),
                Revive(),
                Revive(("x",)),
                Suppress(),
                Suppress(("y",)),
                Kill("t1"),
                Kill("t2", "a", 0),
                Reconcile(),
                Reconcile((TaskReference("t1", "a"), TaskReference("t3"))),
                ConfirmResults(3),
                Heartbeat(7),
            ]
        ),
    )
    def a_scheduler_says_something_else(self, name: str, call: Heartbeat) -> None:
        if name in self.scheduler_stream:
            self.world.call(self.scheduler_stream[name], call)
            self._hear()

    # --- the rest ---------------------------------------------------------------------------------

    @rule(name=st.sampled_from(["", *NAMES]), task_id=st.sampled_from(["t1", "t2"]))
    def an_operator_kills(self, name: str, task_id: str) -> None:
        self.world.step(TaskKillAsked(1, task_id, name, None))
        self._hear()

    @rule(name=st.sampled_from([*NAMES, "nobody"]), seldom=st.integers(0, 5))
    def an_operator_tears_down(self, name: str, seldom: int) -> None:
        if seldom == 5:
            self.world.step(TeardownAsked(2, name))
            self._hear()

    @rule(ms=st.sampled_from([1, 1_000, 15_000, 30_000]))
    def time_passes(self, ms: int) -> None:
        self._time_passes(ms)

    def _time_passes(self, ms: int) -> None:
        before = self.world.now_ms
        self.world.wait(ms)
        self._hear()
        for stream in (*self.agent_stream.values(), *self.scheduler_stream.values()):
            if stream in self.world.master.tables.peers:
                call = self.world.tell if stream in self.agent_stream.values() else self.world.call
                call(stream, Heartbeat())
                self._hear()
        assert self.world.now_ms == before + ms

    @rule(name=st.sampled_from(NAMES), what=st.sampled_from(Misconduct))
    def a_scheduler_is_unruly(self, name: str, what: Misconduct) -> None:
        """Without it hardly any run would see somebody bounded."""
        if name not in self.scheduler_stream:
            return
        stream = self.scheduler_stream[name]
        framework = self.world.master.tables.frameworks[self.ids[name]]
        if what is Misconduct.SILENT:
            self._time_passes(self.world.config.offer_lease_ms)
        for _ in range(6 if what is not Misconduct.SILENT else 0):
            if framework.offers:
                refuse_ms = 0 if what is Misconduct.DECLINES else 3_600_000
                self.world.call(stream, Decline(tuple(framework.offers), refuse_ms))
                self._hear()
            if what is Misconduct.REVIVES:
                self.world.call(stream, Revive())
                self._hear()

    def _bounded(self) -> set[Misconduct]:
        frameworks = self.world.master.tables.frameworks.values()
        return {what for f in frameworks if f.stream is not None for what in f.conduct.episodes}

    @precondition(lambda self: self._bounded())
    @rule()
    def everybody_behaves_again(self) -> None:
        """Whoever was bounded is free again, and is offered all that nobody else has."""
        for what in self._bounded():
            event(f"was bounded: {what.name}")
        tables = self.world.master.tables
        here = [f for f in tables.frameworks.values() if f.stream is not None]
        for framework in here:
            self.world.call(framework.stream or "", WithdrawRequests())
            self._hear()
        for _ in range(20):  # six doublings are enough
            for framework in here:
                self.world.call(framework.stream or "", Revive())
                self._hear()
            for framework in here:
                if framework.offers:
                    decline = Decline(tuple(framework.offers), 1_000)
                    self.world.call(framework.stream or "", decline)
                    self._hear()
            self._time_passes(1_000)
            if all(f.conduct.offers_max is None for f in here):
                break
        self._time_passes(10_000)  # until all buckets are full
        for framework in here:
            self.world.call(framework.stream or "", Revive())
            self._hear()
        for framework in here:
            bounded = framework.conduct.offers_max is not None
            assert not (bounded and framework.offers), "it was offered something, and answered it"
            assert not set(conduct.standing(tables, framework)) - {Misconduct.SILENT}
            for told in tables.allocator.explain(framework.framework_id):
                reasons = {blocked.reason for blocked in told.blocked}
                taken = {WhyNot.ANOTHERS_TURN, WhyNot.OWN_OFFER, WhyNot.NOTHING_FREE}
                assert reasons <= {*taken, *AWAY}

    @rule(seldom=st.integers(0, 3))
    def the_master_fails_over(self, seldom: int) -> None:
        """Most come back; the rules bring the others."""
        if seldom < 3:
            return
        agents, names = list(self.agent_stream), list(self.scheduler_stream)
        # A session says again only what was not answered; the next master would answer otherwise.
        self.accepts = [
            (name, accept)
            for name, accept in self.accepts
            if (self.ids[name], self.session[name], accept.number) not in self.answers
        ]
        self.agent_stream.clear()
        self.scheduler_stream.clear()
        self.world.restart()
        for name in names:
            self.a_scheduler_subscribes(name, anew=False, two=False)
        for agent_id in agents[1:]:
            self.an_agent_registers(agent_id, lost=False)

    @invariant()
    def a_deadline_lies_ahead(self) -> None:
        due_ms = self.world.master.next_deadline_ms()
        assert due_ms is None or due_ms > self.world.now_ms

    @invariant()
    def nothing_is_at_rest_that_a_tick_would_change(self) -> None:
        assert self.world.step() == []


TestAnyOrder = AnyOrder.TestCase
