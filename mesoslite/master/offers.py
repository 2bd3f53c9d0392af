"""Offers: made on a tick, answered by accept or decline, taken back when they can not stand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from mesoslite.lifecycle import TaskState
from mesoslite.master import conduct, fates, fences, orders, requests, store
from mesoslite.master.protocol import ToAgent, ToScheduler
from mesoslite.master.records import (
    AgentEntry,
    AgentState,
    FrameworkEntry,
    OfferEnd,
    OutstandingOffer,
    Tables,
    TaskEntry,
    WaitingAccept,
)
from mesoslite.messages import (
    Accept,
    AcceptResult,
    Decline,
    FrameworkAdded,
    FrameworkReference,
    Offers,
    Rescind,
    RunTask,
)
from mesoslite.model import (
    REFUSE_MS_MAX,
    InvalidLaunch,
    Launch,
    Offer,
    Operation,
    OperationResult,
    Refusal,
    Task,
)
from mesoslite.operations import Order
from mesoslite.reservations import Change, InvalidChange, volumes_in, why_not_mounts
from mesoslite.resources import Resources, quantities, total_of

LEASES_SPARE = 1_000  # leases of answered offers that stay, beside as many as offers stand
DONE = OperationResult()
NOTHING = Resources.EMPTY


# --- making and taking back -----------------------------------------------------------------------


def make_offers(t: Tables) -> None:
    """Offer what the allocator grants now."""
    made: dict[str, list[Offer]] = {}
    now_ms = t.now_ms
    usual = t.config.offer_lease_ms, t.leases
    short = conduct.short_lease_ms(t), t.short_leases
    for grant in t.allocator.allocate(now_ms):
        framework_id, role, agent_id = grant.framework_id, grant.role, grant.agent_id
        amount, request_id = grant.resources, grant.request_id
        t.offer_count += 1
        offer_id = f"{t.epoch}-{t.offer_count}"
        agent = t.agents[agent_id]
        info = agent.info
        framework = t.frameworks[framework_id]
        lease_ms, leases = usual if framework.conduct.offers_max is None else short
        ends_ms, units = now_ms + lease_ms, grant.units
        offer = OutstandingOffer(
            offer_id, framework_id, role, agent_id, amount, now_ms, ends_ms, request_id, units
        )
        t.offers[offer_id] = agent.offers[offer_id] = framework.offers[offer_id] = offer
        leases.append((ends_ms, offer_id))
        estate = agent.estate
        told = Offer(
            offer_id,
            framework_id,
            agent_id,
            info.hostname,
            role,
            amount,
            info.attributes,
            info.containerizers,
            lease_ms,
            request_id,
            info.region,
            info.zone,
            estate.of_keys_in(amount) if estate.reservations else (),
        )
        to_framework = made.get(framework_id)
        if to_framework is None:
            made[framework_id] = [told]
        else:
            to_framework.append(told)
    t.looked_at += t.allocator.looked_at
    if len(t.leases) + len(t.short_leases) > 2 * len(t.offers) + LEASES_SPARE:
        # Behind one offer that is held, answered ones pile up for as long as its lease runs.
        t.leases = deque(lease for lease in t.leases if lease[1] in t.offers)
        t.short_leases = deque(lease for lease in t.short_leases if lease[1] in t.offers)
    for framework_id, offers in made.items():
        stream = t.frameworks[framework_id].stream
        if stream is None:
            raise AssertionError(f"the allocator granted to {framework_id}, which is away")
        t.emit(ToScheduler(stream, Offers(tuple(offers))))


def forget_offer(t: Tables, offer: OutstandingOffer, how: OfferEnd) -> None:
    """Take an offer out of the tables; the caller settles it with the allocator."""
    t.offers_ended[how] += 1
    del t.offers[offer.offer_id]
    del t.agents[offer.agent_id].offers[offer.offer_id]
    del t.frameworks[offer.framework_id].offers[offer.offer_id]


def give_back(t: Tables, offer: OutstandingOffer, how: OfferEnd = "returned") -> None:
    """End an offer unused."""
    forget_offer(t, offer, how)
    _settle_one(t, offer, NOTHING)


def _settle_one(t: Tables, offer: OutstandingOffer, used: Resources) -> None:
    t.allocator.settle(
        offer.framework_id,
        offer.role,
        offer.agent_id,
        offer.resources,
        used,
        offer.request_id,
        offer.units,
    )


def rescind(t: Tables, offers: Iterable[OutstandingOffer], how: OfferEnd = "rescinded") -> None:
    """End these offers unused, and tell their frameworks, those that are there."""
    told: dict[str, list[str]] = {}
    for offer in list(offers):
        give_back(t, offer, how)
        stream = t.frameworks[offer.framework_id].stream
        if stream is not None:
            told.setdefault(stream, []).append(offer.offer_id)
    for stream, offer_ids in told.items():
        t.emit(ToScheduler(stream, Rescind(tuple(offer_ids))))


def end_leases(t: Tables) -> None:
    """Rescind the offers whose lease has run out, and hold it against their frameworks."""
    ended: list[OutstandingOffer] = []
    for leases in (t.leases, t.short_leases):
        while leases and leases[0][0] <= t.now_ms:
            offer = t.offers.get(leases.popleft()[1])
            if offer is not None:
                ended.append(offer)
    conduct.leases_ran_out(t, ended)
    rescind(t, ended, "expired")
    for offer in ended:
        framework = t.frameworks[offer.framework_id]
        refuse(t, framework, offer, offer.resources, framework.conduct.lapse_refuse_ms)


def next_lease_ms(t: Tables) -> int | None:
    """When the oldest outstanding lease ends. Amortised O(1): drops answered offers in front."""
    dues = [due for due in (_next_of(t, t.leases), _next_of(t, t.short_leases)) if due is not None]
    return min(dues, default=None)


def _next_of(t: Tables, leases: deque[tuple[int, str]]) -> int | None:
    while leases and leases[0][1] not in t.offers:
        leases.popleft()
    return leases[0][0] if leases else None


# --- decline --------------------------------------------------------------------------------------


def decline(t: Tables, framework: FrameworkEntry, call: Decline) -> None:
    """Give offers back, with a filter. Offers that are void already are no matter (races)."""
    for offer_id in call.offer_ids:
        offer = t.offers.get(offer_id)
        if offer is None:
            t.no(Refusal.UNKNOWN_OFFER)
        elif offer.framework_id != framework.framework_id:
            t.no(Refusal.NOT_YOUR_OFFER)
        else:
            return_unused(t, framework, offer, call.refuse_ms)


def return_unused(
    t: Tables, framework: FrameworkEntry, offer: OutstandingOffer, refuse_ms: int
) -> None:
    """The framework does not want an offer of its: end it, and refuse what it holds."""
    conduct.answered(t, framework, offer)
    give_back(t, offer, "declined")
    refuse_ms = conduct.refuse_ms(t, framework, refuse_ms)
    refuse(t, framework, offer, offer.resources, refuse_ms)


def refuse(
    t: Tables, framework: FrameworkEntry, offer: OutstandingOffer, amount: Resources, refuse_ms: int
) -> None:
    """Do not offer so little of this agent to this framework and role for a while.

    What was offered for a request is refused for that alone, and then however much there is.
    """
    if amount and refuse_ms > 0:
        framework.conduct.refused_in.add(offer.role)
        if offer.request_id:
            framework.conduct.declined_in.add(offer.role)
        until_ms = t.now_ms + min(refuse_ms, REFUSE_MS_MAX)
        t.allocator.refuse(
            offer.framework_id, offer.role, offer.agent_id, amount, until_ms, offer.request_id
        )


def _refuse_rest(
    t: Tables,
    framework: FrameworkEntry,
    offers: list[OutstandingOffer],
    left: Resources,
    units: Mapping[str, int],
    refuse_ms: int,
) -> None:
    """What the launches of an accept left over, or did not take of what was requested."""
    if not left:
        return
    held: dict[str, int] = {}
    for offer in offers:
        held[offer.request_id] = held.get(offer.request_id, 0) + offer.units
    for request_id, offer in {offer.request_id: offer for offer in offers}.items():
        if not request_id or held[request_id] > units.get(request_id, 0):
            refuse(t, framework, offer, left, refuse_ms)


# --- accept ---------------------------------------------------------------------------------------


def accept(t: Tables, framework: FrameworkEntry, call: Accept) -> None:
    """Answer an accept once and for all; saying it again gives the same answer (D2)."""
    if call.number in framework.waiting:
        return
    results = framework.results.get(call.number)
    if results is None and call.number <= framework.confirmed:
        results = _refuse_all(t, call, Refusal.RESULT_FORGOTTEN, "")
    if results is None:
        results = _accept_now(t, framework, call)
        if results is None:
            return
        keep_results(t, framework, call, results)
    if framework.stream is not None:
        t.emit(ToScheduler(framework.stream, AcceptResult(call.number, results)))


def keep_results(
    t: Tables, framework: FrameworkEntry, call: Accept, results: tuple[OperationResult, ...]
) -> None:
    """Keep an answer until it is confirmed; the oldest goes when there are too many."""
    for operation, result in zip(call.operations, results, strict=True):
        if result.refusal is not None:
            fates.remember_refused(t, framework, call.agent_id, operation, result)
    framework.results[call.number] = results
    if len(framework.results) > t.config.results_max:
        oldest = min(framework.results)
        del framework.results[oldest]
        framework.confirmed = max(framework.confirmed, oldest)


def _accept_now(
    t: Tables, framework: FrameworkEntry, call: Accept
) -> tuple[OperationResult, ...] | None:
    """Decide an accept that was not answered yet. None: the answer waits for the agent."""
    offers = [t.offers.get(offer_id) for offer_id in call.offer_ids]
    refusal, message = _why_not_offers(t, framework, call, offers), ""
    if refusal is None and call.writes:
        objection = store.why_not(t, framework, call.writes)
        if objection is not None:
            refusal, message = objection.refusal, objection.message
    if refusal is None:
        return _use(t, framework, call, [offer for offer in offers if offer is not None])
    # Any void offer voids the whole accept; what is valid in it goes back (docs/semantics.md 3.5).
    for offer in {o.offer_id: o for o in offers if o is not None}.values():
        if offer.framework_id == framework.framework_id:
            return_unused(t, framework, offer, 0)
    if refusal is Refusal.STALE_OFFER:
        return _accept_of_an_earlier_master(t, framework, call)
    named = message or f"offers {', '.join(call.offer_ids)}"[:200]
    return _refuse_all(t, call, refusal, named)


def _why_not_offers(
    t: Tables, framework: FrameworkEntry, call: Accept, offers: list[OutstandingOffer | None]
) -> Refusal | None:
    """The first reason why these offers can not be accepted together. Only reads."""
    if not offers:
        return Refusal.NO_OFFERS
    if len(offers) > 1 and len(set(call.offer_ids)) < len(call.offer_ids):
        return Refusal.DUPLICATE_OFFER
    if None in offers and any(_of_an_earlier_master(t, offer_id) for offer_id in call.offer_ids):
        return Refusal.STALE_OFFER
    first = offers[0]
    for offer in offers:
        if offer is None or first is None:
            return Refusal.UNKNOWN_OFFER
        if offer.framework_id != framework.framework_id:
            return Refusal.NOT_YOUR_OFFER
        if offer.agent_id != first.agent_id:
            return Refusal.MIXED_AGENTS
        if offer.role != first.role:
            return Refusal.MIXED_ROLES
    return None


def _of_an_earlier_master(t: Tables, offer_id: str) -> bool:
    """Whether an offer id carries a lower epoch than this master's (D1)."""
    epoch, dash, _ = offer_id.partition("-")
    return bool(dash) and epoch.isdecimal() and int(epoch) < t.epoch


