"""A command's way to the master: where it is, whose token, and what each failure means.

Everything that goes wrong between here and there becomes a `Failure` with one line.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

import grpc

from mesoslite.cli.console import Code, Failure
from mesoslite.credentials import (
    TOKEN_FILE_VARIABLE,
    TokenFileError,
    call_metadata,
    find_token_file,
    read_tokens,
)
from mesoslite.masters import (
    MASTER_VARIABLE,
    NoMasterError,
    find_masters,
    leader_now,
    leader_told,
    parse_masters,
)
from mesoslite.v1 import agent_pb2, operator_pb2, operator_pb2_grpc

#: A master answers a page of 1,000 rows in milliseconds; one that needs longer than this is lost.
CALL_TIMEOUT_S = 10.0
#: From one master to the next, before they are told to be in the middle of an election.
HOPS_MAX = 20
#: Rows that `ls` collects over all pages; more would only be thrown at a terminal.
FRAMEWORKS_NAMED_MAX = 10
ROWS_MAX = 100_000
MESSAGE_BYTES_MAX = 4 * 1024 * 1024

Row = TypeVar("Row")


class Page(Protocol):
    """A response of the master's lists."""

    more: bool


def find_token(given: str | Path | None) -> tuple[tuple[str, str], ...]:
    """What a call shows, as its metadata. Raises Failure with DENIED for a file that cannot serve.

    A user without any token has never started a master: the call goes out bare, and it says more
    clearly whether no master is there or it is somebody else's.
    """
    path = find_token_file(given)
    named = bool(given or os.environ.get(TOKEN_FILE_VARIABLE))
    if not named and not path.exists():
        return ()
    try:
        return call_metadata(read_tokens(path).own)
    except TokenFileError as error:
        raise Failure(Code.DENIED, str(error)) from None


