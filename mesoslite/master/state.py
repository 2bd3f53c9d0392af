"""The master: a pure state machine. The same events give the same effects, always.

Read `protocol.py` first, then `Master.handle` here: each event goes to the one function that deals
with it, in `frameworks.py`, `agents.py`, `offers.py` and `tasks.py`; all they know is in
`records.Tables`, and who is offered what is decided by `mesoslite.allocator`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from mesoslite.master import (
    agents,
    fates,
    fences,
    frameworks,
    offers,
    operations,
    orders,
    releases,
    requests,
    store,
    tasks,
)
from mesoslite.master.invariants import check
from mesoslite.master.protocol import (
    AgentCalled,
    AgentGoneAsked,
    AgentRecord,
    Answer,
    CloseStream,
    Effect,
    EstateAsked,
    Event,
    ForgetAgent,
    FrameworkRecord,
    PeerSilent,
    Recovered,
    SaveFramework,
    SchedulerCalled,
    StreamClosed,
    StreamPaused,
    StreamResumed,
    TaskKillAsked,
    TeardownAsked,
    Tick,
    ToAgent,
    ToScheduler,
)
from mesoslite.master.records import (
    AgentEntry,
    AgentState,
    FrameworkEntry,
    MasterConfig,
    Tables,
    Timer,
)
from mesoslite.messages import (
    Accept,
    Acknowledge,
    AcknowledgeOperation,
    AgentCall,
    ConfirmResults,
    Decline,
    Heartbeat,
    Kill,
    ListStore,
    OperationReport,
    ReadStore,
    Reconcile,
    ReconcileOperations,
    Refused,
    Register,
    RequestResources,
    Revive,
    SchedulerCall,
    StatusReport,
    Subscribe,
    Suppress,
    TaskMessage,
    Teardown,
    Troubled,
    VolumesMeasured,
    WithdrawRequests,
    WriteStore,
)
from mesoslite.model import Refusal

__all__ = ["Master", "MasterConfig"]

SILENCE_AGAIN_MS = 60_000  # the silence of the same peer is told of so far apart


class Master:
    """Everything a master knows and decides. Only `handle` changes it.

    Time enters with `Tick`: give one before the first event of a batch, so that deadlines count
    from now, and one after the last, on which offers leave.
    """

    def __init__(self, recovered: Recovered, config: MasterConfig | None = None) -> None:
        self.tables = Tables(recovered, config or MasterConfig())
        self._recovered: Recovered | None = recovered

    def handle(self, event: Event) -> list[Effect]:
        """What to do about an event. Never raises for anything that a peer can cause."""
        self._take(event)
        return self.tables.take_effects()

    def handle_all(self, events: Sequence[Event]) -> list[Effect]:
        """As `handle` of each, in order."""
        for event in events:
            self._take(event)
        return self.tables.take_effects()

    def _take(self, event: Event) -> None:
        match event:
            case AgentCalled():
                self._agent_called(event.stream, event.call)
            case SchedulerCalled():
                self._scheduler_called(event.stream, event.principal, event.call)
            case Tick():
                self._tick(event.now_ms)
            case StreamClosed():
                self._closed(event.stream)
            case StreamPaused():
                self._pause(event.stream, paused=True)
            case StreamResumed():
                self._pause(event.stream, paused=False)
            case TeardownAsked():
                self._teardown_asked(event)
            case EstateAsked():
                self._estate_asked(event)
            case TaskKillAsked():
                self._kill_asked(event)
            case AgentGoneAsked():
                self._gone_asked(event)
            case _:
                assert_never(event)

    def next_deadline_ms(self) -> int | None:
        """When a Tick is due even if nothing happens."""
        t = self.tables
        if self._recovered is not None:
            return 0  # deadlines that an earlier master left run from the start, heard of or not
        dues = (t.timers.next_ms(), offers.next_lease_ms(t), t.allocator.next_deadline_ms())
        return min((due for due in dues if due is not None), default=None)

    # --- time ------------------------------------------------------------------------------------

    def _tick(self, now_ms: int) -> None:
        t = self.tables
        t.now_ms = max(t.now_ms, now_ms)
        if self._recovered is not None:
            self._begin(self._recovered)
            self._recovered = None
        offers.end_leases(t)
        while (due := t.timers.pop_due(t.now_ms)) is not None:
            self._due(*due)
        releases.carry_out(t)
        offers.make_offers(t)

    def _begin(self, recovered: Recovered) -> None:
        """Take up what an earlier master left: everybody is away, and has time to come back.

        Its times may lie ahead, when the wall clock was set back meanwhile, or is another host's:
        nobody has more time for that than from now on.
        """
        t = self.tables
        self._await_agents(recovered.agents)
        self._await_frameworks(recovered.frameworks)
        frameworks.bound_completed(t)
        store.recover(t, recovered.stores, recovered.entries)
        for agent in t.agents.values():
            agent.echoed_ms = t.now_ms
        fences.recover(t, recovered.fences)
        releases.recover(t, recovered.releases)

    def _await_agents(self, records: Sequence[AgentRecord]) -> None:
        t = self.tables
        for agent_record in records:
            lost_ms = agent_record.unreachable_since_ms
            agent_id = agent_record.info.agent_id
            if agent_record.gone_since_ms is not None:
                gone_ms = agent_record.gone_since_ms
                since_ms = min(gone_ms, t.now_ms)
                t.agents[agent_id] = AgentEntry(agent_record.info, AgentState.GONE, since_ms)
            elif lost_ms is None:
                t.agents[agent_id] = AgentEntry(agent_record.info, AgentState.AWAITED, t.now_ms)
                t.awaited += 1
                t.timers.set((Timer.AGENT, agent_id), t.now_ms + t.config.reregister_ms)
            else:
                since_ms = min(lost_ms, t.now_ms)
                t.agents[agent_id] = AgentEntry(agent_record.info, AgentState.UNREACHABLE, since_ms)
                t.timers.set((Timer.FORGET, agent_id), since_ms + t.config.forget_unreachable_ms)
        gone = (agent for agent in t.agents.values() if agent.state is AgentState.GONE)
        t.gone = {a.info.agent_id: None for a in sorted(gone, key=lambda agent: agent.since_ms)}

    def _await_frameworks(self, records: Sequence[FrameworkRecord]) -> None:
        t = self.tables
        for record in records:
            framework = FrameworkEntry(
                record.framework_id,
                record.principal,
                record.info,
                record.session_id,
                t.now_ms,
                record.deadline_ms,
            )
            t.frameworks[record.framework_id] = framework
            t.identities[record.principal, record.info.name] = framework
            t.allocator.add_framework(record.framework_id, record.info.roles)
            t.allocator.deactivate_framework(record.framework_id)
            # One that was away already has only the rest of its time (unlike MESOS-4659), and what
            # it needs to find this master: it may have looked for one all the while.
            soonest_ms = t.now_ms + t.config.heartbeat_ms
            deadline_ms = max(t.now_ms + record.info.failover_timeout_ms, soonest_ms)
            if record.deadline_ms is not None:
                deadline_ms = min(deadline_ms, max(record.deadline_ms, soonest_ms))
            frameworks.await_return(t, framework, deadline_ms)
            if deadline_ms != record.deadline_ms:
                t.emit(SaveFramework(framework.record()))  # else the next master begins anew

    def _due(self, timer: Timer, subject: str) -> None:
        t = self.tables
        match timer:
            case Timer.SILENCE:
                quiet_until_ms = t.peers[subject].heard_ms + t.config.silence_ms
                if quiet_until_ms > t.now_ms:
                    t.timers.set((Timer.SILENCE, subject), quiet_until_ms)
                else:
                    self._silent(subject)
            case Timer.FAILOVER:
                framework = t.frameworks[subject]
                frameworks.remove(t, framework, "it stayed away for longer than it may")
            case Timer.REVIVE:
                frameworks.do_what_was_put_off(t, t.frameworks[subject])
            case Timer.JUDGE:
                requests.judge_all(t)
            case Timer.RELEASE:
                t.release_due[subject] = None
            case Timer.AGENT:
                agents.away_for_too_long(t, t.agents[subject])
            case Timer.FORGET:
                agents.forget(t, t.agents[subject])
                t.emit(ForgetAgent(subject))
            case _:
                assert_never(timer)

    def _silent(self, stream: str) -> None:
        """Nothing was heard on a stream for so long that its peer can not be there any more."""
        t = self.tables
        agent, heard_ms = t.agent_on(stream), t.peers[stream].heard_ms
        self._tell_of_silence(stream)
        t.emit(CloseStream(stream))
        self._closed(stream)
        if agent is not None:
            agent.since_ms = heard_ms  # it went then, and that is noticed now
            agents.away_for_too_long(t, agent)

    def _tell_of_silence(self, stream: str) -> None:
        """A peer whose heartbeats are too far apart for this master is dropped again and again."""
        t = self.tables
        peer = t.agent_on(stream) or t.framework_on(stream)
        if peer is None:
            return
        told_ms = peer.silence_told_ms
        if told_ms is not None and t.now_ms - told_ms < SILENCE_AGAIN_MS:
            return
        peer.silence_told_ms = t.now_ms
        silent_ms = t.now_ms - t.peers[stream].heard_ms
        if isinstance(peer, AgentEntry):
            t.emit(PeerSilent(peer.info.agent_id, "", peer.info.hostname, silent_ms))
        else:
            t.emit(PeerSilent("", peer.framework_id, peer.info.name, silent_ms))

    # --- streams ---------------------------------------------------------------------------------

    def _closed(self, stream: str) -> None:
        t = self.tables
        if (framework := t.framework_on(stream)) is not None:
            frameworks.disconnected(t, framework)
        elif (agent := t.agent_on(stream)) is not None:
            agents.disconnected(t, agent)

    def _pause(self, stream: str, *, paused: bool) -> None:
        t = self.tables
        if (framework := t.framework_on(stream)) is not None:
            framework.paused = paused
            switch = t.allocator.deactivate_framework if paused else t.allocator.activate_framework
            switch(framework.framework_id)
        elif (agent := t.agent_on(stream)) is not None:
            agents.pause(t, agent, paused=paused)

    def _scheduler_called(self, stream: str, principal: str, call: SchedulerCall) -> None:
        t = self.tables
        if isinstance(call, Subscribe):
            frameworks.subscribe(t, stream, principal, call)
            return
        framework = t.framework_on(stream)
        if framework is None:
            t.emit(ToScheduler(stream, Refused(t.no(Refusal.NOT_SUBSCRIBED))))
            t.emit(CloseStream(stream))
            return
        t.peers[stream].heard_ms = t.now_ms
        match call:
            case Accept():
                offers.accept(t, framework, call)
            case Decline():
                offers.decline(t, framework, call)
            case Acknowledge():
                tasks.acknowledge(t, framework, call)
            case ConfirmResults():
                self._confirm(framework, call.through)
            case Revive():
                frameworks.revive(t, framework, call)
            case Suppress():
                frameworks.suppress(t, framework, call)
            case RequestResources():
                requests.request(t, framework, call)
            case WithdrawRequests():
                requests.withdraw(t, framework, call)
            case Kill():
                tasks.kill(t, framework, call)
            case Reconcile():
                tasks.reconcile(t, framework, call)
            case TaskMessage():
                tasks.message_to_task(t, framework, call)
            case ReadStore():
                store.read(t, framework, call)
            case ListStore():
                store.list_keys(t, framework, call)
            case WriteStore():
                store.write(t, framework, call)
            case Teardown(release):
                frameworks.remove(t, framework, "its scheduler asked for it", release=release)
            case AcknowledgeOperation():
                operations.acknowledge(t, framework, call)
            case ReconcileOperations():
                operations.reconcile(t, framework, call)
            case Heartbeat():
                if call.number:
                    t.emit(ToScheduler(stream, call))
            case _:
                assert_never(call)

    def _confirm(self, framework: FrameworkEntry, through: int) -> None:
        framework.confirmed = max(framework.confirmed, through)
        for number in [n for n in framework.results if n <= framework.confirmed]:
            del framework.results[number]

    def _agent_called(self, stream: str, call: AgentCall) -> None:
        t = self.tables
        if isinstance(call, Register):
            agents.register(t, stream, call)
            return
        agent = t.agent_on(stream)
        if agent is None:
            t.emit(ToAgent(stream, Refused(t.no(Refusal.NOT_SUBSCRIBED))))
            t.emit(CloseStream(stream))
            return
        t.peers[stream].heard_ms = t.now_ms
        match call:
            case StatusReport():
                tasks.report(t, agent, call)
            case TaskMessage():
                tasks.message_from_task(t, agent, call)
            case OperationReport(status):
                operations.report(t, agent, status)
            case VolumesMeasured(volumes):
                agents.measured(agent, volumes)
            case Troubled():
                agents.troubled(t, agent, call.problem)
            case Heartbeat():
                if call.number:
                    agent.echoed_ms = t.now_ms
                    t.emit(ToAgent(stream, call))
            case _:
                assert_never(call)

    # --- operators -------------------------------------------------------------------------------

    def _teardown_asked(self, event: TeardownAsked) -> None:
        t = self.tables
        found = list(t.frameworks_called(event.framework))
        if len(found) > 1:
            which = fates.these(event.framework, [one.framework_id for one in found])
            t.emit(Answer(event.request, t.no(Refusal.AMBIGUOUS), which))
            return
        if not found and not event.release:
            no = t.no(Refusal.UNKNOWN_FRAMEWORK)
            t.emit(Answer(event.request, no, event.framework))
            return
        if not found:
            self._release_removed(event)
            return
        [framework] = found
        live = sum(not entry.state.terminal for entry in framework.tasks.values())
        frameworks.remove(t, framework, "an operator asked for it", release=event.release)
        self._answer_release(
            event, framework.principal, framework.info.name, framework.framework_id, live
        )

    def _release_removed(self, event: TeardownAsked) -> None:
        """What a framework that was removed before had reserved."""
        t = self.tables
        removed = releases.removed_frameworks(t, event.framework)
        if len(removed) != 1:
            refusal = Refusal.AMBIGUOUS if removed else Refusal.UNKNOWN_FRAMEWORK
            t.emit(Answer(event.request, t.no(refusal), event.framework))
            return
        [((principal, name), framework_id)] = removed.items()
        releases.ask(t, principal, name, framework_id)
        self._answer_release(event, principal, name, framework_id, 0)

    def _answer_release(
        self, event: TeardownAsked, principal: str, name: str, framework_id: str, live: int
    ) -> None:
        t = self.tables
        releasing, away = 0, list[str]()
        if event.release:
            releasing = releases.waiting(t, principal, name)
            away = releases.agents_away(t, principal, name)
        t.emit(
            Answer(
                event.request,
                framework_id=framework_id,
                tasks=live,
                releasing=releasing,
                agents_away=tuple(away),
            )
        )

    def _estate_asked(self, event: EstateAsked) -> None:
        t = self.tables
        agent = t.agents.get(event.agent_id)
        if agent is None or agent.stream is None:
            refusal, message = operations.why_not_here(agent, event.agent_id)
            t.emit(Answer(event.request, t.no(refusal), message))
            return
        change = replace(event.change, operation_id=orders.own_id(t))
        order = orders.own_order(t, event.principal, event.role, change)
        why = operations.do(t, agent, order, event.request)
        if why is not None:
            t.emit(Answer(event.request, t.no(why[0]), why[1]))

    def _kill_asked(self, event: TaskKillAsked) -> None:
        t = self.tables
        if event.framework:
            candidates = list(t.frameworks_called(event.framework))
        else:
            candidates = list(t.frameworks.values())
        found = [f.tasks[event.task_id] for f in candidates if event.task_id in f.tasks]
        if len(found) != 1:
            refusal = Refusal.AMBIGUOUS if found else Refusal.UNKNOWN_TASK
            if event.framework and not candidates:
                refusal = Refusal.UNKNOWN_FRAMEWORK
            t.emit(Answer(event.request, t.no(refusal), event.framework or event.task_id))
            return
        [entry] = found
        if not entry.state.terminal:
            tasks.ask_kill(t, entry, event.grace_ms)
        t.emit(
            Answer(event.request, framework_id=entry.framework_id, agent_id=entry.agent_id, tasks=1)
        )

    def _gone_asked(self, event: AgentGoneAsked) -> None:
        t = self.tables
        agent = t.agents.get(event.agent_id)
        if agent is None:
            t.emit(Answer(event.request, t.no(Refusal.UNKNOWN_AGENT), event.agent_id))
            return
        live = sum(not entry.state.terminal for entry in agent.tasks.values())
        if agent.state is not AgentState.GONE:
            agents.mark_gone(t, agent)
        t.emit(Answer(event.request, agent_id=event.agent_id, tasks=live))

    def check(self) -> None:
        """Assert every invariant of the tables, and that the allocator agrees. For tests only."""
        check(self.tables)
