"""Kafka's scheduler: places, identities, what comes back where, and topics. No Kafka is run."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesoslite import (
    CreateVolume,
    Offer,
    OperationState,
    OperationStatus,
    Refusal,
    Reservation,
    Reserve,
    Resources,
    Task,
    TaskState,
)
from mesoslite.model import ID_PATTERN
from mesoslite.scheduler.protocol import OnOperation
from mesoslite.testing import AcceptOffers, Decisions, Harness, offer, status
from mesoslite_kafka.scheduler import MAKING_TOPICS, Kafka
from mesoslite_services.jars import LockList, locked
from mesoslite_services.java import NO_JAVA
from mesoslite_services.members import Member
from mesoslite_services.roster import IDENTITY, MEMBER, kept_as
from mesoslite_services.service import ENDPOINT, PLACING, WAITS_FOR
from mesoslite_services.sizes import heap_within, mem_for

NEED = Resources(cpus=0.5, mem=768, disk=2048)
PORTS = Resources(ports=[(31000, 31009)])


def fresh(agent: str, request_id: str = PLACING) -> Offer:
    """What an agent that nobody uses offers."""
    amount = NEED + PORTS
    return offer(resources=amount, agent_id=agent, role="kafka", request_id=request_id,
                 attributes="address:10.0.0.1")  # fmt: skip


def asked(made: Decisions) -> tuple[Reserve, CreateVolume] | None:
    """The place that was asked for."""
    for one in made:
        if isinstance(one, AcceptOffers):
            match one.operations:
                case (Reserve() as reserve, CreateVolume() as volume):
                    return reserve, volume
    return None


def back(agent: str, *reserves: Reserve, extra: Resources = Resources.EMPTY) -> Offer:
    """The offer of places that no task uses: reservations, and volumes of all their disk."""
    amount = extra
    for one in reserves:
        disk = Resources(disk=one.resources.disk)
        amount += (one.resources - disk).reserved("kafka", one.reservation_id)
        key = f"disk(kafka)({one.reservation_id})({one.reservation_id})"
        amount += Resources.from_amounts({key: disk.scalar("disk")})
    made = offer(resources=amount, agent_id=agent, role="kafka", offer_id=f"back-{agent}")
    return Offer(
        made.offer_id, made.framework_id, agent, agent, "kafka", amount, lease_ms=30_000,
        reservations=tuple(
            Reservation(one.reservation_id, "kafka", one.resources, one.labels)
            for one in reserves
        ),
    )  # fmt: skip


class Bench:
    """A Kafka with agents that have room."""

    def __init__(self, kafka: Kafka | None = None, after: Bench | None = None) -> None:
        """`after` another scheduler, which had the same store."""
        self.kafka = kafka or Kafka()
        self.bench = Harness(self.kafka)
        self.reserves: dict[str, Reserve] = {}
        if after is not None:
            self.reserves = after.reserves
            self.bench._shelf = after.bench._shelf
        self.bench.subscribed()
        self.kafka.look_no_more()  # time does not pass here

    def place(self, agent: str) -> Reserve:
        """The next broker gets its place there."""
        made = asked(self.bench.offers(fresh(agent)))
        assert made is not None
        self.reserves[agent] = made[0]
        return made[0]

    def launch(self, agent: str) -> Task:
        """What is launched on a place that is offered again."""
        [task] = self.bench.offers(back(agent, self.reserves[agent])).launched
        return task

    def runs(self) -> list[Task]:
        """Three brokers, placed and running."""
        agents = ("a1", "a2", "a3")
        for agent in agents:
            self.place(agent)
        tasks = [self.launch(agent) for agent in agents]
        for task, agent in zip(tasks, agents, strict=True):
            self.bench.status(status(task, TaskState.RUNNING, agent_id=agent))
        return tasks


def test_each_broker_gets_a_place_of_its_own_before_any_is_launched() -> None:
    bench = Bench()
    first = bench.place("a1")
    assert first.reservation_id == "kafka.broker-0"
    assert first.resources == NEED + Resources(ports=[(31000, 31001)])
    assert bench.bench.offers(back("a1", first)).launched == ()
    assert [bench.place(agent).reservation_id for agent in ("a2", "a3")] == [
        "kafka.broker-1",
        "kafka.broker-2",
    ]
    task = bench.launch("a1")
    assert (task.task_id, task.name) == ("broker-0.1", "broker-0")
    assert [(mount.volume_id, mount.path) for mount in task.volumes] == [("kafka.broker-0", "data")]
    assert task.resources.of_reservation("kafka.broker-0").ports == ((31000, 31001),)


def test_no_two_are_placed_on_one_agent_while_there_are_others() -> None:
    bench = Bench()
    made = bench.bench.offers(fresh("a1"))
    assert made.requested[-1].where == 'hostname not in ("a1")'
    assert asked(bench.bench.offers(fresh("a1"))) is None
    bench.bench.unsatisfiable(PLACING, Refusal.NO_AGENT_FITS, "no agent is elsewhere")
    assert asked(bench.bench.offers(fresh("a1"))) is not None


def test_the_store_says_where_a_broker_is_before_it_is_reserved() -> None:
    """In one accept (D16): there is never the reservation without the word that it is there."""
    bench = Bench()
    made = bench.bench.offers(fresh("a1"))
    [accept] = [one for one in made if isinstance(one, AcceptOffers)]
    assert sorted(write.key for write in accept.writes) == [IDENTITY, f"{MEMBER}broker-0"]
    kept = json.loads(bench.bench.entries[f"{MEMBER}broker-0"].value)
    assert (kept["agent"], kept["address"], kept["attempt"]) == ("a1", "10.0.0.1", 0)


def test_all_know_the_same_controllers_and_their_own_ports() -> None:
    tasks = Bench().runs()
    settings = [
        dict(line.split("=", 1) for line in task.environment["SERVER_PROPERTIES"].splitlines())
        for task in tasks
    ]
    voters = "0@10.0.0.1:31001,1@10.0.0.1:31001,2@10.0.0.1:31001"
    assert {each["controller.quorum.voters"] for each in settings} == {voters}
    assert [each["node.id"] for each in settings] == ["0", "1", "2"]
    assert {each["process.roles"] for each in settings} == {"broker,controller"}
    assert settings[0]["advertised.listeners"] == "BROKER://10.0.0.1:31000"
    assert settings[0]["min.insync.replicas"] == "2"
    assert len({task.environment["CLUSTER_ID"] for task in tasks}) == 1
    assert len(tasks[0].environment["CLUSTER_ID"]) == 22


def test_endpoints_and_what_is_waited_for_are_kept() -> None:
    bench = Bench()
    bench.place("a1")
    assert bench.bench.entries[WAITS_FOR].value.startswith(b"broker-1: a place with cpus:0.5;")
    bench = Bench()
    bench.runs()
    entries = bench.bench.entries
    assert WAITS_FOR not in entries
    assert entries[f"{ENDPOINT}broker-2"].value == b"10.0.0.1:31000"
    assert bench.kafka.endpoints() == "10.0.0.1:31000,10.0.0.1:31000,10.0.0.1:31000"


def test_a_dead_broker_comes_back_on_its_volume_as_who_it_was() -> None:
    bench = Bench()
    tasks = bench.runs()
    bench.bench.status(status(tasks[1], TaskState.FAILED, agent_id="a2", message="signal 9"))
    assert b"signal 9" in bench.bench.entries[WAITS_FOR].value
    assert bench.bench.offers(back("a2", bench.reserves["a2"])).launched == ()  # not at once
    bench.kafka.members["broker-1"].not_before_s = 0
    again = bench.launch("a2")
    assert again.task_id == "broker-1.2"
    assert again.volumes == tasks[1].volumes
    before, after = tasks[1].environment, again.environment
    assert before["SERVER_PROPERTIES"] == after["SERVER_PROPERTIES"]
    assert before["CLUSTER_ID"] == after["CLUSTER_ID"]


def test_a_broker_that_keeps_dying_is_launched_less_and_less_often() -> None:
    bench = Bench()
    bench.runs()
    waits = []
    for _ in range(9):
        member = bench.kafka.members["broker-0"]
        bench.bench.status(status(member.task_id, TaskState.RUNNING, agent_id="a1"))
        bench.bench.status(status(member.task_id, TaskState.FAILED, agent_id="a1"))
        [declined] = [
            one.refuse_ms
            for one in bench.bench.offers(back("a1", bench.reserves["a1"]))
            if hasattr(one, "refuse_ms")
        ]
        waits.append(round((declined or 0) / 1_000))
        member.not_before_s = 0
        bench.launch("a1")
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_another_scheduler_goes_on_where_the_last_one_was() -> None:
    bench = Bench()
    tasks = bench.runs()
    second = Bench(after=bench)
    assert second.bench.offers(fresh("a4")).launched == ()
    for task, agent in zip(tasks, ("a1", "a2", "a3"), strict=True):
        second.bench.status(status(task, TaskState.RUNNING, agent_id=agent))
    second.bench.status(status(tasks[0], TaskState.FAILED, agent_id="a1"))
    second.kafka.members["broker-0"].not_before_s = 0
    assert second.launch("a1").task_id == "broker-0.2"


def test_after_a_teardown_the_places_are_found_by_their_labels() -> None:
    """The store went with the framework; reservations and volumes stayed, one agent is away."""
    first = Bench()
    before = first.runs()
    second = Kafka()
    bench = Harness(second)
    bench.subscribed()
    for agent in ("a1", "a3"):
        assert bench.offers(back(agent, first.reserves[agent])).launched == ()
    second.look_no_more()
    assert bench.decisions().requested == ()  # broker-1 is somewhere: none is made anew
    assert b"broker-1: the place that an earlier run" in bench.entries[WAITS_FOR].value
    launched = bench.offers(*(back(agent, first.reserves[agent]) for agent in first.reserves))
    tasks = {task.name: task for task in launched.launched}
    assert "broker-1" in tasks
    [task] = bench.offers(back("a1", first.reserves["a1"])).launched or [tasks["broker-0"]]
    for name in ("CLUSTER_ID", "SERVER_PROPERTIES"):
        assert task.environment[name] == before[0].environment[name]


def test_places_that_are_found_late_are_the_services_while_none_is_placed_anew() -> None:
    """The agents of an earlier life may register only after the look for it was over."""
    first = Bench()
    before = first.runs()
    second = Kafka(brokers=4)
    bench = Harness(second)
    bench.subscribed()
    second.look_no_more()
    assert IDENTITY not in bench.entries
    places = [back(agent, reserve) for agent, reserve in first.reserves.items()]
    launched = {task.name: task for task in bench.offers(*places).launched}
    for place in places:
        launched |= {task.name: task for task in bench.offers(place).launched}
    assert sorted(launched) == ["broker-0", "broker-1", "broker-2"]
    for name in ("CLUSTER_ID", "SERVER_PROPERTIES"):
        assert launched["broker-0"].environment[name] == before[0].environment[name]
    assert asked(bench.offers(fresh("a4"))) is not None  # the one that is new
    assert second.members["broker-3"].place is not None


def test_places_of_another_service_stay_another_s_once_a_broker_is_placed() -> None:
    first, second = Bench(), Bench()
    first.runs()
    second.place("a4")
    assert second.bench.offers(back("a1", first.reserves["a1"])).launched == ()
    assert second.kafka.identity != first.kafka.identity
    assert second.kafka.members["broker-1"].place is None


def test_a_place_that_could_not_be_had_is_looked_for_elsewhere() -> None:
    bench = Bench()
    made = bench.bench.offers(fresh("a1"))
    reserve, _ = asked(made) or (None, None)
    assert reserve is not None
    refused = OperationStatus(
        reserve.operation_id, OperationState.DROPPED, "a1", message="its agent went away"
    )
    again = bench.bench.call(OnOperation(refused))
    assert again.requested[-1].where == ""
    assert f"{MEMBER}broker-0" not in bench.bench.entries
    assert bench.place("a2").reservation_id == "kafka.broker-0"


def test_the_end_of_an_earlier_place_takes_nothing_from_the_present_one() -> None:
    bench = Bench()
    first = bench.place("a1")
    lost = OperationStatus(first.operation_id, OperationState.DROPPED, "a1")
    bench.bench.call(OnOperation(lost))
    second = bench.place("a2")
    bench.bench.call(OnOperation(lost))  # as it may be said again
    place = bench.kafka.members["broker-0"].place
    assert place is not None
    assert place.agent_id == "a2"
    after = Bench(after=bench)  # it knows which one from the store
    after.bench.call(OnOperation(OperationStatus(second.operation_id, OperationState.DROPPED)))
    assert f"{MEMBER}broker-0" not in after.bench.entries


@pytest.mark.parametrize("name", ["my kafka", "k" * 120])
def test_a_name_that_no_reservation_can_have_is_told_apart_by_its_hash(name: str) -> None:
    kafka = Kafka()
    kafka.name = name
    reserve = Bench(kafka).place("a1")
    assert ID_PATTERN.fullmatch(reserve.reservation_id)
    assert reserve.reservation_id.endswith(".broker-0")
    assert reserve.labels["service"] == name
    other = kept_as(name.replace(" ", "-") + "k", Member("broker-0", 0))
    assert other != reserve.reservation_id


def test_a_volume_that_was_not_made_is_asked_for_again() -> None:
    bench = Bench()
    reserve = bench.place("a1")
    amount = reserve.resources.reserved("kafka", reserve.reservation_id)
    made = bench.bench.offers(offer(resources=amount, agent_id="a1", role="kafka"))
    [accept] = [one for one in made if isinstance(one, AcceptOffers)]
    [volume] = accept.operations
    assert isinstance(volume, CreateVolume)
    assert volume.volume_id == "kafka.broker-0"


def test_a_host_without_java_is_told_what_to_install(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    tasks = bench.runs()
    bench.bench.status(status(tasks[0], TaskState.FAILED, agent_id="a1", exit_code=NO_JAVA))
    assert "apt-get install openjdk-17-jre-headless" in caplog.text
    assert b"there is no Java on its host" in bench.bench.entries[WAITS_FOR].value
    assert bench.kafka.needs_people.startswith("broker-0: there is no Java on its host: install")


def test_one_broker_is_its_own_controller_and_more_join_it_later() -> None:
    bench = Bench(Kafka(brokers=1))
    bench.place("a1")
    alone = bench.launch("a1")
    assert "controller.quorum.voters=0@10.0.0.1:31001\n" in alone.environment["SERVER_PROPERTIES"]
    grown = Bench(Kafka(brokers=3), after=bench)
    grown.place("a2")
    task = grown.launch("a2")
    settings = task.environment["SERVER_PROPERTIES"]
    assert "process.roles=broker\n" in settings
    assert "controller.quorum.voters=0@10.0.0.1:31001\n" in settings


def test_a_heap_that_its_place_has_no_room_for_stays_as_it_was() -> None:
    bench = Bench(Kafka(brokers=1, heap="512MiB"))
    bench.place("a1")
    assert bench.launch("a1").environment["HEAP"] == "512m"
    larger = Bench(Kafka(brokers=1, heap="2GiB"), after=bench)
    assert larger.launch("a1").environment["HEAP"] == "512m"


@given(st.integers(64, 1 << 20), st.integers(0, 4_096))
def test_a_heap_is_found_again_from_the_memory_that_it_needs(heap: int, beside: int) -> None:
    assert heap_within(mem_for(heap, beside), beside) == heap


def test_topics_are_made_once_all_brokers_run() -> None:
    bench = Bench(Kafka(topic=["events:12:3", "plain"]))
    agents = ("a1", "a2", "a3")
    for agent in agents:
        bench.place(agent)
    tasks = [bench.launch(agent) for agent in agents]
    for task, agent in zip(tasks[:2], agents, strict=False):
        assert bench.bench.status(status(task, TaskState.RUNNING, agent_id=agent)).requested == ()
    made = bench.bench.status(status(tasks[2], TaskState.RUNNING, agent_id="a3"))
    assert [one.request_id for one in made.requested] == [MAKING_TOPICS]
    [task] = bench.bench.offers(offer(role="kafka", request_id=MAKING_TOPICS)).launched
    assert task.environment["TOPICS"] == "events:12:3 plain:3:3"
    assert task.environment["BOOTSTRAP"] == bench.kafka.endpoints()
    bench.bench.status(status(task, TaskState.FAILED, message="nobody answers"))
    assert bench.bench.offers(offer(role="kafka", request_id=MAKING_TOPICS)).launched == ()
    bench.kafka._topics_not_before_s = 0
    [task] = bench.bench.offers(offer(role="kafka", request_id=MAKING_TOPICS)).launched
    made = bench.bench.status(status(task, TaskState.FINISHED))
    [withdrawn] = made.requested
    assert (withdrawn.request_id, withdrawn.count) == (MAKING_TOPICS, 0)
    assert {"topic/events", "topic/plain"} <= set(bench.bench.entries)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"brokers": 0}, "1 to 100 brokers"),
        ({"heap": "much"}, "--heap is a size"),
        ({"disk": "1TB"}, "--disk is a size"),
        ({"topic": ["a/b"]}, "--topic is NAME"),
        ({"topic": ["a:0"]}, "--topic is NAME"),
    ],
)
def test_what_can_not_be_is_said(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Kafka(**options)  # type: ignore[arg-type]


def test_settings_of_the_command_line_go_before_those_that_are_chosen() -> None:
    bench = Bench(Kafka(brokers=1, config={"num.partitions": "7", "log.retention.ms": "1"}))
    bench.place("a1")
    settings = bench.launch("a1").environment["SERVER_PROPERTIES"]
    assert "num.partitions=7\n" in settings
    assert "log.retention.ms=1\n" in settings


def test_its_lock_list_reads_back_and_each_jar_has_a_name_of_its_own() -> None:
    found = locked("mesoslite_kafka")
    assert LockList.parse(found.text) == found
    uris = found.uris()
    assert len({uri.output_file for uri in uris}) == len(uris)
    assert "jars/kafka_2.13-4.1.0.jar" in {uri.output_file for uri in uris}
    with pytest.raises(ValueError, match="line 2 is neither"):
        LockList.parse("root a:b:1\nrubbish\n")


def test_a_lock_list_says_what_its_roots_are_to_be_without() -> None:
    text = f"# why\nroot a:b:1\nwithout c:d\n{'0' * 64} maven:a:b:1\n"
    assert LockList.parse(text).without == ("c:d",)
    assert LockList.parse(text).text == text
