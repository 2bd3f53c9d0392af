"""What a run was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from mesoslite_pipeline.events import EVENTS_MAX, SEED_MAX

PARTITIONS = 6  # of the topic, and so of the table
RATE_MAX = 1_000_000
COPIES_MAX = 3


class PipelineError(Exception):
    """It can not be carried on; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Raises ValueError for what can not be."""

    events: int
    rate: int
    seed: int
    brokers: int
    nodes: int

    def __post_init__(self) -> None:
        for flag, value, least, most in (
            ("--events", self.events, 1, EVENTS_MAX), ("--rate", self.rate, 1, RATE_MAX),
            ("--seed", self.seed, 0, SEED_MAX), ("--brokers", self.brokers, 1, COPIES_MAX),
            ("--nodes", self.nodes, 1, COPIES_MAX),
        ):  # fmt: skip
            if not least <= value <= most:
                raise ValueError(f"{flag} is {least} to {most:,}, not {value:,}")

    @property
    def topic(self) -> str:
        """Of these events: a run that was killed is carried on by the same command."""
        return f"events-{self.seed}-{self.events}"

    @property
    def keyspace(self) -> str:
        """Of their totals."""
        return f"pipeline_{self.seed}_{self.events}"