def failure_of(error: grpc.RpcError, target: str) -> Failure:
    """What a failed call means to the person who made it."""
    status, details = error.code(), error.details() or ""
    if leader_told(error.trailing_metadata()) is not None:
        return Failure(Code.NO_MASTER, f"{target}: {details}")
    match status:
        case grpc.StatusCode.UNAVAILABLE:
            return Failure(
                Code.NO_MASTER,
                f"no master answers at {target}; start a cluster with `mesoslite dev`, "
                f"or name its master with --master HOST:PORT or {MASTER_VARIABLE}",
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Failure(
                Code.NO_MASTER,
                f"the master at {target} gave no answer within {CALL_TIMEOUT_S:.0f} s; "
                "is it overloaded, or is something else listening there?",
            )
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return Failure(
                Code.DENIED,
                f"the master at {target} refuses: {details or 'the token is missing or wrong'}",
            )
        case grpc.StatusCode.NOT_FOUND:
            return Failure(Code.NOT_FOUND, details or "not found")
        case grpc.StatusCode.INVALID_ARGUMENT:
            return Failure(Code.USAGE, details or "the master does not understand the request")
        case grpc.StatusCode.UNIMPLEMENTED | grpc.StatusCode.UNKNOWN | grpc.StatusCode.INTERNAL:
            return Failure(
                Code.FAILED, f"{target} is no mesoslite master of this version: {details}"
            )
        case _:
            return Failure(Code.FAILED, details or f"the master at {target} says {status.name}")


class Operator:
    """A connection to a master's operator service. Use as a context; closing ends every call."""

    def __init__(self, master: str | None = None, token_file: str | Path | None = None) -> None:
        """Raises Failure when it is said in a way that nobody can find, or nobody leads."""
        try:
            self.masters = find_masters(master)
        except ValueError as error:
            raise Failure(Code.USAGE, f"the master: {error}") from None
        self._metadata = find_token(token_file)
        self._untried = self._candidates()
        self._found = False
        self._connect(self._untried.pop(0))

    def find_anew(self) -> None:
        """Begin again with all masters that there may be: another one may lead by now.

        For who goes on asking after a failure. Raises Failure when nobody leads.
        """
        self._untried = self._candidates()
        self._found = False
        self._channel.close()
        self._connect(self._untried.pop(0))

    def _candidates(self) -> list[str]:
        """Whom to ask, one after another; the leader alone when ZooKeeper knows it."""
        if self.masters.ensemble is None:
            return list(self.masters.addresses)
        try:
            return [leader_now(self.masters.ensemble)]
        except NoMasterError as error:
            raise Failure(Code.NO_MASTER, str(error)) from None

    def _connect(self, target: str) -> None:
        self.target = target
        """HOST:PORT of the master that is asked."""
        # The command makes one call or few: connecting anew to a master that is not there yet, or
        # through a proxy that is meant for the web, would only hide what is wrong.
        self._channel = grpc.insecure_channel(
            target,
            options=[
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ],
        )
        self._stub: Any = operator_pb2_grpc.OperatorServiceStub(self._channel)

    def __enter__(self) -> Operator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def status(self) -> operator_pb2.GetStatusResponse:
        """The cluster in numbers."""
        reply: operator_pb2.GetStatusResponse = self._call(
            "GetStatus", operator_pb2.GetStatusRequest()
        )
        return reply

    def agents(self, some: str = "") -> list[operator_pb2.AgentRow]:
        """All agents, or those whose id begins so or whose host is called so."""
        return self._rows(
            lambda after: self._call(
                "ListAgents", operator_pb2.ListAgentsRequest(id=some, after=after)
            ),
            lambda page: page.agents,
            lambda row: row.info.agent_id,
        )

    def frameworks(
        self, some: str = "", *, completed: bool = False
    ) -> list[operator_pb2.FrameworkRow]:
        """Frameworks, or those whose id begins so or whose name is this."""
        return self._rows(
            lambda after: self._call(
                "ListFrameworks",
                operator_pb2.ListFrameworksRequest(id=some, after=after, completed=completed),
            ),
            lambda page: page.frameworks,
            lambda row: row.framework_id,
        )

    def tasks(
        self, some: str = "", *, framework: str = "", agent: str = "", completed: bool = False
    ) -> list[operator_pb2.TaskRow]:
        """Tasks, or those whose id begins so; of one framework, or on one agent."""
        return self._rows(
            lambda after: self._call(
                "ListTasks",
                operator_pb2.ListTasksRequest(
                    id=some, framework=framework, agent_id=agent, after=after, completed=completed
                ),
            ),
            lambda page: page.tasks,
            lambda row: f"{row.framework_id}/{row.task.task_id}",
        )

    def offers(self, some: str = "") -> list[operator_pb2.OfferRow]:
        """Outstanding offers, or those whose id begins so."""
        return self._rows(
            lambda after: self._call(
                "ListOffers", operator_pb2.ListOffersRequest(id=some, after=after)
            ),
            lambda page: page.offers,
            lambda row: row.offer_id,
        )

    def reservations(
        self, agent_id: str = "", role: str = "", framework: str = ""
    ) -> list[operator_pb2.ReservationRow]:
        """What is reserved: on one agent, of one role, as one framework asked; else all."""
        return self._rows(
            lambda after: self._call(
                "ListReservations",
                operator_pb2.ListReservationsRequest(
                    agent=agent_id, role=role, framework=framework, after=after
                ),
            ),
            lambda page: page.reservations,
            lambda row: row.key,
        )

    def volumes(
        self, agent_id: str = "", role: str = "", framework: str = ""
    ) -> list[operator_pb2.VolumeRow]:
        """Volumes, as `reservations`."""
        return self._rows(
            lambda after: self._call(
                "ListVolumes",
                operator_pb2.ListVolumesRequest(
                    agent=agent_id, role=role, framework=framework, after=after
                ),
            ),
            lambda page: page.volumes,
            lambda row: row.key,
        )

    def create_reservation(
        self, request: operator_pb2.CreateReservationRequest
    ) -> operator_pb2.CreateReservationResponse:
        """Reserve; answered when the agent has it on its disk, as the two that follow."""
        reply: operator_pb2.CreateReservationResponse = self._call("CreateReservation", request)
        return reply

    def remove_reservation(
        self, request: operator_pb2.RemoveReservationRequest
    ) -> operator_pb2.RemoveReservationResponse:
        """Give up a reservation, or a part of it."""
        reply: operator_pb2.RemoveReservationResponse = self._call("RemoveReservation", request)
        return reply

    def remove_volume(
        self, request: operator_pb2.RemoveVolumeRequest
    ) -> operator_pb2.RemoveVolumeResponse:
        """Destroy a volume with its data."""
        reply: operator_pb2.RemoveVolumeResponse = self._call("RemoveVolume", request)
        return reply

    def explain(
        self, subject: str, *, framework: str = "", role: str = "", request: str = ""
    ) -> operator_pb2.ExplainResponse:
        """Why a framework waits, or what became of a task."""
        reply: operator_pb2.ExplainResponse = self._call(
            "Explain",
            operator_pb2.ExplainRequest(
                subject=subject, framework=framework, role=role, request=request
            ),
        )
        return reply

    def entries(self, framework: str, prefix: str = "") -> operator_pb2.ListEntriesResponse:
        """What a framework keeps in its store under keys that begin so."""
        reply: operator_pb2.ListEntriesResponse = self._call(
            "ListEntries", operator_pb2.ListEntriesRequest(framework=framework, prefix=prefix)
        )
        return reply

    def entry(self, framework: str, key: str) -> operator_pb2.GetEntryResponse:
        """One entry of a framework's store."""
        reply: operator_pb2.GetEntryResponse = self._call(
            "GetEntry", operator_pb2.GetEntryRequest(framework=framework, key=key)
        )
        return reply

    def teardown(
        self, framework: str, *, release: bool = False
    ) -> operator_pb2.TeardownFrameworkResponse:
        """Remove a framework with its tasks, and with `release` all that it has reserved."""
        reply: operator_pb2.TeardownFrameworkResponse = self._call(
            "TeardownFramework",
            operator_pb2.TeardownFrameworkRequest(framework=framework, release=release),
        )
        return reply

    def kill(
        self, task: str, framework: str = "", grace_ms: int | None = None
    ) -> operator_pb2.KillTaskResponse:
        """Ask for a task's end."""
        reply: operator_pb2.KillTaskResponse = self._call(
            "KillTask",
            operator_pb2.KillTaskRequest(task_id=task, framework=framework, grace_ms=grace_ms),
        )
        return reply

    def mark_agent_gone(self, agent_id: str) -> operator_pb2.MarkAgentGoneResponse:
        """Give an agent up for good."""
        reply: operator_pb2.MarkAgentGoneResponse = self._call(
            "MarkAgentGone", operator_pb2.MarkAgentGoneRequest(agent_id=agent_id)
        )
        return reply

    def find_task(self, some: str, framework: str = "") -> tuple[str, str]:
        """(task id, framework id) of the one task that was meant: one that ended only if none runs.

        Raises Failure.
        """
        rows = self.tasks(some, framework=framework) or self.tasks(
            some, framework=framework, completed=True
        )
        row = only_task(rows, some)
        return row.task.task_id, row.framework_id

    def post_mortems(
        self, task: str, framework: str = "", agent: str = ""
    ) -> list[agent_pb2.PostMortem]:
        """How the attempts to run a task went, newest first. Raises Failure, NOT_FOUND for none."""
        request = operator_pb2.GetPostMortemsRequest(
            task_id=task, framework=framework, agent_id=agent
        )
        reply: operator_pb2.GetPostMortemsResponse = self._call("GetPostMortems", request)
        return list(reply.attempts)

    def read_log(
        self, task: str, framework: str, name: str, *, offset: int = 0, follow: bool = False
    ) -> Iterator[bytes]:
        """What a task wrote to a file of its sandbox, piece by piece; with `follow` until its end.

        Has no deadline: a log may be long, and a task may run for ever.
        """
        call = self._stub.ReadLog(
            operator_pb2.ReadLogRequest(
                task_id=task, framework=framework, name=name, offset=offset, follow=follow
            ),
            metadata=self._metadata,
        )
        try:
            for piece in call:
                yield piece.data
        except grpc.RpcError as error:
            raise failure_of(error, self.target) from None
        finally:
            call.cancel()

    def _call(self, method: str, request: object) -> Any:
        """Ask the master that leads: one that follows says who does."""
        for _hop in range(HOPS_MAX):
            try:
                reply = getattr(self._stub, method)(
                    request, timeout=CALL_TIMEOUT_S, metadata=self._metadata
                )
            except grpc.RpcError as error:
                elsewhere = self._elsewhere(error)
                if elsewhere is None:
                    raise failure_of(error, self.target) from None
                self._channel.close()
                self._connect(elsewhere)
            else:
                self._found = True
                return reply
        raise Failure(
            Code.NO_MASTER, f"{self.masters}: each names another as the leader; try again"
        )

    def _elsewhere(self, error: grpc.RpcError) -> str | None:
        """Whom to ask instead, after such an answer; None: nobody."""
        leader = leader_told(error.trailing_metadata())
        if leader:
            with contextlib.suppress(ValueError):
                return parse_masters(leader).addresses[0]
        # Once one has answered, what is asked for may have been done before the answer was lost.
        away = error.code() is grpc.StatusCode.UNAVAILABLE and not self._found
        return self._untried.pop(0) if self._untried and (away or leader is not None) else None

    @staticmethod
    def _rows(
        page_after: Callable[[str], Any],
        rows_of: Callable[[Any], Any],
        key_of: Callable[[Row], str],
    ) -> list[Row]:
        out: list[Row] = []
        after = ""
        while len(out) < ROWS_MAX:
            page = page_after(after)
            rows = list(rows_of(page))
            out += rows
            if not page.more or not rows:
                break
            after = key_of(rows[-1])
        return out


def _named(noun: str, asked: str) -> None:
    """Raises Failure for no text at all, as of a variable that is not set: every id begins so."""
    if not asked:
        raise Failure(Code.USAGE, f"the {noun} is empty: name one; see `mesoslite {noun} ls`")


def not_found(noun: str, asked: str) -> Failure:
    """What says that nothing is called so."""
    return Failure(Code.NOT_FOUND, f"no {noun} is called {asked!r}; see `mesoslite {noun} ls`")


def only(rows: list[Row], noun: str, asked: str, key_of: Callable[[Row], str]) -> Row:
    """The one row that was meant. Raises Failure when there is none, or more than one.

    Who names an id in full means it, whatever else begins like it.
    """
    _named(noun, asked)
    exact = [row for row in rows if key_of(row) == asked]
    found = exact if len(exact) == 1 else rows
    if not found:
        raise not_found(noun, asked)
    if len(found) > 1:
        named = ", ".join(key_of(row) for row in found[:3])
        rest = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise Failure(Code.USAGE, f"{asked!r} may be {named}{rest}: give more of the id")
    return found[0]


def only_framework(
    rows: Sequence[operator_pb2.FrameworkRow], some: str
) -> operator_pb2.FrameworkRow:
    """The one framework that was meant: by its id, else by its name, else by the start of its id.

    Raises Failure, as `only`. A name is each principal's own: two may have chosen the same, and
    then their ids tell them apart.
    """
    _named("framework", some)
    found = [row for row in rows if row.framework_id == some]
    found = found or [row for row in rows if row.info.name == some] or list(rows)
    if len(found) < 2:
        return only(found, "framework", some, lambda row: row.framework_id)
    named = ", ".join(
        f"{row.framework_id} ({row.info.name} of {row.principal})"
        for row in found[:FRAMEWORKS_NAMED_MAX]
    )
    more = len(found) - FRAMEWORKS_NAMED_MAX
    rest = f" and {more} more" if more > 0 else ""
    raise Failure(Code.USAGE, f"{some!r} may be {named}{rest}: give the id")


def only_task(rows: Sequence[operator_pb2.TaskRow], some: str) -> operator_pb2.TaskRow:
    """The one task that was meant; of several that one framework called so, the newest.

    Raises Failure, as `only`. Frameworks choose their ids alone: two may choose the same, and no
    longer id tells those apart.
    """
    found = [row for row in rows if row.task.task_id == some] or rows
    if len({row.task.task_id for row in found}) != 1:
        return only(list(found), "task", some, lambda row: row.task.task_id)
    newest: dict[str, operator_pb2.TaskRow] = {}
    for row in sorted(found, key=_last_heard_ms):
        newest.pop(row.framework_id, None)
        newest[row.framework_id] = row
    *others, row = newest.values()
    if others:
        named = ", ".join(_framework_of(one) for one in (row, *reversed(others))[:3])
        rest = f" and {len(others) - 2} more" if len(others) > 2 else ""
        raise Failure(
            Code.USAGE,
            f"{len(newest)} frameworks have a task {row.task.task_id!r}: {named}{rest}; "
            f"say whose you mean, as --framework {row.framework_id}",
        )
    return row


def _last_heard_ms(row: operator_pb2.TaskRow) -> int:
    return max((status.timestamp_ms for status in row.statuses), default=0)


def _framework_of(row: operator_pb2.TaskRow) -> str:
    """Its id, which is nobody else's, and its name, which may be."""
    return f"{row.framework_id} ({row.framework_name})" if row.framework_name else row.framework_id
