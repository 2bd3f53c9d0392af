"""Watching a scheduler at work without its help."""

from collections.abc import Sequence

from mesoslite import Offer, Resources, Scheduler, Task, TaskState, TaskStatus
from mesoslite.cli.watch import Moment, Story, shortened, watched
from mesoslite.testing import Decisions, Harness, offer, status


class Once(Scheduler):
    """Launches one task, on the first offer only."""

    name = "once"
    launched = False

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        for one in offers:
            if not self.launched:
                self.launched = True
                self.launch(one, Task("t", ["true"], Resources(cpus=1, mem=32)))

    def status_update(self, status: TaskStatus) -> None:
        if status.state is TaskState.RUNNING:
            self.kill(status.task_id)


class Bench:
    def __init__(self) -> None:
        self.story = Story()
        self.moments: list[Moment] = []
        self.harness = Harness(watched(Once, self.story, self.moments.append)())

    def offers(self, *agents: str) -> Decisions:
        return self.harness.offers(*(offer(cpus=2, mem=64, agent_id=agent) for agent in agents))

    def told(self) -> list[tuple[int, str]]:
        return [(moment.step, moment.text) for moment in self.moments]


def test_offers_and_decisions_are_told_and_the_decisions_stay_the_same() -> None:
    bench = Bench()
    assert [task.task_id for task in bench.offers("a1", "a2").launched] == ["t"]
    assert bench.told() == [
        (2, "a1 has 2 cpus, 64 MiB to offer"),
        (2, "a2 has 2 cpus, 64 MiB to offer"),
        (3, "launch t on a1"),
        (3, "leave the offer of a2"),
    ]
    assert bench.harness.scheduler.name == "once"


def test_each_state_is_told_once_and_what_follows_from_it() -> None:
    bench = Bench()
    bench.offers("a1")
    bench.moments.clear()
    for state in (TaskState.RUNNING, TaskState.RUNNING, TaskState.KILLED):
        bench.harness.status(status("t", state, agent_id="a1", message="why"))
    assert bench.told() == [
        (4, "t on a1"),
        (3, "end t"),
        (3, "end t"),
        (4, "t on a1: why"),
    ]
    assert [moment.state for moment in bench.moments if moment.step == 4] == ["RUNNING", "KILLED"]


def test_the_story_knows_who_holds_what_and_how_long_it_took() -> None:
    bench = Bench()
    bench.offers("a1")
    assert bench.story.used("a1") == Resources(cpus=1, mem=32)
    bench.harness.status(status("t", TaskState.RUNNING, agent_id="a1"))
    assert len(bench.story.latencies_s) == 1
    bench.harness.status(status("t", TaskState.FINISHED, agent_id="a1"))
    assert bench.story.used("a1") == Resources.EMPTY
    assert bench.story.ends() == {"FINISHED": 1}


def test_percentiles_are_of_the_nearest_rank() -> None:
    story = Story(latencies_s=[n / 100 for n in range(100, 0, -1)])
    assert story.percentile_s(50) == 0.5
    assert story.percentile_s(99) == 0.99
    assert Story().percentile_s(50) is None
    assert Story(latencies_s=[3.0]).percentile_s(99) == 3.0


def test_long_lists_of_names_are_cut() -> None:
    assert shortened(["a", "b"]) == "a, b"
    assert shortened([str(n) for n in range(9)]) == "0, 1, 2, 3 and 5 more"
