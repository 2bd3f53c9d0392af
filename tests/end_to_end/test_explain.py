"""`mesoslite explain` on real daemons: who holds, who refused, what is full, what was refused."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from mesoslite import Offer, Resources, TaskState
from tests.end_to_end.cluster import Cluster, running_cluster
from tests.end_to_end.command import COMMAND, COMMAND_S_MAX
from tests.end_to_end.recorder import Recorder, recording, task
from tests.end_to_end.waiting import wait_until

CLOCKS_MS = 50.0  # by which two processes' may differ


class Holder(Recorder):
    """Keeps every offer and says nothing."""

    def resource_offers(self, offers: Sequence[Offer]) -> None:
        self.offered += offers
        for offer in offers:
            self.hold(offer)


def command(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "explain", *words],
        env=os.environ | cluster.environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )


def explained(cluster: Cluster, *words: str) -> dict[str, Any]:
    done = command(cluster, "-o", "json", *words)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def reasons(cluster: Cluster, name: str) -> dict[str, dict[str, Any]]:
    """What `explain` says of a framework with one role."""
    [role] = explained(cluster, name)["framework"]["roles"]
    return {why["reason"]: why for why in role["whys"]}


def test_an_offer_that_is_held_names_its_holder_and_its_end() -> None:
    with running_cluster() as cluster, recording(cluster, Holder("holder")) as holder:
        cluster.start_agent("cpus:2;mem:512")
        wait_until(lambda: holder.offered, "the agent is offered")
        with recording(cluster, Recorder("waiting")):
            held = wait_until(lambda: reasons(cluster, "waiting").get("HELD"), "it is held")
            assert held["agents"] == 1
            assert held["offerId"] == holder.offered[0].offer_id
            assert held["message"].startswith(f"holder ({holder.subscriptions[0]}) holds")
            page = command(cluster, "waiting").stdout
            assert page.startswith("waiting (")
            assert "the lease of" in page
            asked_ms = time.time() * 1_000
            told_ms = float(explained(cluster, "waiting")["nowMs"])
            assert told_ms >= asked_ms - CLOCKS_MS, "as of the question, not of the last event"
        assert "1 unanswered offer in role *" in explained(cluster, "holder")["verdict"]


def test_what_is_refused_is_told_until_when_and_a_suppressed_role_as_such() -> None:
    with running_cluster() as cluster, recording(cluster, Recorder("picky", refuse_s=3_600)) as f:
        cluster.start_agent("cpus:2;mem:512")
        cluster.start_agent("cpus:2;mem:512")
        refused = wait_until(
            lambda: (
                (why := reasons(cluster, "picky").get("REFUSED")) and why["agents"] == 2 and why
            ),
            "both agents are refused",
        )
        assert isinstance(refused, dict)
        assert "it revives" in refused["remedy"]
        assert refused["untilMs"] > 0
        f.suppress()
        wait_until(lambda: set(reasons(cluster, "picky")) == {"SUPPRESSED"}, "it is suppressed")


def test_a_full_agent_a_refused_launch_and_a_name_that_nobody_has() -> None:
    large = task("large", "true", needs=Resources(cpus=9, mem=32))

    class Careless(Recorder):
        """Launches whatever fits, and once what does not."""

        def resource_offers(self, offers: Sequence[Offer]) -> None:
            if large.task_id not in self.latest() and not self.offered:
                self.offered += offers
                self.launch(offers[0], [large], refuse_s=0)
            else:
                super().resource_offers(offers)

    whole = task("whole", "exec sleep 600", needs=Resources(cpus=2, mem=512))
    with running_cluster() as cluster, recording(cluster, Careless("careless", [whole])) as f:
        cluster.start_agent("cpus:2;mem:512")
        f.until("whole", TaskState.RUNNING)
        full = wait_until(lambda: reasons(cluster, "careless").get("NOTHING_FREE"), "it is full")
        assert "careless" in full["remedy"]
        never = explained(cluster, "large")
        assert "lacks cpus:7" in never["verdict"]
        assert never["task"]["refusal"] in ("TOO_LARGE", "NO_AGENT_FITS")
        assert never["task"]["state"] is None
        runs = explained(cluster, "whole", "--framework", "careless")["task"]
        assert (runs["state"], runs["remedy"]) == ("RUNNING", "")
        nobody = command(cluster, "nobody")
        assert (nobody.returncode, nobody.stdout) == (3, "")
        assert nobody.stderr == "mesoslite: 'nobody' is no framework or task that is known here\n"
        not_its_own = command(cluster, "careless", "--role", "nosuch")
        assert (not_its_own.returncode, not_its_own.stdout) == (2, "")
        assert "in role nosuch, with which it did not subscribe: it sub" in not_its_own.stderr
        assert not_its_own.stderr.count("\n") == 1
        of_a_task = command(cluster, "whole", "--role", "*")
        assert of_a_task.returncode == 2
        assert of_a_task.stderr == "mesoslite: whole is a task: --role is of a framework\n"