def _refuse_all(
    t: Tables, call: Accept, refusal: Refusal, message: str
) -> tuple[OperationResult, ...]:
    return tuple(OperationResult(t.no(refusal), message) for _ in call.operations)


def _use(
    t: Tables, framework: FrameworkEntry, call: Accept, offers: list[OutstandingOffer]
) -> tuple[OperationResult, ...]:
    """Take each operation in turn from what the offers hold; the rest goes back, refused."""
    agent = t.agents[offers[0].agent_id]
    agent_id = agent.info.agent_id
    left = offers[0].resources if len(offers) == 1 else total_of(o.resources for o in offers)
    role = offers[0].role
    results: list[OperationResult] = []
    launched: list[TaskEntry] = []
    sent: list[TaskEntry | Order] = []
    units: dict[str, int] = {}
    for operation in call.operations:
        if not isinstance(operation, Launch | InvalidLaunch):
            result, left = _change(t, framework, agent, role, operation, left, sent)
            results.append(result)
            continue
        refused = _why_not_launch(t, framework, agent, operation, left, role)
        if refused is not None:
            t.no(refused[0])
            results.append(OperationResult(*refused))
            continue
        task = _task_of(operation)
        left = NOTHING if left == task.resources else left - task.resources
        entry = TaskEntry(
            framework.framework_id,
            role,
            task,
            agent_id,
            TaskState.STAGING,
            holds=True,
            since_ms=t.now_ms,
        )
        fences.take(t, framework, entry)
        framework.tasks[task.task_id] = entry
        agent.tasks[framework.framework_id, task.task_id] = entry
        launched.append(entry)
        sent.append(entry)
        results.append(DONE)
        if isinstance(operation, Launch) and operation.request_id:
            units[operation.request_id] = units.get(operation.request_id, 0) + 1
    for offer in offers:
        conduct.answered(t, framework, offer)
    # In this order: the other way round a request that is met would be open again in between.
    requests.launched(t, framework, units)
    changed = len(sent) > len(launched)
    if changed:
        _settle_changed(t, agent, offers, launched)
    else:
        _settle(t, offers, left)
    # Who launches something may go on as fast as it likes. What it has changed and not used is
    # offered again at once: it was not there to be refused before.
    refuse_ms = call.refuse_ms
    refuse_ms = refuse_ms if sent or not left else conduct.refuse_ms(t, framework, refuse_ms)
    if not changed:
        _refuse_rest(t, framework, offers, left, units, refuse_ms)
    if sent:
        store.ride_along(t, framework, call.writes)
    _send(t, framework, agent, sent)
    return tuple(results)


