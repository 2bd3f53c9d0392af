"""What people read: tables and pages."""

import io

import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from mesoslite.cli import tables
from mesoslite.cli.console import show
from mesoslite.v1 import common_pb2, operator_pb2, scheduler_pb2

NOW_MS = 1_700_000_100_000


def printed(*things: RenderableType) -> list[str]:
    out = Console(file=io.StringIO(), width=400, color_system=None)
    for thing in things:
        out.print(thing)
    assert isinstance(out.file, io.StringIO)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


def amounts(cpus: int, mem: int) -> list[common_pb2.Resource]:
    return [
        common_pb2.Resource(key="cpus", scalar_milli=cpus),
        common_pb2.Resource(key="mem", scalar_milli=mem * 1_000),
    ]


def test_ids_are_shortened_to_what_tells_them_apart() -> None:
    ids = ["aaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaabbbbbbbbbb", "cccccccccccccccccccc", "short"]
    assert tables.short_ids(ids) == {
        "aaaaaaaaaaaaaaaaaaaa": "aaaaaaaaaaa",
        "aaaaaaaaaabbbbbbbbbb": "aaaaaaaaaab",
        "cccccccccccccccccccc": "cccccccc",
        "short": "short",
    }


def test_agents_show_what_is_in_use_of_what_there_is() -> None:
    row = operator_pb2.AgentRow(
        info=common_pb2.AgentInfo(
            agent_id="agent-0123456789abcdef", hostname="host-1", resources=amounts(4_000, 8_192)
        ),
        state="active",
        since_ms=NOW_MS - 130_000,
        allocated=amounts(1_500, 1_024),
        tasks=3,
    )
    head, line = printed(tables.agent_table([row], NOW_MS, wide=False))
    assert head.split() == ["AGENT", "HOST", "STATE", "SINCE", "TASKS", "CPUS", "MEM", "DISK"]
    assert line.split("  ")[0] == "agent-01"
    for cell in ("host-1", "active", "2m10s", "1.5/4", "1 GiB/8 GiB"):
        assert cell in line
    assert "agent-0123456789abcdef" in printed(tables.agent_table([row], NOW_MS, wide=True))[1]


def test_a_task_s_page_tells_its_history_and_how_it_ended() -> None:
    status = common_pb2.TaskStatus(
        state=common_pb2.TASK_STATE_FAILED,
        reason=common_pb2.REASON_MEMORY_LIMIT,
        message="took more than its 32 MiB",
        timestamp_ms=NOW_MS,
        signal=9,
        peak_mem_bytes=32 << 20,
        cpu_ms=1_500,
    )
    row = operator_pb2.TaskRow(
        task=common_pb2.Task(
            task_id="hog",
            command=["sh", "-c", "a b"],
            resources=amounts(100, 32),
            fence="broker-0",
            volumes=[common_pb2.VolumeMount(volume_id="data-0", path="/var/data")],
        ),
        state=common_pb2.TASK_STATE_FAILED,
        statuses=[status],
    )
    page = "\n".join(printed(tables.task_page(row)))
    for text in (
        "data-0 at /var/data",
        "sh -c 'a b'",
        "broker-0",
        "cpus:0.1;mem:32",
        "MEMORY_LIMIT",
        "took more",
        "32 MiB",
        "1.5s",
    ):
        assert text in page


def test_texts_of_tasks_can_not_command_the_terminal() -> None:
    row = operator_pb2.TaskRow(
        task=common_pb2.Task(task_id="t", command=["\x1b[2J\nrm", "[red]x"]),
        framework_name="\x1b]0;title\x07",
    )
    for line in printed(tables.task_table([row], NOW_MS, wide=True)):
        assert line.isprintable()
    assert "[red]x" in printed(tables.task_table([row], NOW_MS, wide=True))[1]


def test_the_status_page_counts_and_sums_up() -> None:
    reply = operator_pb2.GetStatusResponse(
        version="1.2.3",
        epoch=7,
        started_ms=NOW_MS - 60_000,
        agents_active=3,
        agents_awaited=1,
        frameworks_active=2,
        offers=4,
        tasks_by_state={"RUNNING": 5, "STAGING": 1},
        total=amounts(4_000, 1_024),
        allocated=amounts(1_000, 512),
        offered=amounts(2_000, 0),
    )
    page = printed(*tables.status_page(reply, "localhost:5060", NOW_MS))
    assert page[0] == "mesoslite 1.2.3 at localhost:5060, epoch 7, up 1m00s"
    assert any("3 active, 1 awaited" in line for line in page)
    assert any("1 STAGING, 5 RUNNING" in line for line in page)
    [cpus] = [line for line in page if line.startswith("cpus")]
    assert cpus.split() == ["cpus", "4", "1", "(25", "%)", "2", "1"]


