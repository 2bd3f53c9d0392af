"""What the author of a framework writes and calls, and how it is tested without a master."""

import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import mesoslite
from mesoslite import (
    Offer,
    Policy,
    Refusal,
    Request,
    Resources,
    Scheduler,
    Task,
    TaskReference,
    TaskState,
    TaskStatus,
    run,
    take_fitting,
)
from mesoslite.model import DEFAULT_FAILOVER_TIMEOUT_MS, FrameworkInfo, Launch
from mesoslite.scheduler import calling
from mesoslite.scheduler.protocol import (
    AcceptOffers,
    AcknowledgeStatus,
    DeclineOffers,
    DropRequests,
    HoldOffer,
    KillTask,
    MakeRequest,
    OnStatus,
    OnSubscribed,
    ReconcileTasks,
    ReviveRoles,
    SendMessage,
    Stop,
    SuppressRoles,
    Teardown,
)
from mesoslite.scheduler.scheduler import (
    LAUNCHED_MAX,
    MESSAGE_DATA_BYTES_MAX,
    PASSED_OVER_MAX,
    framework_info,
)
from mesoslite.testing import Harness, SessionHarness, offer, status


def task(task_id: str = "t1", cpus: float = 1) -> Task:
    return Task(task_id, ["true"], Resources(cpus=cpus, mem=32))


class Plain(Scheduler):
    name = "plain"
    roles = ("ads", "web")


class ByHand(Scheduler):
    name = "by-hand"
    acknowledge_automatically = False


def odd(**parts: object) -> Task:
    """A task with parts of kinds that it should not have."""
    fields: dict[str, Any] = {"task_id": "t", "command": ["x"], "resources": Resources(cpus=1)}
    return Task(**(fields | parts))


def decisions(scheduler: Scheduler) -> list[object]:
    return list(Harness(scheduler).decisions())


# --- calls ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("takes", [Harness, SessionHarness, framework_info, run])
def test_a_class_instead_of_an_object_is_told_so_at_once(takes: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"Plain is a class of schedulers.*, as Plain\(\)$"):
        takes(Plain)
    with pytest.raises(TypeError, match="this is no Scheduler but str: plain"):
        takes("plain")


def test_each_call_records_one_decision() -> None:
    plain = Plain()
    one = offer(role="ads")
    plain.launch(one, task(), refuse_s=0.5)
    plain.launch([one], [task("a"), task("b")])
    plain.launch(one, [])
    plain.decline(one, refuse_s=3600)
    plain.decline([])
    plain.hold(one)
    plain.kill("t1")
    plain.kill(task("t2"), grace_s=0)
    plain.kill(status("t3", TaskState.RUNNING), grace_s=1.5)
    plain.revive()
    plain.suppress("ads")
    plain.reconcile()
    plain.reconcile("t1", status("t2", TaskState.RUNNING), TaskReference("t3", "a3"))
    plain.message("t1", "a1", b"hi")
    plain.teardown()
    plain.stop()
    assert decisions(plain) == [
        AcceptOffers((one,), (Launch(task()),), 500),
        AcceptOffers((one,), (Launch(task("a")), Launch(task("b"))), None),
        DeclineOffers((one,), None),
        DeclineOffers((one,), 3_600_000),
        HoldOffer(one),
        KillTask("t1", None),
        KillTask("t2", 0),
        KillTask("t3", 1_500),
        ReviveRoles(()),
        SuppressRoles(("ads",)),
        ReconcileTasks(()),
        ReconcileTasks(
            (TaskReference("t1"), TaskReference("t2", "agent-1"), TaskReference("t3", "a3"))
        ),
        SendMessage("t1", "a1", b"hi"),
        Teardown(),
        Stop(),
    ]


def test_acknowledging_by_hand_is_for_those_who_said_so() -> None:
    by_hand, running = ByHand(), status("t1", TaskState.RUNNING)
    by_hand.acknowledge(running)
    assert decisions(by_hand) == [AcknowledgeStatus(running)]
    with pytest.raises(RuntimeError, match="acknowledged when status_update returns"):
        Plain().acknowledge(running)


