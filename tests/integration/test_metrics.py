"""Probes and metrics of real daemons: what they tell, and that docs/metrics.md tells of it all."""

import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from mesoslite.master.registry import FILE_NAME as REGISTRY
from tests.integration.containers import Place
from tests.integration.daemons import AGENT, MASTER, Cluster, Daemon, cluster_in, tried
from tests.integration.waiting import until

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([`\w, ]*) ?\| \S")


class Family(NamedTuple):
    """What is documented of a family."""

    name: str
    kind: str
    labels: frozenset[str]


@pytest.fixture
async def cluster(place: Place) -> AsyncIterator[Cluster]:
    with cluster_in(place.work_dir) as made:
        await made.master.start()
        yield made


def documented(*sections: str) -> set[Family]:
    parts = dict(part.partition("\n")[::2] for part in DOCUMENT.read_text().split("\n## ") if part)
    rows = [ROW.match(line) for section in sections for line in parts[section].splitlines()]
    return {Family(row[1], row[2], frozenset(re.findall(r"\w+", row[3]))) for row in rows if row}


def exported(text: str) -> dict[str, tuple[str, set[str]]]:
    """Name -> its type and the labels that occur."""
    found: dict[str, tuple[str, set[str]]] = {}
    for family in plain(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = family.type, labels
    return found


def assert_documented(daemon: Daemon, *sections: str) -> None:
    shown = exported(daemon.http.metrics().text)
    told = {family.name: family for family in documented(*sections)}
    assert shown.keys() == told.keys()
    for name, (kind, labels) in shown.items():
        assert kind == told[name].kind, name
        assert labels <= told[name].labels, name


async def test_every_metric_is_in_the_document_and_no_other(cluster: Cluster) -> None:
    agent = await cluster.start_agent("--kill-on-exit")
    await until(lambda: cluster.agents_active() == 1)
    assert_documented(cluster.master, "Both", "The master's")
    assert_documented(agent, "Both", "The agent's")
    assert cluster.master.http.number("mesoslite_agents", state="active") == 1
    assert cluster.master.http.number("mesoslite_cluster_resources", resource="cpus") == 4
    assert agent.http.number("mesoslite_master_connected") == 1
    assert agent.stop() == 0


async def test_openmetrics_is_told_to_who_asks_for_it(cluster: Cluster) -> None:
    answer = cluster.master.http.metrics(
        accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    )
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    read: list[Metric] = list(openmetrics(answer.text))  # type: ignore[no-untyped-call]
    assert {"mesoslite_offers_made", "mesoslite_tasks"} <= {family.name for family in read}


async def test_an_agent_is_ready_while_it_is_registered_and_says_why_not(cluster: Cluster) -> None:
    agent = await cluster.start_agent("--kill-on-exit")
    await until(lambda: agent.http.ask("/readyz").status == 200)
    assert agent.http.ask("/version").json["program"] == "mesoslite-agent"
    master = cluster.address
    assert cluster.master.stop() == 0
    await until(lambda: agent.http.ask("/readyz").status == 503)
    assert master in agent.http.ask("/readyz").text
    assert agent.http.ask("/healthz").status == 200
    assert agent.http.number("mesoslite_ready") == 0
    assert agent.stop() == 0
    assert "Traceback" not in agent.said


async def test_a_master_is_not_ready_while_its_registry_cannot_be_written(cluster: Cluster) -> None:
    assert cluster.master.http.ask("/readyz").text == "ready\n"
    registry = sqlite3.connect(cluster.master.folder / "work" / REGISTRY, isolation_level=None)
    try:
        registry.execute("BEGIN IMMEDIATE")
        agent = await cluster.start_agent("--kill-on-exit")  # its registration is to be written
        await until(lambda: cluster.master.http.ask("/readyz").status == 503)
        assert "cannot write" in cluster.master.http.ask("/readyz").text
        assert cluster.master.http.number("mesoslite_ready") == 0
        assert cluster.master.http.number("mesoslite_commit_failures_total") >= 1
        assert agent.http.ask("/readyz").status == 503
        registry.execute("ROLLBACK")
        await until(lambda: cluster.master.http.ask("/readyz").status == 200)
        await until(lambda: agent.http.ask("/readyz").status == 200)
    finally:
        registry.close()
    assert agent.stop() == 0


async def test_without_http_there_is_no_port_and_all_else_works(cluster: Cluster) -> None:
    agent = await cluster.start_agent("--kill-on-exit", "--http-port=none")
    await until(lambda: cluster.agents_active() == 1)
    assert not (agent.folder / "http").exists()
    assert agent.stop() == 0


async def test_open_metrics_need_no_token(cluster: Cluster) -> None:
    assert cluster.master.http.ask("/metrics").status == 401
    agent = await cluster.start_agent("--kill-on-exit", "--open-metrics")
    assert agent.http.ask("/metrics").status == 200
    assert agent.stop() == 0
    assert not (agent.folder / "http").exists()


@pytest.mark.parametrize("module", [MASTER, AGENT])
async def test_an_http_port_in_use_is_one_clear_line(cluster: Cluster, module: str) -> None:
    port = cluster.master.http.port
    out = tried(
        module, "--port=0", f"--http-port={port}",
        f"--work-dir={cluster.folder / 'other'}", f"--token-file={cluster.token_file}",
    )  # fmt: skip
    assert out.returncode == 1
    last = out.stderr.splitlines()[-1]
    assert f"cannot listen for HTTP on 127.0.0.1:{port}: address already in use" in last
    assert "--http-port" in last
    assert "Traceback" not in out.stderr