def test_empty_rows_are_shown_as_dashes() -> None:
    for page in (
        tables.agent_page(operator_pb2.AgentRow()),
        tables.framework_page(operator_pb2.FrameworkRow()),
        tables.task_page(operator_pb2.TaskRow()),
        tables.offer_page(operator_pb2.OfferRow(), NOW_MS),
    ):
        assert all(line for line in printed(page))


def test_a_framework_s_page_tells_how_it_treats_its_offers() -> None:
    episode = operator_pb2.Episode(
        what="SILENT", message="it leaves offers", since_ms=NOW_MS, times=1_200
    )
    conduct = operator_pb2.Conduct(
        answered=3, lapsed=1, held_ms=8_000, held_longest_ms=6_000, offers_max=2, standing=[episode]
    )
    row = operator_pb2.FrameworkRow(framework_id="f-1", conduct=conduct)
    page = "\n".join(printed(tables.framework_page(row)))
    for text in ("3 answered, 1 left", "2.0s on average, 6.0s", "2, until", "1,200 times since"):
        assert text in page
    head, line = printed(tables.framework_table([row], NOW_MS, wide=True))
    assert line[head.index("HOLDS") :].startswith("2.0s")
    quiet = operator_pb2.FrameworkRow(framework_id="f-1", conduct=operator_pb2.Conduct())
    assert "held for" not in "\n".join(printed(tables.framework_page(quiet)))


def test_a_framework_s_page_lists_what_it_still_wants() -> None:
    request = scheduler_pb2.Request(
        request_id="brokers",
        role="*",
        unit=amounts(500, 64),
        count=1_500,
        ports=2,
        where="rack != r1",
        policy=scheduler_pb2.POLICY_BINPACK,
    )
    row = operator_pb2.FrameworkRow(
        framework_id="1-F1",
        demand_roles=["*"],
        requests=120,
        first_requests=[operator_pb2.RequestRow(request=request, offered=3)],
    )
    page = printed(tables.framework_page(row))
    assert any(line.split() == ["only", "requested", "in", "*"] for line in page)
    assert any(line.endswith("120, 119 not shown") for line in page)
    head, line = page[-2:]
    assert head.split() == ["REQUEST", "ROLE", "WANTED", "OFFERED", "UNIT", "WHERE", "POLICY"]
    for cell in (
        "brokers",
        "1,500",
        " 3 ",
        "cpus:0.5;mem:64; any 2 ports",
        "rack != r1",
        "binpack",
    ):
        assert cell in line


class Terminal(io.StringIO):
    """A terminal, as far as anybody asks."""

    def isatty(self) -> bool:
        return True


def seen(monkeypatch: pytest.MonkeyPatch, columns: int, thing: RenderableType) -> list[str]:
    """The lines that `show` prints in a terminal of so many columns."""
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout", terminal)
    show(thing)
    return Text.from_ansi(terminal.getvalue()).plain.splitlines()


@pytest.mark.parametrize("columns", [10, 40, 60])
def test_a_narrow_terminal_cuts_no_id_and_no_number(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    frameworks = [
        operator_pb2.FrameworkRow(
            framework_id=f"1-F{number}",
            info=common_pb2.FrameworkInfo(
                name="a name of several words", roles=["first-role", "second-role"]
            ),
            state="completed",
            since_ms=NOW_MS - 137_000,
            tasks=1_234,
        )
        for number in range(20, 30)
    ]
    text = seen(monkeypatch, columns, tables.framework_table(frameworks, NOW_MS, wide=False))
    rows = [line for line in text if line.startswith("1-F")]
    assert [row.split()[0] for row in rows] == [f"1-F{number}" for number in range(20, 30)]
    assert all("2m17s" in row and "completed" in row and "1234" in row for row in rows)
    whole = "".join("".join(line.split()) for line in text)
    assert whole.count("several") == whole.count("words") == 10


def test_a_table_is_no_wider_than_the_terminal_where_its_texts_can_wrap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status = common_pb2.TaskStatus(
        state=common_pb2.TASK_STATE_FAILED, message="what went wrong, at length: " + "word " * 40
    )
    text = seen(monkeypatch, 80, tables.life_table([status]))
    assert max(map(len, text)) <= 80
    assert sum(line.count("word") for line in text) == 40