WRONG: list[tuple[str, Callable[[Plain], None], str]] = [
    ("nothing", lambda s: s.launch([], task()), "launch needs an offer"),
    (
        "agents",
        lambda s: s.launch([offer(agent_id="a"), offer(agent_id="b")], task()),
        "of one agent",
    ),
    (
        "roles",
        lambda s: s.launch([offer(role="ads"), offer(role="web", offer_id="o2")], task()),
        "one role",
    ),
    ("twice", lambda s: s.launch([offer(), offer()], task()), "names an offer twice"),
    ("no task", lambda s: s.launch(offer(), "t1"), "no Task but str: t"),  # type: ignore[arg-type]
    ("no offer", lambda s: s.decline("o1"), "no Offer but str: o"),  # type: ignore[arg-type]
    ("task id", lambda s: s.launch(offer(), task("a/b")), "'a/b' is no task id"),
    ("dots", lambda s: s.kill(".."), r"'\.\.' is no task id"),
    ("number", lambda s: s.kill(7), "text, not int"),  # type: ignore[arg-type]
    (
        "resources",
        lambda s: s.launch(offer(), Task("t", ["x"], {"cpus": 1})),  # type: ignore[arg-type]
        "resources are Resources, not dict",
    ),
    (
        "environment",
        lambda s: s.launch(offer(), odd(environment={"N": 1})),
        "task t: '1' is int, not text",
    ),
    (
        "surrogate",
        lambda s: s.launch(offer(), Task("t", ["x", "\udc80"], Resources(cpus=1))),
        "is no Unicode",
    ),
    (
        "seconds",
        lambda s: s.launch(offer(), odd(max_completion_ms=1.5)),
        r"1\.5 is no whole number",
    ),
    (
        "uris",
        lambda s: s.launch(offer(), odd(uris=["file:///x"])),
        "uris are Uri objects, not str",
    ),
    ("fence", lambda s: s.launch(offer(), odd(fence=7)), "the id of a fence is text, not int"),
    ("no fence", lambda s: s.launch(offer(), odd(fence="")), "'' is no fence id"),
    ("blank fence", lambda s: s.launch(offer(), odd(fence="a b")), "'a b' is no fence id"),
    ("command", lambda s: s.launch(offer(), Task("t", [], Resources(cpus=1))), "has no words"),
    (
        "too many",
        lambda s: s.launch(offer(), [task(f"t{n}") for n in range(LAUNCHED_MAX + 1)]),
        "over the limit",
    ),
    ("negative", lambda s: s.decline(offer(), refuse_s=-1), "refuse_s is 0 to 31536000 seconds"),
    ("not a number", lambda s: s.decline(offer(), refuse_s=float("nan")), "refuse_s is 0 to"),
    ("text", lambda s: s.kill("t", grace_s="5"), "number of seconds"),  # type: ignore[arg-type]
    ("grace", lambda s: s.kill("t", grace_s=3_601), "grace_s is 0 to 3600 seconds"),
    ("role", lambda s: s.revive("db"), "'db' is not among the framework's roles: ads, web"),
    ("role too", lambda s: s.suppress("*"), r"'\*' is not among"),
    ("bytes", lambda s: s.message("t", "a", "hi"), "bytes, not str"),  # type: ignore[arg-type]
    (
        "large",
        lambda s: s.message("t", "a", bytes(MESSAGE_DATA_BYTES_MAX + 1)),
        "over the limit",
    ),
]


@pytest.mark.parametrize(("call", "why"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_what_can_not_be_right_raises_at_the_call(call: Callable[[Plain], None], why: str) -> None:
    plain = Plain()
    with pytest.raises((TypeError, ValueError), match=why):
        call(plain)
    assert decisions(plain) == []


def test_calls_from_many_threads_are_all_recorded() -> None:
    plain = Plain()
    heard = []
    plain._on_call(lambda: heard.append(1))

    def kill_many(prefix: int) -> None:
        for number in range(100):
            plain.kill(f"t{prefix}-{number}")

    threads = [threading.Thread(target=kill_many, args=(prefix,)) for prefix in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(str, decisions(plain)))) == len(heard) == 800


def test_a_scheduler_need_not_call_super_init() -> None:
    class Bare(Scheduler):
        name = "bare"

        def __init__(self, size: int) -> None:
            self.size = size

    bare = Bare(3)
    bare.stop()
    assert decisions(bare) == [Stop()]


# --- who it is ------------------------------------------------------------------------------------


def test_a_framework_is_described_by_its_class() -> None:
    assert framework_info(Plain(), "host-1") == FrameworkInfo(
        "plain", ("ads", "web"), DEFAULT_FAILOVER_TIMEOUT_MS, "host-1"
    )


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"name": ""}, "needs a name"),
        ({"name": "a\nb"}, "needs a name"),
        ({"roles": "ads"}, "list of roles"),
        ({"roles": ()}, "one role or more"),
        ({"roles": ("a", "a")}, "each once"),
        ({"roles": ("-a",)}, "begins with '-'"),
        ({"failover_timeout_s": -1}, "failover_timeout_s is 0 to"),
        ({"failover_timeout_s": None}, "number of seconds"),
    ],
)
def test_a_class_that_can_not_be_subscribed_says_why(
    attributes: dict[str, object], why: str
) -> None:
    scheduler = type("Wrong", (Plain,), attributes)()
    with pytest.raises((TypeError, ValueError), match=why):
        framework_info(scheduler)