def _change(
    t: Tables,
    framework: FrameworkEntry,
    agent: AgentEntry,
    role: str,
    change: Change | InvalidChange,
    left: Resources,
    sent: list[TaskEntry | Order],
) -> tuple[OperationResult, Resources]:
    """Make a change of what is left of the offers: what became of it, and what is left then."""
    why = orders.why_not(t, framework, agent, role, change, left)
    if why is not None or isinstance(change, InvalidChange):
        refusal, message = why or (Refusal.INVALID_OPERATION, "")
        return OperationResult(t.no(refusal), message), left
    order = orders.order_of(t, framework, role, change)
    taken, given = agent.estate.conversion(order)
    orders.enter(agent, order)
    framework.operations[change.operation_id] = agent.info.agent_id
    sent.append(order)
    return DONE, left - taken + given


def _task_of(operation: Operation) -> Task:
    if not isinstance(operation, Launch):
        raise AssertionError("what is no launch is refused before its task is asked for")
    return operation.task


def _why_not_launch(
    t: Tables,
    framework: FrameworkEntry,
    agent: AgentEntry,
    operation: Launch | InvalidLaunch,
    left: Resources,
    role: str,
) -> tuple[Refusal, str] | None:
    """The first reason why this task can not be launched on what is left. Only reads."""
    if isinstance(operation, InvalidLaunch):
        return Refusal.INVALID_TASK, operation.message
    task = operation.task
    if task.task_id in framework.tasks:
        return Refusal.DUPLICATE_TASK, f"there is a task {task.task_id} already"
    needs = task.resources
    unreserved = needs.scalar("cpus") or needs.scalar("mem")
    if not unreserved and not any(quantities(needs)[:2]):
        only = f", only for {task.resources}" if task.resources else ""
        return Refusal.NO_RESOURCES, f"task {task.task_id} asks for neither cpus nor mem{only}"
    if task.volumes or agent.estate.volumes:
        unmounted = _why_not_volumes(agent, task)
        if unmounted is not None:
            return unmounted
    if not left.covers(task.resources):
        passing = agent.estate.why_not_at_hand(task.resources, left)
        if passing is not None:
            return passing[0], f"{task.task_id} lacks {passing[1]}"
        lacks = requests.fits_nowhere(t, role, task.resources)
        if lacks is not None:
            return Refusal.NO_AGENT_FITS, f"{task.task_id}: {lacks}"
        return Refusal.TOO_LARGE, f"{task.task_id} lacks {left.missing(task.resources)}"
    if task.containerizer is not None and task.containerizer not in agent.info.containerizers:
        has = ", ".join(agent.info.containerizers)
        return Refusal.CONTAINERIZER_UNAVAILABLE, f"{task.containerizer!r}; it has {has}"
    if task.image is not None and "oci" not in agent.info.containerizers:
        return Refusal.CONTAINERIZER_UNAVAILABLE, "an image needs 'oci'"
    waiting = agent.unacknowledged[framework.framework_id]
    if waiting >= t.config.unacknowledged_max:
        return Refusal.TOO_MANY_UNACKNOWLEDGED, f"{waiting} ends of tasks wait on this agent"
    if len(agent.tasks) >= t.config.tasks_per_agent_max:
        return Refusal.AGENT_FULL, f"it has {len(agent.tasks)}"
    return None if task.fence is None else fences.why_not(t, framework, task)


