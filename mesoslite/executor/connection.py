"""A stream between a process of a task and its agent, for threads and for asyncio.

The agent has told the process where it is and how to show whose it is by three variables. A task
has one such stream: the newest process to attach has the messages, the one before is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc

from mesoslite.v1 import executor_pb2 as pb
from mesoslite.wire import TASK_MESSAGE_BYTES_MAX

ADDRESS_VARIABLE = "MESOSLITE_EXECUTOR_SOCKET"
CONTAINER_VARIABLE = "MESOSLITE_CONTAINER_ID"
SECRET_VARIABLE = "MESOSLITE_SECRET"
ATTACH_TIMEOUT_S = 10.0
CLOSE_S = 2.0  # for the last words
MESSAGES_WAITING_MAX = 1_000  # that were sent and not written yet; beyond it `send` waits
METHOD = "/mesoslite.v1.ExecutorService/Attach"
_OPTIONS = (("grpc.enable_http_proxy", 0),)


class NotATask(Exception):
    """This process was not started by an agent: the variables that it sets are not there."""


class NotAttached(Exception):
    """The agent can not be reached, does not take this process, or has ended the stream."""


@dataclass(frozen=True, slots=True)
class _Task:
    """Where this process's agent is, and what it shows there."""

    address: str
    container_id: str
    secret: str

    def first_word(self) -> bytes:
        """What attaches this process to its task."""
        attach = pb.AttachTask(container_id=self.container_id, secret=self.secret)
        return pb.AttachRequest(attach=attach).SerializeToString()


def _task_of(environment: Mapping[str, str]) -> _Task:
    try:
        return _Task(
            environment[ADDRESS_VARIABLE],
            environment[CONTAINER_VARIABLE],
            environment[SECRET_VARIABLE],
        )
    except KeyError as missing:
        raise NotATask(f"{missing} is not set: this process was not started by an agent") from None


def _message(data: bytes) -> bytes:
    """Bytes as they are sent. Raises TypeError or ValueError."""
    if not isinstance(data, bytes):
        raise TypeError(f"data is bytes, not {type(data).__name__}")
    if len(data) > TASK_MESSAGE_BYTES_MAX:
        raise ValueError(f"{len(data)} bytes are over the limit of {TASK_MESSAGE_BYTES_MAX}")
    return pb.AttachRequest(message=pb.ExecutorMessage(data=data)).SerializeToString()


def _attached(answer: bytes) -> pb.Attached:
    response = pb.AttachResponse.FromString(answer)
    if response.WhichOneof("event") != "attached":
        raise NotAttached("the agent answers with something else than attached")
    return response.attached


def _data(answer: bytes) -> bytes:
    return pb.AttachResponse.FromString(answer).message.data


def _failure(error: grpc.RpcError | grpc.aio.AioRpcError) -> NotAttached:
    details = str(error.details() or error.code()).splitlines()
    return NotAttached(details[0] if details else "the stream to the agent has ended")


# --- threads --------------------------------------------------------------------------------------


