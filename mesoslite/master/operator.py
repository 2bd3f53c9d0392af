"""The operator service: what people and the command line see of a master, and ask of it.

Lists are read from the machine's tables between two events; requests to change something go
through its inbox like everything else and come back as an Answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from mesoslite.files import FILE_NAMES
from mesoslite.loop import Inbox
from mesoslite.master import view
from mesoslite.master.estate_service import EstateService
from mesoslite.master.explain import explain
from mesoslite.master.fates import NotExplained, these
from mesoslite.master.post_mortems import post_mortems
from mesoslite.master.protocol import (
    AgentGoneAsked,
    Answer,
    Event,
    TaskKillAsked,
    TeardownAsked,
    Tick,
)
from mesoslite.master.reads import ReadError, Reads
from mesoslite.master.records import AgentState, FrameworkEntry, Tables
from mesoslite.model import ID_PATTERN, Refusal
from mesoslite.v1 import operator_pb2 as pb
from mesoslite.version import VERSION
from mesoslite.wire import (
    TASK_STATES,
    write_agent_info,
    write_explanation,
    write_framework_info,
    write_request,
    write_resources,
    write_status,
    write_task,
)
from mesoslite.wire.limits import KILL_GRACE_MS_MAX

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

ANSWER_TIMEOUT_S = 30.0  # a registry that cannot be written stops the master after 20 s
NOW_S_MAX = 1.0  # for a machine to handle what is in its inbox, before it is explained
REQUESTS_MAX = 1_000  # that wait for an answer
TEXT_MAX = 1_000  # characters of an id, a prefix or a name that is asked for
PAGE_BYTES_MAX = 2 * 1024 * 1024  # half of what a message may have: tasks may be large

SERVICE = "mesoslite.v1.OperatorService"
_CODES = {
    Refusal.UNKNOWN_FRAMEWORK: grpc.StatusCode.NOT_FOUND,
    Refusal.UNKNOWN_TASK: grpc.StatusCode.NOT_FOUND,
    Refusal.UNKNOWN_REQUEST: grpc.StatusCode.NOT_FOUND,
    Refusal.UNKNOWN_AGENT: grpc.StatusCode.NOT_FOUND,
    Refusal.UNKNOWN_RESERVATION: grpc.StatusCode.NOT_FOUND,
    Refusal.UNKNOWN_VOLUME: grpc.StatusCode.NOT_FOUND,
    Refusal.INVALID_OPERATION: grpc.StatusCode.INVALID_ARGUMENT,
    Refusal.AMBIGUOUS: grpc.StatusCode.INVALID_ARGUMENT,
    Refusal.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Refusal.TOO_BIG: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Operator:
    """Answers the operator service of one master."""

    def __init__(
        self,
        tables: Tables,
        inbox: Inbox[Event],
        reads: Reads,
        started_ms: int,
        may_speak: Callable[[], bool],
    ) -> None:
        """`may_speak`: whether no other master can lead yet (D15)."""
        self._may_speak = may_speak
        self._tables = tables
        self._inbox = inbox
        self._reads = reads
        self._started_ms = started_ms
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._asked = 0
        self._explaining = asyncio.Lock()

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """All methods, for a server."""
        unary: dict[str, Any] = {
            "GetStatus": self._answering(pb.GetStatusRequest, self.get_status),
            "ListAgents": self._answering(pb.ListAgentsRequest, self.list_agents),
            "ListFrameworks": self._answering(pb.ListFrameworksRequest, self.list_frameworks),
            "ListTasks": self._answering(pb.ListTasksRequest, self.list_tasks),
            "ListOffers": self._answering(pb.ListOffersRequest, self.list_offers),
            "Explain": self._answering(pb.ExplainRequest, self.explain),
            "ListEntries": self._answering(pb.ListEntriesRequest, self.list_entries),
            "GetEntry": self._answering(pb.GetEntryRequest, self.get_entry),
            "GetPostMortems": self._answering(pb.GetPostMortemsRequest, self.get_post_mortems),
            "TeardownFramework": self._answering(pb.TeardownFrameworkRequest, self.teardown),
            "KillTask": self._answering(pb.KillTaskRequest, self.kill_task),
            "MarkAgentGone": self._answering(pb.MarkAgentGoneRequest, self.mark_agent_gone),
        }
        for name, (kind, method) in EstateService(self._tables, self._ask).methods().items():
            unary[name] = self._answering(kind, method)
        methods = {
            name: grpc.unary_unary_rpc_method_handler(method) for name, method in unary.items()
        }
        read_log: Any = self.read_log
        methods["ReadLog"] = grpc.unary_stream_rpc_method_handler(read_log)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _answering(
        self, kind: type[Q], answer: Callable[[Q], Awaitable[A]]
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        """A method of the service: parses, answers, and turns refusals into gRPC's codes."""

        async def method(data: bytes, context: Context) -> bytes:
            try:
                request = kind.FromString(data)
                _check_texts(request)
                answered = (await answer(request)).SerializeToString()
            except DecodeError:
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, f"this is no {kind.DESCRIPTOR.name}"
                )
            except ReadError as error:
                await context.abort(_code_of(error), str(error))
            if not self._may_speak():  # it may be old news, and what was asked may come to nothing
                await context.abort(grpc.StatusCode.UNAVAILABLE, "another master may lead by now")
            return answered

        return method

    def answered(self, answer: Answer) -> None:
        """The machine has answered a request."""
        future = self._waiting.get(answer.request)
        if future is not None and not future.done():
            future.set_result(answer)

    # --- lists -----------------------------------------------------------------------------------

    async def get_status(self, _request: pb.GetStatusRequest) -> pb.GetStatusResponse:
        """The cluster in one message."""
        row = view.status(self._tables)
        answer = pb.GetStatusResponse(
            version=VERSION,
            epoch=row.epoch,
            started_ms=self._started_ms,
            agents_active=row.agents[AgentState.ACTIVE],
            agents_unreachable=row.agents[AgentState.UNREACHABLE],
            agents_awaited=row.agents[AgentState.AWAITED] + row.agents[AgentState.DISCONNECTED],
            frameworks_active=row.frameworks_active,
            frameworks_inactive=row.frameworks_inactive,
            offers=row.offers,
            tasks_by_state={state.name: count for state, count in row.tasks.items()},
        )
        write_resources(answer.total, row.total)
        write_resources(answer.allocated, row.allocated)
        write_resources(answer.offered, row.offered)
        return answer

    async def list_agents(self, request: pb.ListAgentsRequest) -> pb.ListAgentsResponse:
        """A page of agents."""
        page = view.agents(self._tables, request.id, request.after)
        answer = pb.ListAgentsResponse()
        for row in page.rows:
            slot = answer.agents.add(
                state=row.state.value,
                since_ms=row.since_ms,
                tasks=row.tasks,
                boot_id=row.boot_id,
                problem=row.problem,
            )
            write_agent_info(slot.info, row.info)
            write_resources(slot.allocated, row.allocated)
            write_resources(slot.offered, row.offered)
        answer.more = _cut(answer.agents) or page.more
        return answer

    async def list_frameworks(self, request: pb.ListFrameworksRequest) -> pb.ListFrameworksResponse:
        """A page of frameworks."""
        page = view.frameworks(self._tables, request.id, request.after, completed=request.completed)
        answer = pb.ListFrameworksResponse()
        for row in page.rows:
            slot = answer.frameworks.add(
                framework_id=row.framework_id,
                principal=row.principal,
                state=row.state,
                since_ms=row.since_ms,
                tasks=row.tasks,
                offers=row.offers,
                suppressed_roles=row.suppressed_roles,
                failover_deadline_ms=row.failover_deadline_ms,
                demand_roles=row.demand_roles,
                requests=row.requests,
            )
            if len(page.rows) == 1:
                for one in view.requests(self._tables, row.framework_id):
                    shown = slot.first_requests.add(offered=one.offered)
                    write_request(shown.request, one.request)
            if row.conduct is not None:
                _write_conduct(slot.conduct, row.conduct)
            write_framework_info(slot.info, row.info)
            write_resources(slot.allocated, row.allocated)
            write_resources(slot.offered, row.offered)
        answer.more = _cut(answer.frameworks) or page.more
        return answer

    async def list_tasks(self, request: pb.ListTasksRequest) -> pb.ListTasksResponse:
        """A page of tasks."""
        page = view.tasks(
            self._tables,
            request.id,
            framework=request.framework,
            agent_id=request.agent_id,
            after=request.after,
            completed=request.completed,
        )
        answer = pb.ListTasksResponse()
        for row in page.rows:
            slot = answer.tasks.add(
                framework_id=row.framework_id,
                framework_name=row.framework_name,
                role=row.role,
                agent_id=row.agent_id,
                agent_hostname=row.agent_hostname,
                state=TASK_STATES.number[row.state],
            )
            write_task(slot.task, row.task)
            for status in row.statuses:
                write_status(slot.statuses.add(), status)
        answer.more = _cut(answer.tasks) or page.more
        return answer

    async def list_offers(self, request: pb.ListOffersRequest) -> pb.ListOffersResponse:
        """A page of outstanding offers."""
        page = view.offers(self._tables, request.id, request.after)
        answer = pb.ListOffersResponse()
        for row in page.rows:
            slot = answer.offers.add(
                offer_id=row.offer_id,
                framework_id=row.framework_id,
                framework_name=row.framework_name,
                role=row.role,
                agent_id=row.agent_id,
                agent_hostname=row.agent_hostname,
                made_ms=row.made_ms,
                lease_ms=row.lease_ms,
            )
            write_resources(slot.resources, row.resources)
        answer.more = _cut(answer.offers) or page.more
        return answer

    async def list_entries(self, request: pb.ListEntriesRequest) -> pb.ListEntriesResponse:
        """What a framework's store has under keys that begin so."""
        framework = self._framework(request.framework)
        answer = pb.ListEntriesResponse(framework_id=framework.framework_id)
        shelf = framework.store.shelf
        for key in shelf.keys(request.prefix):
            entry = shelf.entries[key]
            answer.entries.add(key=key, version=entry.version, size_bytes=len(entry.value))
        return answer

    async def get_entry(self, request: pb.GetEntryRequest) -> pb.GetEntryResponse:
        """One entry of a framework's store."""
        framework = self._framework(request.framework)
        answer = pb.GetEntryResponse(framework_id=framework.framework_id)
        entry = framework.store.shelf.entries.get(request.key)
        if entry is not None:
            answer.entry.value = entry.value
            answer.entry.version = entry.version
        return answer

    def _framework(self, some: str) -> FrameworkEntry:
        found = list(self._tables.frameworks_called(some))
        if len(found) > 1:
            which = these(some, [one.framework_id for one in found])
            raise _Refused(Refusal.AMBIGUOUS, f"{which}: {Refusal.AMBIGUOUS.value}")
        if not found:
            raise _Refused(Refusal.UNKNOWN_FRAMEWORK, some)
        return found[0]

    async def explain(self, request: pb.ExplainRequest) -> pb.ExplainResponse:
        """Why a framework is offered no more than it is, or what became of a task."""
        async with self._explaining:
            await self._until_now()
            began_s = time.perf_counter()
            found = explain(
                self._tables,
                request.subject,
                framework=request.framework,
                role=request.role,
                request=request.request,
            )
            # Who asks in a loop has half of the master's time at most: the next one waits as long.
            await asyncio.sleep(time.perf_counter() - began_s)
        if isinstance(found, NotExplained):
            raise _Refused(found.refusal, found.message)
        answer = pb.ExplainResponse(now_ms=self._tables.now_ms)
        write_explanation(answer, found)
        return answer

    async def _until_now(self) -> None:
        """An idle machine's time is that of what happened last, and durations are told in it: so
        let something happen. A registry that cannot be written holds it up, and nobody who asks."""
        self._inbox.post(Tick(self._tables.now_ms))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NOW_S_MAX):
                await self._inbox.settled()

    # --- requests --------------------------------------------------------------------------------

    async def teardown(self, request: pb.TeardownFrameworkRequest) -> pb.TeardownFrameworkResponse:
        """Remove a framework with its tasks."""
        answer = await self._ask(
            lambda number: TeardownAsked(number, request.framework, request.release)
        )
        return pb.TeardownFrameworkResponse(
            framework_id=answer.framework_id,
            tasks=answer.tasks,
            releasing=answer.releasing,
            agents_away=answer.agents_away,
        )

    async def kill_task(self, request: pb.KillTaskRequest) -> pb.KillTaskResponse:
        """End a task."""
        grace_ms = request.grace_ms if request.HasField("grace_ms") else None
        # What an agent would not take is refused here: it would drop the stream at each attempt.
        if grace_ms is not None and not 0 <= grace_ms <= KILL_GRACE_MS_MAX:
            raise _Refused(Refusal.MALFORMED, f"grace_ms: must be 0 to {KILL_GRACE_MS_MAX:,}")
        answer = await self._ask(
            lambda number: TaskKillAsked(number, request.task_id, request.framework, grace_ms)
        )
        return pb.KillTaskResponse(framework_id=answer.framework_id, agent_id=answer.agent_id)

    async def mark_agent_gone(self, request: pb.MarkAgentGoneRequest) -> pb.MarkAgentGoneResponse:
        """Give an agent up for good."""
        answer = await self._ask(lambda number: AgentGoneAsked(number, request.agent_id))
        return pb.MarkAgentGoneResponse(agent_id=answer.agent_id, tasks=answer.tasks)

    async def _ask(self, event: Callable[[int], Event]) -> Answer:
        if len(self._waiting) >= REQUESTS_MAX:
            raise _Refused(Refusal.TOO_BIG, f"{REQUESTS_MAX:,} requests wait: try later")
        self._asked += 1
        number = self._asked
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._inbox.put([event(number)])
                answer = await future
        except TimeoutError:
            raise _Refused(
                Refusal.AGENT_AWAY, "the master cannot write its registry now", unavailable=True
            ) from None
        finally:
            del self._waiting[number]
        if answer.refusal is not None:
            text = answer.refusal.value
            raise _Refused(answer.refusal, f"{answer.message}: {text}" if answer.message else text)
        return answer

    # --- files -----------------------------------------------------------------------------------

    async def get_post_mortems(
        self, request: pb.GetPostMortemsRequest
    ) -> pb.GetPostMortemsResponse:
        """How the attempts to run a task went."""
        if ID_PATTERN.match(request.task_id) is None:
            raise _Refused(Refusal.MALFORMED, f"{request.task_id!r} is no task id")
        found = await post_mortems(
            self._tables,
            self._reads,
            request.task_id,
            framework=request.framework,
            agent_id=request.agent_id,
        )
        return pb.GetPostMortemsResponse(attempts=found)

    async def read_log(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        """A task's output, from an offset, as pieces."""
        try:
            request = pb.ReadLogRequest.FromString(data)
            _check_texts(request)
            name = request.name or FILE_NAMES[0]
            if name not in FILE_NAMES:
                raise _Refused(Refusal.MALFORMED, f"name: one of {', '.join(FILE_NAMES)}")
            pieces = self._reads.read(
                request.task_id, request.framework, name, request.offset, follow=request.follow
            )
            async for piece in pieces:
                yield pb.ReadLogResponse(data=piece.data, offset=piece.offset).SerializeToString()
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this is no ReadLogRequest")
        except ReadError as error:
            await context.abort(_code_of(error), str(error))


class _Refused(ReadError):
    """A request is answered with a refusal."""


def _write_conduct(slot: pb.Conduct, row: view.ConductRow) -> None:
    slot.answered, slot.lapsed = row.answered, row.lapsed
    slot.held_ms, slot.held_longest_ms = row.held_ms, row.held_longest_ms
    if row.offers_max is not None:
        slot.offers_max = row.offers_max
    for one in row.standing:
        slot.standing.add(
            what=one.what.name, message=one.what.value, since_ms=one.since_ms, times=one.times
        )


def _code_of(error: ReadError) -> grpc.StatusCode:
    """UNAVAILABLE is said of this master alone: who asks takes it for "no master is there"."""
    if error.unavailable:
        return grpc.StatusCode.UNAVAILABLE
    return _CODES.get(error.refusal, grpc.StatusCode.FAILED_PRECONDITION)


def _check_texts(request: Message) -> None:
    """No request needs long texts. Raises _Refused."""
    for field, value in request.ListFields():
        if isinstance(value, str) and (len(value) > TEXT_MAX or not value.isprintable()):
            raise _Refused(Refusal.MALFORMED, f"{field.name}: too long, or cannot be printed")


def _cut(rows: Any) -> bool:
    """Shorten a page whose rows are large to what a message may hold; True when it was."""
    size = 0
    for kept, row in enumerate(rows):
        size += row.ByteSize()
        if size > PAGE_BYTES_MAX and kept > 0:
            del rows[kept:]
            return True
    return False