def _why_not_volumes(agent: AgentEntry, task: Task) -> tuple[Refusal, str] | None:
    """A task holds each volume that it mounts whole, and no other: then nobody else is offered it.

    Whether nobody else has it is for the offers to say, as of everything.
    """
    held = volumes_in(task.resources)
    for mount in task.volumes:
        if all(volume.volume_id != mount.volume_id for volume in held):
            return Refusal.UNKNOWN_VOLUME, f"{task.task_id} mounts {mount.volume_id}"
    why = why_not_mounts(task.volumes, task.resources)
    if why is not None:
        return Refusal.INVALID_TASK, f"{task.task_id}: {why}"
    for volume in held:
        there = agent.estate.volumes.get((volume.role, volume.volume_id))
        if there is None or there.amount != volume.amount:
            return Refusal.UNKNOWN_VOLUME, f"{task.task_id} holds {volume.amount}"
    return None


def _settle(t: Tables, offers: list[OutstandingOffer], left: Resources) -> None:
    """Tell the allocator what of the offers stays in use: all but `left`."""
    for offer in offers:
        forget_offer(t, offer, "accepted")
    first = offers[0]
    if len(offers) == 1:
        _settle_one(t, first, first.resources - left if left else first.resources)
        return
    # Several offers: which of them a task took from is no matter, so give all back, charge the sum.
    for offer in offers:
        _settle_one(t, offer, NOTHING)
    used = total_of(o.resources for o in offers) - left
    if used:
        t.allocator.charge(first.framework_id, first.role, first.agent_id, used)


