"""Deadlines against the shortest thing that does the same: a dict, and `min` over it."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesoslite.deadlines import STALE_MIN, Deadlines

keys = st.sampled_from("abcdefgh")


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.deadlines: Deadlines[str] = Deadlines()
        self.due: dict[str, tuple[int, int]] = {}
        self.count = 0

    @rule(key=keys, due_ms=st.integers(0, 20))
    def is_set(self, key: str, due_ms: int) -> None:
        self.count += 1
        self.due[key] = (due_ms, self.count)
        self.deadlines.set(key, due_ms)

    @rule(key=keys)
    def is_set_very_often(self, key: str) -> None:
        for due_ms in range(2 * STALE_MIN):
            self.is_set(key, due_ms)
        assert len(self.deadlines._heap) <= 2 * len(self.due) + STALE_MIN

    @rule(key=keys)
    def is_dropped(self, key: str) -> None:
        self.due.pop(key, None)
        self.deadlines.drop(key)

    @rule(now_ms=st.integers(0, 20))
    def time_comes(self, now_ms: int) -> None:
        while (key := self.deadlines.pop_due(now_ms)) is not None:
            assert self.due[key][0] <= now_ms
            assert self.due[key] == min(self.due.values())
            del self.due[key]
        assert all(due_ms > now_ms for due_ms, _ in self.due.values())

    @invariant()
    def both_say_the_same(self) -> None:
        self.deadlines.check()
        assert len(self.deadlines) == len(self.due)
        assert self.deadlines.next_ms() == min(
            (due_ms for due_ms, _ in self.due.values()), default=None
        )
        for key in "abcdefgh":
            assert (key in self.deadlines) == (key in self.due)
            assert self.deadlines.due_ms(key) == self.due.get(key, (None,))[0]


TestAnyOrder = AnyOrder.TestCase
