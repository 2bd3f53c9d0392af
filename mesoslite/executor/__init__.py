"""What a task's own process uses to speak with its framework.

    from mesoslite.executor import connect

    with connect() as framework:
        framework.send(b"ready")
        for order in framework:      # until the agent ends the stream
            framework.send(work(order))

What is sent arrives at the scheduler's `framework_message`; what it sends by `message` arrives
here. Both ways at most once: whoever needs more repeats and answers.
"""

from mesoslite.executor.connection import (
    AsyncConnection,
    Connection,
    NotATask,
    NotAttached,
    connect,
    connect_async,
)

__all__ = [
    "AsyncConnection",
    "Connection",
    "NotATask",
    "NotAttached",
    "connect",
    "connect_async",
]