def _settle_changed(
    t: Tables,
    agent: AgentEntry,
    offers: list[OutstandingOffer],
    launched: list[TaskEntry],
) -> None:
    """As `_settle`, of an agent whose amounts have other keys by now."""
    for offer in offers:
        forget_offer(t, offer, "accepted")
    for offer in offers:
        _settle_one(t, offer, NOTHING)
    agent_id, first = agent.info.agent_id, offers[0]
    t.allocator.set_total(agent_id, agent.estate.total)
    for entry in launched:
        t.allocator.charge(first.framework_id, first.role, agent_id, entry.task.resources)


def _send(
    t: Tables, framework: FrameworkEntry, agent: AgentEntry, sent: list[TaskEntry | Order]
) -> None:
    """Launches and changes in their order: the agent does them in that order too."""
    if not sent:
        return
    if agent.stream is None:
        raise AssertionError(f"offers of {agent.info.agent_id} outlived its stream")
    if framework.framework_id not in agent.introduced:
        agent.introduced.add(framework.framework_id)
        reference = FrameworkReference(framework.framework_id, framework.principal, framework.info)
        t.emit(ToAgent(agent.stream, FrameworkAdded(reference)))
    for one in sent:
        if isinstance(one, Order):
            orders.send(t, agent, one)
            continue
        t.launch_count += 1
        run = RunTask(one.framework_id, one.role, one.task, one.fence_token)
        t.emit(ToAgent(agent.stream, run))


