"""Refusals: who does not want to be offered what of an agent, and until when.

A refusal holds for what was refused and for less (Mesos's subset rule): it counts while all of
what would be offered is covered by the refused amount. So an agent keeps one bucket for each
amount that was refused of it, and the bucket one bit for each client: an agent whose free
resources changed asks its few buckets, not its thousand clients.

    agent a1   cpus:4;mem:1024 -> 0b1011   until 60_000: 0b0011, until 65_000: 0b1000
               cpus:2;mem:512  -> 0b0100   until 61_000: 0b0100

Within a bucket a client has one deadline, the latest. Deadlines are one SortedDict of the buckets
that are due, so a cycle in which none is due costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sortedcontainers import SortedDict

from mesoslite.resources import Resources, quantities

if TYPE_CHECKING:
    from mesoslite.allocator.agents import Agent

AMOUNTS_MAX = 64  # refused of one agent at a time, 500 B each; the oldest refusals go beyond it


class Bucket:
    """Who refused one amount of one agent: a bit for each client, and until when."""

    __slots__ = ("agent", "amount", "cpus", "mask", "until_ms")

    def __init__(self, agent: Agent, amount: Resources) -> None:
        self.agent = agent
        self.amount = amount
        self.cpus = quantities(amount)[0]
        self.mask = 0
        #: The bits by deadline; each bit of `mask` is in exactly one of them.
        self.until_ms: dict[int, int] = {}


class Refusals:
    """The refusals of all agents, by deadline."""

    def __init__(self) -> None:
        self._due: SortedDict[int, dict[Bucket, None]] = SortedDict()
        self._agents: dict[Agent, None] = {}  # those with refusals

    def next_deadline_ms(self) -> int | None:
        """When the next refusal runs out; None when there is none."""
        return self._due.peekitem(0)[0] if self._due else None

    def refuse(self, agent: Agent, mask: int, amount: Resources, until_ms: int) -> bool:
        """`mask`, one client, does not want `amount` of `agent` or less of it before `until_ms`.

        A deadline before one that the client named for this amount changes nothing, and nothing is
        not refused. True when other refusals had to be forgotten for it: what counts of this
        agent's is to be asked anew.
        """
        bucket = agent.refusals.get(amount)
        forgotten = False
        if bucket is None:
            if not amount:
                return False
            if len(agent.refusals) >= AMOUNTS_MAX:
                oldest = next(iter(agent.refusals.values()))
                self._clear(oldest, oldest.mask)
                forgotten = True
            bucket = agent.refusals[amount] = Bucket(agent, amount)
            agent.refused_cpus = max(agent.refused_cpus, bucket.cpus)
            self._agents[agent] = None
        elif bucket.mask & mask:
            if any(those & mask and due >= until_ms for due, those in bucket.until_ms.items()):
                return False
            self._take_out(bucket, mask)
        bucket.mask |= mask
        before = bucket.until_ms.get(until_ms)
        if before is not None:
            bucket.until_ms[until_ms] = before | mask
            return forgotten
        bucket.until_ms[until_ms] = mask
        due = self._due.get(until_ms)
        if due is None:
            due = self._due[until_ms] = {}
        due[bucket] = None
        return forgotten

    def counting(self, agent: Agent, amount: Resources, known: int = 0) -> int:
        """Who refuses to be offered `amount` of `agent`: all bits of the buckets that cover it.

        Of the clients in `known` it is known already. 0.1 us if there are more cpus than anybody
        refused, without a look at the buckets, which are cold; else 0.8 us for each to compare.
        """
        cpus = quantities(amount)[0]
        if cpus > agent.refused_cpus:
            return known
        mask = known
        for refused, bucket in agent.refusals.items():
            if bucket.mask & ~mask and (refused is amount or refused.covers(amount)):
                mask |= bucket.mask
        return mask

    def until_ms(self, agent: Agent, amount: Resources, mask: int) -> int:
        """When the last of these refusals by `mask`, one client, ends; 0: none covers `amount`."""
        return max(
            (
                due_ms
                for refused, bucket in agent.refusals.items()
                if bucket.mask & mask and refused.covers(amount)
                for due_ms, those in bucket.until_ms.items()
                if those & mask
            ),
            default=0,
        )

    def expire(self, now_ms: int) -> list[Agent]:
        """Forget what ran out by `now_ms`; the agents that it was about."""
        due = self._due
        changed: dict[Agent, None] = {}
        while due and due.peekitem(0)[0] <= now_ms:
            due_ms, buckets = due.popitem(0)
            for bucket in buckets:
                bucket.mask ^= bucket.until_ms.pop(due_ms)
                changed[bucket.agent] = None
                self._drop_if_empty(bucket)
        return list(changed)

    def sweep(self, mask: int) -> list[Agent]:
        """Forget all refusals of these clients; the agents that they were about. O(buckets)."""
        changed: dict[Agent, None] = {}
        for agent in list(self._agents):
            for bucket in list(agent.refusals.values()):
                if bucket.mask & mask:
                    self._clear(bucket, mask)
                    changed[agent] = None
        return list(changed)

    def forget(self, agent: Agent) -> None:
        """The agent is gone, and so is what was refused of it."""
        for bucket in list(agent.refusals.values()):
            self._clear(bucket, bucket.mask)

    def check(self, agents: Iterable[Agent]) -> None:
        """Assert every invariant over all agents; for tests."""
        due: dict[int, set[Bucket]] = {}
        with_refusals = {agent for agent in agents if agent.refusals}
        assert set(self._agents) == with_refusals
        for agent in with_refusals:
            assert len(agent.refusals) <= AMOUNTS_MAX
            assert agent.refused_cpus == max(b.cpus for b in agent.refusals.values())
            for amount, bucket in agent.refusals.items():
                assert bucket.agent is agent
                assert bucket.amount == amount
                assert bucket.mask == sum(bucket.until_ms.values()) > 0
                for until_ms, mask in bucket.until_ms.items():
                    assert mask
                    due.setdefault(until_ms, set()).add(bucket)
        assert due == {until_ms: set(buckets) for until_ms, buckets in self._due.items()}

    def _clear(self, bucket: Bucket, mask: int) -> None:
        self._take_out(bucket, mask)
        self._drop_if_empty(bucket)

    def _take_out(self, bucket: Bucket, mask: int) -> None:
        bucket.mask &= ~mask
        for until_ms, those in list(bucket.until_ms.items()):
            if left := those & ~mask:
                bucket.until_ms[until_ms] = left
                continue
            del bucket.until_ms[until_ms]
            due = self._due[until_ms]
            del due[bucket]
            if not due:
                del self._due[until_ms]

    def _drop_if_empty(self, bucket: Bucket) -> None:
        if not bucket.mask:
            agent = bucket.agent
            del agent.refusals[bucket.amount]
            if bucket.cpus == agent.refused_cpus:
                agent.refused_cpus = max((b.cpus for b in agent.refusals.values()), default=-1)
            if not agent.refusals:
                del self._agents[agent]
