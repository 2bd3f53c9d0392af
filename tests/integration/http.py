"""What a test asks of a daemon's HTTP port, and the numbers of its metrics."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from mesoslite.credentials import read_tokens

ANSWER_S_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Http:
    """One daemon's port."""

    port: int
    token_file: Path = field(default_factory=Path)

    def ask(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S_MAX)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, told, answer.read())
        finally:
            connection.close()

    def metrics(self, **headers: str) -> Answer:
        """The page of metrics, asked for with the token."""
        token = read_tokens(self.token_file).own
        return self.ask("/metrics", authorization=f"Bearer {token}", **headers)

    def number(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name which have these labels."""
        return total(self.metrics().text, name, **labels)

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_S_MAX)


def total(text: str, name: str, **labels: str) -> float:
    """The sum of all samples of this name in a page of metrics which have these labels."""
    samples = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert samples, f"there is no {name} with {labels}"
    return sum(sample.value for sample in samples)