#: What is said of a launch that an earlier master may have sent to an agent which is not here.
REFUSED_OF_AGENT = {
    AgentState.UNREACHABLE: Refusal.AGENT_UNREACHABLE,
    AgentState.GONE: Refusal.AGENT_GONE,
}

# --- accepts across a failover --------------------------------------------------------------------


def _accept_of_an_earlier_master(
    t: Tables, framework: FrameworkEntry, call: Accept
) -> tuple[OperationResult, ...] | None:
    """The old master may have sent the launches: only the agent can tell (D2)."""
    agent = t.agents.get(call.agent_id)
    away = agent is not None and agent.state in (AgentState.AWAITED, AgentState.DISCONNECTED)
    if away and len(framework.waiting) >= t.config.results_max:
        return _refuse_all(t, call, Refusal.AGENT_UNREACHABLE, "too many accepts wait")
    if agent is not None and away:
        framework.waiting.add(call.number)
        agent.waiting.append(WaitingAccept(framework.framework_id, framework.session_id, call))
        return None
    return _truth_about(t, framework, call)


def _truth_about(t: Tables, framework: FrameworkEntry, call: Accept) -> tuple[OperationResult, ...]:
    """What became of the launches of an accept of an earlier master's offers."""
    agent = t.agents.get(call.agent_id)
    state = AgentState.ACTIVE if agent is None else agent.state
    refusal = REFUSED_OF_AGENT.get(state, Refusal.STALE_OFFER)
    results: list[OperationResult] = []
    for operation in call.operations:
        entry = None
        if isinstance(operation, Launch):
            entry = framework.tasks.get(operation.task.task_id)
        elif not isinstance(operation, InvalidLaunch):
            done = framework.operations.get(operation.operation_id) == call.agent_id
            results.append(DONE if done else OperationResult(t.no(refusal), call.agent_id))
            continue
        if entry is not None and entry.agent_id == call.agent_id:
            results.append(DONE)
        else:
            results.append(OperationResult(t.no(refusal), f"agent {call.agent_id}"))
    return tuple(results)


def answer_waiting(t: Tables, agent: AgentEntry) -> None:
    """The agent came back or was given up: now the truth about waiting accepts can be told."""
    waiting, agent.waiting = agent.waiting, []
    for one in waiting:
        framework = t.frameworks.get(one.framework_id)
        if framework is None or framework.session_id != one.session_id:
            continue
        framework.waiting.discard(one.accept.number)
        results = _truth_about(t, framework, one.accept)
        keep_results(t, framework, one.accept, results)
        if framework.stream is not None:
            t.emit(ToScheduler(framework.stream, AcceptResult(one.accept.number, results)))
