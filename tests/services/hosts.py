"""A cluster with room for a service, of which agents, whole hosts and the master may die."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from typing import Any

from mesoslite.cli import hosts
from tests.end_to_end.cluster import Agent, Cluster
from tests.end_to_end.command import COMMAND_S_MAX, Done, json_of, run_command
from tests.end_to_end.waiting import wait_until
from tests.services.requirements import fetch_cache

AWAY_S_MAX = 120.0
PORTS = 10  # of each agent


class Hosts:
    """A master and agents as processes of the test."""

    def __init__(self, cluster: Cluster, count: int, resources: str) -> None:
        """Agents with these resources each, with ports of their own."""
        self.cluster = cluster
        self.home = cluster.folder
        for first in free_ports(count):
            cluster.start_agent(
                f"{resources};ports:[{first}-{first + PORTS - 1}]",
                f"--fetch-cache={fetch_cache()}",
                containerizer="",  # the best of this machine
            )

    @property
    def environment(self) -> dict[str, str]:
        """What makes a command find it."""
        kept = {name: word for name, word in os.environ.items() if not name.startswith("MESOSLITE")}
        return kept | self.cluster.environment | {"NO_COLOR": "1"}

    @property
    def agent_ids(self) -> list[str]:
        """Of all its agents."""
        return [agent.agent_id for agent in self.cluster.agents]

    def command(self, *words: str, timeout_s: float = COMMAND_S_MAX) -> Done:
        """Run `mesoslite` against it, to its end."""
        return run_command(self.environment, *words, timeout_s=timeout_s)

    def json(self, *words: str) -> Any:
        """What a command prints as JSON."""
        return json_of(self.environment, *words)

    def agent(self, agent_id: str) -> Agent:
        """The agent of that id."""
        return next(one for one in self.cluster.agents if one.agent_id == agent_id)

    @contextlib.contextmanager
    def host_down(self, agent_id: str) -> Iterator[None]:
        """A power cut of an agent's host; at the end it starts, as after a reboot."""
        agent = self.agent(agent_id)
        self.cut(agent)
        self._until_away(agent)
        yield
        self.power(agent)

    @contextlib.contextmanager
    def agent_down(self, agent_id: str) -> Iterator[None]:
        """kill -9 of an agent, and of nothing else; at the end it is started."""
        agent = self.agent(agent_id)
        agent.kill()
        self._until_away(agent)
        yield
        agent.start()

    def cut(self, agent: Agent) -> None:
        """Its agent, its launcher and all their containers die at once."""
        hosts.end_host(agent.work_dir, agent.agent_id, agent.program.pid)
        agent.program.wait()

    def power(self, agent: Agent) -> None:
        """It starts, as after a reboot."""
        agent.start(f"--boot-id={uuid.uuid4()}")

    def _until_away(self, agent: Agent) -> None:
        def away() -> bool:
            with self.cluster.operator() as operator:
                return all(row.state != "active" for row in operator.agents(agent.agent_id))

        wait_until(away, f"{agent.name} is away", AWAY_S_MAX)


def free_ports(count: int) -> list[int]:
    """The first of as many blocks of PORTS that nobody listens on: below what the kernel gives to
    connections, and apart from what other clusters on this machine offer by default."""
    blocks = range(20_000, 30_000, PORTS)
    begin = os.getpid() % len(blocks)
    found: list[int] = []
    for first in (*blocks[begin:], *blocks[:begin]):
        if all(map(_is_free, range(first, first + PORTS))):
            found.append(first)
        if len(found) == count:
            return found
    raise AssertionError("there are no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as trying:
        try:
            trying.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