class Connection:
    """Messages from and to the framework. Made by `connect`; close it, or use it in a `with`.

    One thread may send while another iterates.
    """

    def __init__(self, task: _Task) -> None:
        self._said: queue.Queue[bytes | None] = queue.Queue(MESSAGES_WAITING_MAX)
        # Typed as what it is: the stubs want arguments that have defaults.
        self._channel: Any = grpc.insecure_channel(task.address, options=_OPTIONS)
        self._said.put(task.first_word())
        attach: Any = self._channel.stream_stream
        self._call: Any = attach(METHOD)(iter(self._said.get, None))
        self._ended = threading.Event()
        self._call.add_callback(self._ended.set)
        self._closed = False
        try:
            answer = _attached(self._first_answer())
        except BaseException:
            self._closed = True
            self.close()
            raise
        self.framework_id: str = answer.framework_id
        self.task_id: str = answer.task_id

    def _first_answer(self) -> bytes:
        # The call itself has no deadline, since it lasts as long as the task.
        timer = threading.Timer(ATTACH_TIMEOUT_S, self._call.cancel)
        timer.daemon = True
        timer.start()
        try:
            answer: bytes = next(self._call)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.CANCELLED:
                raise NotAttached(f"no answer within {ATTACH_TIMEOUT_S:.0f} s") from None
            raise _failure(error) from None
        except StopIteration:
            raise NotAttached("the agent has closed the stream") from None
        finally:
            timer.cancel()
        return answer

    def send(self, data: bytes) -> None:
        """Send up to 256 KiB to the framework: at most once, maybe never. Waits for room.

        Raises NotAttached when the stream has ended, TypeError or ValueError for wrong data.
        """
        message = _message(data)
        while True:
            if self._closed or not self._call.is_active():
                raise NotAttached("the stream to the agent has ended")
            try:
                self._said.put(message, timeout=1)
            except queue.Full:
                continue
            return

    def __iter__(self) -> Iterator[bytes]:
        """What the framework sends, until the stream ends: the task is to end, or `close`."""
        try:
            for answer in self._call:
                yield _data(answer)
        except grpc.RpcError as error:
            if not self._closed and error.code() is not grpc.StatusCode.CANCELLED:
                raise _failure(error) from None

    def close(self) -> None:
        """Write what was sent, for at most CLOSE_S, and end the stream."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(queue.Full):
                self._said.put(None, timeout=CLOSE_S)  # the last word: nothing follows
                self._ended.wait(CLOSE_S)
        self._call.cancel()
        self._channel.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def connect(environment: Mapping[str, str] = os.environ) -> Connection:
    """Attach this process to its task. Raises NotATask, NotAttached."""
    return Connection(_task_of(environment))


# --- asyncio --------------------------------------------------------------------------------------


class AsyncConnection:
    """What `Connection` is, on an event loop. Made by `connect_async`."""

    def __init__(self, channel: Any, call: Any, attached: pb.Attached) -> None:
        self._channel = channel
        self._call = call
        self.framework_id: str = attached.framework_id
        self.task_id: str = attached.task_id

    async def send(self, data: bytes) -> None:
        """Send up to 256 KiB to the framework: at most once, maybe never. Waits for room.

        Raises NotAttached when the stream has ended, TypeError or ValueError for wrong data.
        """
        message = _message(data)
        try:
            await self._call.write(message)
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from None
        except grpc.aio.BaseError as error:
            raise NotAttached(str(error)) from None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What the framework sends, until the stream ends: the task is to end, or `close`."""
        while True:
            try:
                answer = await self._call.read()
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.CANCELLED:
                    return
                raise _failure(error) from None
            if not isinstance(answer, bytes):
                return
            yield _data(answer)

    async def close(self) -> None:
        """Write what was sent, for at most CLOSE_S, and end the stream."""
        with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError, grpc.aio.BaseError):
            async with asyncio.timeout(CLOSE_S):
                await self._call.done_writing()
                await self._call.code()
        self._call.cancel()
        await self._channel.close()

    async def __aenter__(self) -> AsyncConnection:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


async def connect_async(environment: Mapping[str, str] = os.environ) -> AsyncConnection:
    """Attach this process to its task. Raises NotATask, NotAttached."""
    task = _task_of(environment)
    channel: Any = grpc.aio.insecure_channel(task.address, options=_OPTIONS)
    call = channel.stream_stream(METHOD)()
    try:
        async with asyncio.timeout(ATTACH_TIMEOUT_S):
            await call.write(task.first_word())
            answer = await call.read()
        if not isinstance(answer, bytes):
            raise NotAttached(str(await call.details() or "the agent has closed the stream"))
        return AsyncConnection(channel, call, _attached(answer))
    except TimeoutError:
        await channel.close()
        raise NotAttached(f"no answer within {ATTACH_TIMEOUT_S:.0f} s") from None
    except grpc.aio.AioRpcError as error:
        await channel.close()
        raise _failure(error) from None
    except BaseException:
        await channel.close()
        raise
