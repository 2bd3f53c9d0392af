"""The process of a task and its framework exchange messages, also after their daemons restarted."""

from __future__ import annotations

import sys
import textwrap

import pytest

from mesoslite import Resources, Task, TaskState
from tests.end_to_end.cluster import running_cluster
from tests.end_to_end.recorder import Recorder, recording
from tests.end_to_end.waiting import wait_until
from tests.integration.containers import need_root

ECHO = """
    from mesoslite.executor import connect

    with connect() as framework:
        framework.send(f"ready {framework.task_id}".encode())
        for order in framework:
            framework.send(order.upper())
            if order == b"done":
                break
"""
ECHO_ASYNC = """
    import asyncio
    from mesoslite.executor import connect_async

    async def main():
        async with await connect_async() as framework:
            await framework.send(f"ready {framework.task_id}".encode())
            async for order in framework:
                await framework.send(order.upper())
                if order == b"done":
                    break

    asyncio.run(main())
"""


def program(task_id: str, source: str, containerizer: str = "process") -> Task:
    command = [sys.executable, "-c", textwrap.dedent(source)]
    return Task(task_id, command, Resources(cpus=0.5, mem=256), containerizer=containerizer)


@pytest.mark.parametrize(
    ("source", "containerizer"),
    [(ECHO, "process"), (ECHO_ASYNC, "process"), (ECHO, "oci")],
    ids=["thread", "asyncio", "container"],
)
def test_a_task_s_process_and_its_framework_exchange_messages(
    source: str, containerizer: str
) -> None:
    if containerizer == "oci":
        need_root()
    with running_cluster() as cluster:
        agent = cluster.start_agent(containerizer=containerizer)
        echo = program("echo", source, containerizer)
        with recording(cluster, Recorder("talkative", [echo])) as scheduler:

            def heard(*data: bytes) -> None:
                expected = [("echo", each) for each in data]
                wait_until(
                    lambda: scheduler.messages == expected or "echo" in ended(scheduler),
                    f"the framework hears {data!r}",
                )
                assert scheduler.messages == expected, ended(scheduler)

            heard(b"ready echo")
            scheduler.message("echo", agent.agent_id, b"hello")
            heard(b"ready echo", b"HELLO")
            # The last word of a process that leaves right after it is not lost on the way.
            scheduler.message("echo", agent.agent_id, b"done")
            scheduler.until("echo", TaskState.FINISHED)
            heard(b"ready echo", b"HELLO", b"DONE")


def ended(scheduler: Recorder) -> dict[str, str]:
    """Why tasks have ended, those that failed."""
    return {
        name: f"{status.state.name}: {status.message}"
        for name, status in scheduler.latest().items()
        if status.terminal and status.state is not TaskState.FINISHED
    }


def test_messages_of_any_bytes_arrive_whole_and_in_order() -> None:
    source = """
        from mesoslite.executor import connect

        with connect() as framework:
            for number in range(200):
                framework.send(bytes([number]) * number)
            framework.send(bytes(range(256)) * 1024)
    """
    with running_cluster() as cluster:
        cluster.start_agent()
        with recording(cluster, Recorder("patient", [program("many", source)])) as scheduler:
            wait_until(lambda: len(scheduler.messages) == 201, "all messages are here")
            data = [data for _, data in scheduler.messages]
            assert data == [*(bytes([n]) * n for n in range(200)), bytes(range(256)) * 1024]
            scheduler.until("many", TaskState.FINISHED)


def test_a_process_that_is_no_task_s_is_told_so() -> None:
    with running_cluster() as cluster:
        stray = cluster.program("stray", "-c", textwrap.dedent(ECHO))
        assert stray.wait() == 1
        assert "NotATask" in stray.said().splitlines()[-1]
