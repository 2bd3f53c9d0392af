"""Rows and pages for people: what `ls`, `show` and `status` print without `-o json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mesoslite.cli.amounts import bytes_size, cores, duration, size, text_of, total_of
from mesoslite.cli.console import one_line
from mesoslite.cli.documents import member_name
from mesoslite.cli.layout import facts, table
from mesoslite.v1 import common_pb2, operator_pb2, scheduler_pb2

#: The least an id is shortened to; git's habit.
SHORT_ID = 8
_COLOURS = {
    "active": "green",
    "RUNNING": "green",
    "FINISHED": "green",
    "STAGING": "yellow",
    "STARTING": "yellow",
    "KILLING": "yellow",
    "awaited": "yellow",
    "disconnected": "yellow",
    "inactive": "yellow",
    "KILLED": "magenta",
    "completed": "dim",
    "FAILED": "red",
    "ERROR": "red",
    "DROPPED": "red",
    "GONE": "red",
    "GONE_BY_OPERATOR": "red",
    "gone": "dim",
    "unreachable": "red",
    "UNREACHABLE": "red",
}


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Each id by its shortest beginning, of SHORT_ID characters or more, that no other one has."""
    ordered = sorted(set(ids))
    out: dict[str, str] = {}
    for at, one in enumerate(ordered):
        length = SHORT_ID
        for other in (*ordered[max(0, at - 1) : at], *ordered[at + 1 : at + 2]):
            shared = next(
                (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
                min(len(one), len(other)),
            )
            length = max(length, shared + 1)
        # An id that is nearly shown is shown.
        out[one] = one[:length] if len(one) > length + 4 else one
    return out


def state(name: str | None) -> Text:
    """A state in its colour."""
    return Text(name or "-", style=_COLOURS.get(name or "", ""))


def task_state(task: operator_pb2.TaskRow) -> str | None:
    """The name of a task's state."""
    return member_name(common_pb2.TaskState.DESCRIPTOR, task.state)


def plain(text: str) -> Text:
    """Text of a peer or a task: one line, no markup, no control characters."""
    return Text(one_line(text) or "-")


def moment(wall_ms: int) -> str:
    """A time on the wall clock, where the reader is; `-` for none."""
    if not wall_ms:
        return "-"
    return datetime.fromtimestamp(wall_ms / 1_000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(since_ms: int, now_ms: int) -> str:
    """How long ago; `-` when it is not known."""
    return duration(now_ms - since_ms) if since_ms else "-"


def part(used_milli: int, of_milli: int, name: str) -> str:
    """`1.2/4` or `1 GiB/2 GiB`: in use, and in all."""
    spell = cores if name == "cpus" else size
    return f"{spell(used_milli)}/{spell(of_milli)}"


# --- status ---------------------------------------------------------------------------------------


def status_page(
    status: operator_pb2.GetStatusResponse, target: str, now_ms: int
) -> Sequence[RenderableType]:
    """The cluster on a page."""
    counts = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    counts.add_column(style="dim", no_wrap=True)
    counts.add_column(overflow="fold")
    agents = Text.assemble((f"{status.agents_active} active", "green"))
    if status.agents_awaited:
        agents.append(f", {status.agents_awaited} awaited", "yellow")
    if status.agents_unreachable:
        agents.append(f", {status.agents_unreachable} unreachable", "red")
    frameworks = Text.assemble((f"{status.frameworks_active} active", "green"))
    if status.frameworks_inactive:
        frameworks.append(f", {status.frameworks_inactive} inactive", "yellow")
    counts.add_row("agents", agents)
    counts.add_row("frameworks", frameworks)
    counts.add_row("tasks", _tasks_by_state(status.tasks_by_state))
    counts.add_row("offers", f"{status.offers} outstanding")
    head = Text.assemble(
        ("mesoslite ", "bold"),
        (status.version, "bold"),
        f" at {target}, epoch {status.epoch}, up {age(status.started_ms, now_ms)}",
    )
    if not status.total:
        return (head, Text(), counts)
    return (head, Text(), counts, Text(), _shares(status))


def _tasks_by_state(by_state: Mapping[str, int]) -> Text:
    order = list(common_pb2.TaskState.DESCRIPTOR.values_by_number)
    names = [member_name(common_pb2.TaskState.DESCRIPTOR, at) for at in order]
    out = Text()
    for name in names:
        if name and by_state.get(name, 0):
            out.append(", " if out else "")
            out.append(f"{by_state[name]} {name}", _COLOURS.get(name, ""))
    return out or Text("none")


def _shares(status: operator_pb2.GetStatusResponse) -> Table:
    out = table("RESOURCE", "TOTAL", "ALLOCATED", "OFFERED", "FREE", right=_NUMBERS)
    names = sorted(
        {one.key.partition("(")[0] for one in status.total if _is_scalar(one)}, key=_rank
    )
    for name in names:
        total, held, offered = (
            total_of(amounts, name) for amounts in (status.total, status.allocated, status.offered)
        )
        spell = size if name in ("mem", "disk") else cores
        out.add_row(
            name,
            spell(total),
            f"{spell(held)} ({100 * held // (total or 1)} %)",
            spell(offered),
            spell(max(0, total - held - offered)),
        )
    return out


def _is_scalar(amount: common_pb2.Resource) -> bool:
    return amount.WhichOneof("value") in ("scalar_milli", None)


def _rank(name: str) -> tuple[int, str]:
    order = ("cpus", "mem", "disk", "gpus")
    return (order.index(name) if name in order else len(order), name)


_NUMBERS = ("CPUS", "MEM", "DISK", "TASKS", "OFFERS", "TOTAL", "ALLOCATED", "OFFERED", "FREE")

# --- lists ----------------------------------------------------------------------------------------


def agent_table(agents: Sequence[operator_pb2.AgentRow], now_ms: int, wide: bool) -> Table:
    """`agent ls`."""
    more = ("PORTS", "CONTAINERIZERS", "ATTRIBUTES", "VERSION") if wide else ()
    out = table(
        "AGENT", "HOST", "STATE", "SINCE", "TASKS", "CPUS", "MEM", "DISK", *more, right=_NUMBERS
    )
    short = short_ids(row.info.agent_id for row in agents)
    for row in agents:
        info = row.info
        cells: list[RenderableType] = [
            info.agent_id if wide else short[info.agent_id],
            plain(info.hostname),
            state(row.state),
            age(row.since_ms, now_ms),
            str(row.tasks),
            *(
                part(total_of(row.allocated, name), total_of(info.resources, name), name)
                for name in ("cpus", "mem", "disk")
            ),
        ]
        if wide:
            cells += [
                text_of(one for one in info.resources if one.WhichOneof("value") == "ranges"),
                ",".join(info.containerizers) or "-",
                plain(attributes_text(info.attributes)),
                info.version or "-",
            ]
        out.add_row(*cells)
    return out


def attributes_text(attributes: Iterable[common_pb2.Attribute]) -> str:
    """Mesos's spelling, `rack:r1;zone:[1-4]`."""
    return ";".join(f"{one.name}:{_attribute_value(one)}" for one in attributes)


def _attribute_value(attribute: common_pb2.Attribute) -> str:
    match attribute.WhichOneof("value"):
        case "scalar_milli":
            return cores(attribute.scalar_milli)
        case "ranges":
            return "[" + ",".join(f"{r.low}-{r.high}" for r in attribute.ranges.ranges) + "]"
        case _:
            return attribute.text


def framework_table(
    frameworks: Sequence[operator_pb2.FrameworkRow], now_ms: int, wide: bool
) -> Table:
    """`framework ls`."""
    more = ("HOLDS", "PRINCIPAL", "HOST", "SUPPRESSED", "FAILOVER") if wide else ()
    columns = ("FRAMEWORK", "NAME", "STATE", "SINCE", "ROLES", "TASKS", "OFFERS", "CPUS", "MEM")
    out = table(*columns, *more, right=_NUMBERS)
    short = short_ids(row.framework_id for row in frameworks)
    for row in frameworks:
        cells: list[RenderableType] = [
            row.framework_id if wide else short[row.framework_id],
            plain(row.info.name),
            state(row.state),
            age(row.since_ms, now_ms),
            ",".join(row.info.roles),
            str(row.tasks),
            str(row.offers),
            cores(total_of(row.allocated, "cpus")),
            size(total_of(row.allocated, "mem")),
        ]
        if wide:
            cells += [
                mean_hold(row.conduct),
                plain(row.principal),
                plain(row.info.hostname),
                ",".join(row.suppressed_roles) or "-",
                duration(row.info.failover_timeout_ms),
            ]
        out.add_row(*cells)
    return out


def entry_table(entries: Sequence[operator_pb2.EntryRow]) -> Table:
    """`framework store ls`."""
    out = table("KEY", "VERSION", "BYTES", right=("VERSION", "BYTES"))
    for row in entries:
        out.add_row(plain(row.key), str(row.version), f"{row.size_bytes:,}")
    return out


def mean_hold(conduct: operator_pb2.Conduct) -> str:
    """How long an offer was held on average; `-` before the first."""
    ended = conduct.answered + conduct.lapsed
    return duration(conduct.held_ms // ended) if ended else "-"


def task_table(tasks: Sequence[operator_pb2.TaskRow], now_ms: int, wide: bool) -> Table:
    """`task ls`."""
    more = ("ROLE", "FRAMEWORK ID", "AGENT ID", "CONTAINER", "COMMAND", "MESSAGE") if wide else ()
    out = table("TASK", "FRAMEWORK", "STATE", "SINCE", "HOST", "CPUS", "MEM", *more, right=_NUMBERS)
    for row in tasks:
        last = row.statuses[-1] if row.statuses else None
        cells: list[RenderableType] = [
            row.task.task_id,
            plain(row.framework_name),
            state(task_state(row)),
            age(last.timestamp_ms, now_ms) if last else "-",
            plain(row.agent_hostname),
            cores(total_of(row.task.resources, "cpus")),
            size(total_of(row.task.resources, "mem")),
        ]
        if wide:
            cells += [
                row.role or "-",
                row.framework_id,
                row.agent_id or "-",
                (last.container_id if last else "") or "-",
                plain(command_text(row.task.command)),
                plain(last.message if last else ""),
            ]
        out.add_row(*cells)
    return out


def command_text(words: Iterable[str]) -> str:
    """A command line as one would type it."""
    import shlex

    return shlex.join(words)


def offer_table(offers: Sequence[operator_pb2.OfferRow], now_ms: int, wide: bool) -> Table:
    """`offer ls`."""
    more = ("FRAMEWORK ID", "AGENT ID", "RESOURCES") if wide else ()
    out = table(
        "OFFER", "FRAMEWORK", "ROLE", "HOST", "CPUS", "MEM", "AGE", "LEASE", *more, right=_NUMBERS
    )
    for row in offers:
        cells: list[RenderableType] = [
            row.offer_id,
            plain(row.framework_name),
            row.role,
            plain(row.agent_hostname),
            cores(total_of(row.resources, "cpus")),
            size(total_of(row.resources, "mem")),
            age(row.made_ms, now_ms),
            duration(row.lease_ms) if row.lease_ms else "-",
        ]
        if wide:
            cells += [row.framework_id, row.agent_id, text_of(row.resources)]
        out.add_row(*cells)
    return out


# --- one thing ------------------------------------------------------------------------------------


def agent_page(row: operator_pb2.AgentRow) -> RenderableType:
    """`agent show`."""
    info = row.info
    problem = [("problem", Text(one_line(row.problem), style="yellow"))] if row.problem else []
    return facts(
        [
            ("agent", info.agent_id),
            ("host", plain(info.hostname)),
            ("state", state(row.state)),
            *problem,
            ("since", moment(row.since_ms)),
            ("tasks", str(row.tasks)),
            ("resources", text_of(info.resources)),
            ("allocated", text_of(row.allocated)),
            ("offered", text_of(row.offered)),
            ("attributes", plain(attributes_text(info.attributes))),
            ("region", plain(info.region or "-")),
            ("zone", plain(info.zone or "-")),
            ("containerizers", ", ".join(info.containerizers) or "-"),
            ("version", info.version or "-"),
            ("boot id", plain(row.boot_id)),
        ]
    )


def framework_page(row: operator_pb2.FrameworkRow) -> RenderableType:
    """`framework show`."""
    pairs: list[tuple[str, RenderableType]] = [
        ("framework", row.framework_id),
        ("name", plain(row.info.name)),
        ("principal", plain(row.principal)),
        ("state", state(row.state)),
        ("since", moment(row.since_ms)),
        ("host", plain(row.info.hostname)),
        ("roles", ", ".join(row.info.roles)),
        ("suppressed", ", ".join(row.suppressed_roles) or "-"),
        ("tasks", str(row.tasks)),
        ("offers", str(row.offers)),
        ("allocated", text_of(row.allocated)),
        ("offered", text_of(row.offered)),
        ("failover timeout", duration(row.info.failover_timeout_ms)),
    ]
    if row.HasField("conduct"):
        pairs += conduct_facts(row.conduct)
    if row.HasField("failover_deadline_ms"):
        pairs.append(("removed at", moment(row.failover_deadline_ms)))
    if row.demand_roles:
        pairs.append(("only requested in", ", ".join(row.demand_roles)))
    if not row.requests:
        return facts(pairs)
    more = row.requests - len(row.first_requests)
    pairs.append(("requests", f"{row.requests:,}" + (f", {more:,} not shown" if more else "")))
    return Group(facts(pairs), "", request_table(row.first_requests))


def request_table(requests: Iterable[operator_pb2.RequestRow]) -> Table:
    """What a framework still wants: one row for each request."""
    columns = ("REQUEST", "ROLE", "WANTED", "OFFERED", "UNIT", "WHERE", "POLICY")
    out = table(*columns, right=("WANTED", "OFFERED"))
    for row in requests:
        one = row.request
        unit = text_of(one.unit)
        out.add_row(
            one.request_id,
            one.role,
            f"{one.count:,}",
            f"{row.offered:,}",
            f"{unit}; any {one.ports} ports" if one.ports else unit,
            plain(one.where or "-"),
            scheduler_pb2.Policy.Name(one.policy).removeprefix("POLICY_").lower(),
        )
    return out


def conduct_facts(conduct: operator_pb2.Conduct) -> list[tuple[str, RenderableType]]:
    """How a framework treats what it is offered, and what it is bounded for."""
    pairs: list[tuple[str, RenderableType]] = []
    if conduct.answered or conduct.lapsed:
        times = f"{mean_hold(conduct)} on average, {duration(conduct.held_longest_ms)} at most"
        answers = f"{conduct.answered:,} answered, {conduct.lapsed:,} left until the lease ran out"
        pairs += [("offers so far", answers), ("held for", times)]
    if conduct.HasField("offers_max"):
        pairs.append(("offers at a time", f"{conduct.offers_max:,}, until it answers more"))
    for one in conduct.standing:
        times = "once" if one.times == 1 else f"{one.times:,} times"
        text = f"{one.message}: {times} since {moment(one.since_ms)}"
        pairs.append(("bounded", Text(text, style="yellow")))
    return pairs


def task_page(row: operator_pb2.TaskRow) -> RenderableType:
    """`task show`: what it is, and each state it was in."""
    task = row.task
    pairs: list[tuple[str, RenderableType]] = [
        ("task", task.task_id),
        ("framework", plain(f"{row.framework_name} ({row.framework_id})")),
        ("role", row.role or "-"),
        ("state", state(task_state(row))),
        ("agent", plain(f"{row.agent_hostname} ({row.agent_id})" if row.agent_id else "-")),
        ("command", plain(command_text(task.command))),
        ("resources", text_of(task.resources)),
        ("containerizer", task.containerizer or "the agent's default"),
    ]
    if task.HasField("image"):
        pairs.append(("image", plain(task.image)))
    if task.HasField("user"):
        pairs.append(("user", plain(task.user)))
    if task.HasField("fence"):
        pairs.append(("fence", plain(task.fence)))
    if task.environment:
        spelled = ", ".join(f"{key}={value}" for key, value in sorted(task.environment.items()))
        pairs.append(("environment", plain(spelled)))
    if task.uris:
        pairs.append(("files", plain(", ".join(uri.value for uri in task.uris))))
    if task.volumes:
        spelled = ", ".join(f"{one.volume_id} at {one.path}" for one in task.volumes)
        pairs.append(("volumes", plain(spelled)))
    if task.labels:
        spelled = ", ".join(f"{key}={value}" for key, value in sorted(task.labels.items()))
        pairs.append(("labels", plain(spelled)))
    pairs.append(("kill grace", duration(task.kill_grace_ms)))
    if task.HasField("max_completion_ms"):
        pairs.append(("at most", duration(task.max_completion_ms)))
    last = row.statuses[-1] if row.statuses else None
    if last and last.HasField("exit_code"):
        pairs.append(("exit code", str(last.exit_code)))
    if last and last.HasField("signal"):
        pairs.append(("signal", str(last.signal)))
    if last and last.HasField("peak_mem_bytes"):
        pairs.append(("peak memory", bytes_size(last.peak_mem_bytes)))
    if last and last.HasField("cpu_ms"):
        pairs.append(("cpu time", duration(last.cpu_ms)))
    return Group(facts(pairs), Text(), life_table(row.statuses)) if row.statuses else facts(pairs)


def life_table(statuses: Iterable[common_pb2.TaskStatus]) -> Table:
    """What a task was told to be, and when, oldest first."""
    history = table("WHEN", "STATE", "REASON", "MESSAGE")
    for status in statuses:
        history.add_row(
            moment(status.timestamp_ms),
            state(member_name(common_pb2.TaskState.DESCRIPTOR, status.state)),
            member_name(common_pb2.Reason.DESCRIPTOR, status.reason) or "-",
            plain(status.message),
        )
    return history


def offer_page(row: operator_pb2.OfferRow, now_ms: int) -> RenderableType:
    """`offer show`."""
    return facts(
        [
            ("offer", row.offer_id),
            ("framework", plain(f"{row.framework_name} ({row.framework_id})")),
            ("role", row.role),
            ("agent", plain(f"{row.agent_hostname} ({row.agent_id})")),
            ("resources", text_of(row.resources)),
            ("made", f"{moment(row.made_ms)}, {age(row.made_ms, now_ms)} ago"),
            ("lease", f"{duration(row.lease_ms)} to run" if row.lease_ms else "without end"),
        ]
    )
