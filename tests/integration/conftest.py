"""A place of its own for each test that starts processes or containers, which must leave nothing.

`place` gives a work directory and an agent id. At the test's end no process may have anything to do
with them, nor a mount or a cgroup be left: the test fails, and what was left is removed.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mesoslite.testing.zookeeper import ZooKeeperServer, why_no_zookeeper
from tests.integration.containers import Place, Rig

GONE_S_MAX = 5.0
LOOK_S = 0.02


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A work directory and an agent id; afterwards nothing of them may be left on the host."""
    tmp_path.chmod(0o755)
    here = Place(tmp_path / "work", {f"test-{uuid.uuid4().hex[:12]}"})
    here.work_dir.mkdir(mode=0o755)
    yield here
    until = time.monotonic() + GONE_S_MAX
    left = here.leftovers()
    while left and time.monotonic() < until:
        left = here.leftovers()
    here.clean()
    assert not left, "the test left behind: " + "; ".join(left)


@pytest.fixture
async def rig(place: Place) -> AsyncIterator[Rig]:
    """Containers of a new agent; at the end all are killed and their launcher is ended."""
    made = Rig(place)
    await made.containers.recover(set())
    yield made
    await made.containers.close(kill=True)


@pytest.fixture
def zookeeper(tmp_path: Path) -> Iterator[ZooKeeperServer]:
    """A ZooKeeper server of this test's own."""
    if why := why_no_zookeeper():
        if os.environ.get("MESOSLITE_REQUIRE_SERVICES") == "1":
            pytest.fail(f"MESOSLITE_REQUIRE_SERVICES=1, but {why}")
        pytest.skip(why)
    with ZooKeeperServer(tmp_path / "zookeeper") as server:
        yield server
        until = time.monotonic() + GONE_S_MAX
        while (left := _client_threads()) and time.monotonic() < until:
            time.sleep(LOOK_S)
    assert not left, f"the test left clients of ZooKeeper that go on for ever: {left}"


def _client_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "zk_loop" in thread.name]