# --- take_fitting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("queue", [list, deque])
def test_take_fitting_takes_in_order_what_fits_together(
    queue: Callable[[list[Task]], list[Task]],
) -> None:
    waiting = queue([task("a", 2), task("b", 3), task("c", 1), task("d", 1), task("e", 0.5)])
    taken = take_fitting(waiting, Resources(cpus=4, mem=1024))
    assert [one.task_id for one in taken] == ["a", "c", "d"]
    assert [one.task_id for one in waiting] == ["b", "e"]


def test_take_fitting_takes_what_is_reserved_for_the_role_first() -> None:
    offered = Resources.parse("cpus(ads):2;cpus:4;mem(ads):64;mem:64;ports(ads):[80-81]")
    needs = [
        "cpus:1;mem:32",
        "cpus:2;mem:64;ports:[81-81]",
        "cpus(ads):1",
        "cpus:2;mem:64",
        "cpus:3",
    ]
    waiting = [Task(f"t{n}", ["x"], Resources.parse(need)) for n, need in enumerate(needs)]
    taken = take_fitting(waiting, offered)
    assert [(one.task_id, str(one.resources)) for one in taken] == [
        ("t0", "cpus(ads):1;mem(ads):32"),
        ("t1", "cpus:1;cpus(ads):1;mem:32;mem(ads):32;ports(ads):[81-81]"),
        ("t4", "cpus:3"),
    ]
    assert [one.task_id for one in waiting] == ["t2", "t3"]


def test_take_fitting_takes_no_port_twice() -> None:
    both = [Task(f"t{n}", ["x"], Resources(cpus=1, ports=[(80, 80)])) for n in range(2)]
    assert len(take_fitting(both, Resources(cpus=4, ports=[(80, 90)]))) == 1


def test_take_fitting_looks_past_a_bounded_number_of_large_tasks() -> None:
    waiting = [task(f"large-{n}", 9) for n in range(PASSED_OVER_MAX)] + [task("small")]
    assert take_fitting(waiting, Resources(cpus=4, mem=64)) == []
    assert len(waiting) == PASSED_OVER_MAX + 1
    waiting.pop(0)
    assert [one.task_id for one in take_fitting(waiting, Resources(cpus=4, mem=64))] == ["small"]


def test_take_fitting_takes_no_more_than_one_launch_may_hold() -> None:
    waiting = [task(f"t{n}", 0.001) for n in range(LAUNCHED_MAX + 5)]
    assert len(take_fitting(waiting, Resources(cpus=100, mem=10**6))) == LAUNCHED_MAX
    assert len(waiting) == 5


# --- the harness ----------------------------------------------------------------------------------


class Sleepers(Scheduler):
    """The example of the class's own docstring, with a coroutine in it."""

    name = "sleepers"

    def __init__(self) -> None:
        self.waiting = [task(f"nap-{n}", 0.5) for n in range(9)]
        self.left = 9

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for one in offers:
            self.launch(one, take_fitting(self.waiting, one.resources))

    async def status_update(self, status: TaskStatus) -> None:
        self.left -= status.terminal
        if status.state is TaskState.UNREACHABLE:
            self.kill(status)


def test_the_harness_shows_what_a_callback_decided() -> None:
    bench = Harness(Sleepers())
    assert bench.offers(offer(cpus=0.25)).declined == ("offer-of-agent-1",)
    assert len(bench.offers(offer(cpus=2)).launched) == 4
    assert bench.status(status("nap-0", TaskState.UNREACHABLE)).killed == ("nap-0",)
    assert bench.status(status("nap-1", TaskState.FINISHED)) == []
    assert isinstance(bench.scheduler, Sleepers)
    assert bench.scheduler.left == 8


