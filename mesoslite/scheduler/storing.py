"""Calls of the store on their way to the master and back, each done once.

They are done in the order in which they were made. What writes goes alone: the next call is said
when it is answered. So after a reconnect one write at most is said again, and the master knows the
last one that it has done (`master/store.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from mesoslite.messages import StoreAnswer, WriteStore
from mesoslite.model import Refusal
from mesoslite.scheduler.protocol import StoreCalled


class StoreCalls:
    """The calls that are not answered yet."""

    def __init__(self) -> None:
        self._waiting: deque[StoreCalled] = deque()
        self._said: dict[int, StoreCalled] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._said)

    def add(self, call: StoreCalled) -> None:
        """The author made this one."""
        self._waiting.append(call)

    def next_ones(self) -> Iterator[StoreCalled]:
        """What is to be said now, on a stream that is the framework's."""
        while self._waiting:
            writes = isinstance(self._waiting[0], WriteStore)
            if self._said and (writes or self._writing):
                return
            call = self._waiting.popleft()
            self._said[call.number] = call
            yield call

    @property
    def _writing(self) -> bool:
        return any(isinstance(call, WriteStore) for call in self._said.values())

    def said(self) -> tuple[StoreCalled, ...]:
        """What is to be said again on a new stream, in order."""
        return tuple(self._said.values())

    def answered(self, number: int) -> bool:
        """Whether this answer is the first one to a call."""
        return self._said.pop(number, None) is not None

    def give_up(self, refusal: Refusal, message: str) -> list[StoreAnswer]:
        """No master will answer: what is said instead."""
        calls = [*self._said.values(), *self._waiting]
        self._said.clear()
        self._waiting.clear()
        return [StoreAnswer(call.number, refusal, message) for call in calls]

    def check(self) -> None:
        """Assert every invariant. For tests."""
        writing = sum(isinstance(call, WriteStore) for call in self._said.values())
        assert writing == 0 or len(self._said) == 1