async def test_the_harness_says_where_it_can_not_run_coroutines() -> None:
    with pytest.raises(RuntimeError, match="plain function"):
        Harness(Sleepers()).status(status("nap-1", TaskState.FINISHED))


def test_every_callback_can_be_called_and_does_nothing_unless_overridden() -> None:
    bench = Harness(Plain())
    assert bench.subscribed() == []
    assert bench.offers(offer()) == []
    assert bench.rescinded(offer()) == []
    assert bench.status(status("t", TaskState.FAILED)) == []
    assert bench.message("t", b"x") == []
    assert bench.agent_lost() == []
    assert bench.disconnected() == []
    assert bench.error(Refusal.FENCED) == []


def test_the_driver_can_tell_which_callbacks_the_author_wrote() -> None:
    assert calling.overridden(Sleepers(), OnStatus(status("t", TaskState.FAILED)))
    assert not calling.overridden(Sleepers(), OnSubscribed("f"))


def test_an_exception_in_a_callback_is_raised_by_the_harness() -> None:
    class Broken(Scheduler):
        name = "broken"

        def subscribed(self, framework_id: str) -> None:
            raise LookupError(framework_id)

    with pytest.raises(LookupError, match="framework-1"):
        Harness(Broken()).subscribed()


# --- the package ----------------------------------------------------------------------------------


def test_importing_the_library_loads_neither_grpc_nor_protobuf() -> None:
    code = (
        "import sys, mesoslite, mesoslite.testing;"
        "print(sorted({'grpc', 'google', 'structlog', 'typer'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_public_names_are_sorted_and_exist() -> None:
    assert mesoslite.__all__ == sorted(mesoslite.__all__)
    assert all(hasattr(mesoslite, name) for name in mesoslite.__all__)


# --- requests -------------------------------------------------------------------------------------


def test_a_request_records_what_one_unit_needs() -> None:
    plain = Plain()
    first = plain.request(cpus=2, mem="4GiB", count=10, where="rack != r1", role="ads")
    more = Resources(licences=1, ports="[80-80]")
    second = plain.request(cpus=1, resources=more, ports=2, policy="binpack", role="web")
    plain.request(mem=32, count=0, role="web", request_id="mine")
    plain.withdraw("mine", first)
    plain.withdraw()
    assert (first, second) == ("r1", "r2")
    unit = Resources(cpus=1, licences=1, ports="[80-80]")
    assert decisions(plain) == [
        MakeRequest(
            Request("r1", "ads", Resources(cpus=2, mem=4_096), 10, where="rack != r1"),
        ),
        MakeRequest(Request("r2", "web", unit, 1, 2, policy=Policy.BINPACK)),
        MakeRequest(Request("mine", "web", Resources(mem=32), 0)),
        DropRequests(("mine", "r1")),
        DropRequests(()),
    ]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"role": "other"}, "'other' is not among the framework's roles"),
        ({}, "which role of"),
        ({"count": -1, "role": "web"}, "count must be 0 to 1,000,000, not -1"),
        ({"count": 2.0, "role": "web"}, "count is a whole number, not float"),
        ({"ports": 70_000, "role": "web"}, "ports must be 0 to 65,535"),
        (
            {"cpus": 0, "role": "web"},
            "a unit must need 0.001 cpus or some mem at least, not nothing",
        ),
        ({"cpus": "two", "role": "web"}, "'two'"),
        ({"where": "rack is r1", "role": "web"}, "at character 6"),
        ({"policy": "pack", "role": "web"}, "policy is 'spread' or 'binpack', not 'pack'"),
        ({"where": 5, "role": "web"}, "where is text, not int"),
        ({"request_id": 5, "role": "web"}, "request_id is text, not int"),
        ({"resources": "cpus:1", "role": "web"}, "resources are Resources, not str"),
        ({"request_id": "a b", "role": "web"}, "request_id must be 1 to 128"),
        ({"resources": Resources(cpus=1, role="ads"), "role": "web"}, "a unit names no roles"),
        ({"resources": Resources(tags={str(n) for n in range(200)}), "role": "web"}, "at most 100"),
    ],
)
def test_a_request_that_can_not_be_right_raises_at_once(wrong: dict[str, Any], says: str) -> None:
    plain = Plain()
    with pytest.raises((ValueError, TypeError), match=re.escape(says)):
        plain.request(**{"cpus": 1, **wrong})
    assert decisions(plain) == []
