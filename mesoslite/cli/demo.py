"""`mesoslite demo`: a cluster, a framework, and the four steps of two-level scheduling, live."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mesoslite import FrameworkError, Refusal, Resources, Scheduler, run_async
from mesoslite.cli import layout, tables
from mesoslite.cli.amounts import amount, cores, duration, resources_of, size
from mesoslite.cli.cluster import Cluster, ClusterOptions
from mesoslite.cli.connection import Operator
from mesoslite.cli.console import Code, Failure, console, note, one_line, show
from mesoslite.cli.dev import opened, stop_signals
from mesoslite.cli.frameworks import find_framework
from mesoslite.cli.outcome import SIGNAL_BASE
from mesoslite.cli.relay import NO_CONTAINERS, Relay
from mesoslite.cli.watch import Moment, Story, watched
from mesoslite.logs import set_up_logs

DEMO_S_MAX = 120.0  # it takes 10 to 20 s; one that hangs says so
FRAMES_A_SECOND = 10
LINES_SHOWN = 14
STEPS = {
    1: ("agents advertise", "blue"),
    2: ("master offers", "yellow"),
    3: ("framework decides", "magenta"),
    4: ("agents run", "green"),
}


def demo(*, agents: int, containerizer: str | None, framework: str) -> int:
    """Show it all, then leave nothing behind; 130 after Ctrl-C."""
    set_up_logs(level="error")  # what is to be seen is shown here
    return asyncio.run(_demo(agents, containerizer, find_framework(framework)))


async def _demo(agents: int, containerizer: str | None, kind: type[Scheduler]) -> int:
    began_s = time.monotonic()
    relay = Relay("text", verbose=False)
    relay.muted = True  # the picture has the terminal; what ends a daemon is told all the same
    relay.listen = _tell_fallback()
    cluster = Cluster(ClusterOptions(agents=agents, containerizer=containerizer), relay)
    with stop_signals(cluster.hurry) as stopped:
        note(f"starting a master and {agents} agents as processes of their own ...")
        stage: _Show | None = None
        async with opened(cluster, stopped, relay):
            if not stopped.done():
                stage = _Show(console(sys.stdout), cluster)
                await _play(stage, cluster, kind, stopped)
            note("stopping ...")
    if stopped.done():
        return SIGNAL_BASE + stopped.result()
    if stage is not None:
        stage.summary(time.monotonic() - began_s, cluster.left)
    return Code.FAILED if cluster.left else Code.OK


def _tell_fallback() -> Callable[[str, dict[str, Any]], None]:
    """Say once why tasks do not run in containers, where they cannot."""
    told = False

    def listen(_daemon: str, entry: dict[str, Any]) -> None:
        nonlocal told
        if entry.get("event") == NO_CONTAINERS and not told:
            told = True
            why = one_line(str(entry.get("why", "")))
            note(f"no containers on this machine ({why}): tasks run as plain processes")

    return listen


async def _play(
    show: _Show, cluster: Cluster, kind: type[Scheduler], stopped: asyncio.Future[int]
) -> None:
    """Run the framework to its end, or until somebody or something ends it before."""
    loop = asyncio.get_running_loop()
    scheduler = watched(kind, show.story, lambda moment: _tell(loop, show, moment))()
    with show.live():
        show.agents_came()
        session = asyncio.create_task(
            run_async(scheduler, master=cluster.master, token_file=cluster.token_file)
        )
        await asyncio.wait(
            (session, stopped, cluster.lost),
            timeout=DEMO_S_MAX,
            return_when=asyncio.FIRST_COMPLETED,
        )
        over = session.done()
        if not over:
            session.cancel()
            await asyncio.wait([session])
    if stopped.done():
        return
    if cluster.lost.done():
        raise Failure(Code.FAILED, cluster.lost.result())
    if not over:
        raise Failure(Code.FAILED, f"the framework has not ended within {DEMO_S_MAX:.0f} s")
    try:
        session.result()
    except FrameworkError as error:
        # After a teardown the master's last word is that the framework is removed.
        if error.refusal is not Refusal.FRAMEWORK_REMOVED:
            raise Failure(Code.FAILED, str(error)) from None


def _tell(loop: asyncio.AbstractEventLoop, show: _Show, moment: Moment) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is over, and so is the show
        loop.call_soon_threadsafe(show.take, moment)


class _Show:
    """What is seen: a picture that moves on a terminal, else a line for each thing."""

    def __init__(self, out: Console, cluster: Cluster) -> None:
        self.story = Story()
        self._out = out
        self._began_s = time.monotonic()
        self._lines: deque[Text] = deque(maxlen=LINES_SHOWN)
        self._counts = dict.fromkeys(STEPS, 0)
        with Operator(cluster.master, cluster.token_file) as operator:
            self._agents = sorted(operator.agents(), key=lambda row: row.info.hostname)
        for row in self._agents:
            self.story.hostnames[row.info.agent_id] = row.info.hostname
        self._totals: dict[str, Resources] = {
            row.info.agent_id: resources_of(row.info.resources) for row in self._agents
        }
        names = {name for row in self._agents for name in row.info.containerizers[:1]}
        self._containers = ", ".join(sorted(names))

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Show the picture meanwhile; without a terminal there is none."""
        if not self._out.is_terminal:
            yield
            return
        with Live(
            get_renderable=self._picture,
            console=self._out,
            refresh_per_second=FRAMES_A_SECOND,
            transient=True,
        ):
            yield

    def agents_came(self) -> None:
        """Step 1 happened while the cluster started."""
        for row in self._agents:
            has = amount(self._totals[row.info.agent_id])
            ready = (
                f", runs tasks in {row.info.containerizers[0]}" if row.info.containerizers else ""
            )
            self.take(Moment(1, f"{row.info.hostname} has {has}{ready}"))

    def take(self, moment: Moment) -> None:
        """One more thing has happened."""
        self._counts[moment.step] += 1
        name, colour = STEPS[moment.step]
        line = Text.assemble(
            (f"{time.monotonic() - self._began_s:5.1f}s ", "dim"),
            (f"{moment.step} {name:<18}", colour),
        )
        if moment.state:
            line.append_text(tables.state(f"{moment.state:<8}")).append(" ")
            line.stylize(tables.state(moment.state).style, len(line) - 9, len(line) - 1)
        line.append(one_line(moment.text))
        if self._out.is_terminal:
            self._lines.append(line)
        else:
            self._out.print(line)

    def _picture(self) -> RenderableType:
        steps = Columns(
            [
                Text.assemble(
                    (f" {step} ", f"bold {colour} reverse"), f" {name} ", (f"{n}", "bold")
                )
                for (step, (name, colour)), n in zip(
                    STEPS.items(), self._counts.values(), strict=True
                )
            ],
            padding=(0, 3),
        )
        lines: list[RenderableType] = [*self._lines]
        lines += [Text()] * (LINES_SHOWN - len(lines))
        return Group(
            Text(),
            steps,
            Text(),
            Panel(self._hosts(), title="agents", title_align="left", border_style="dim"),
            Panel(
                Group(*(_one_row(line) for line in lines)),
                title="what happens",
                title_align="left",
                border_style="dim",
            ),
        )

    def _hosts(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(width=22)
        table.add_column(no_wrap=True, style="dim")
        table.add_column(no_wrap=True, overflow="ellipsis")
        for row in self._agents:
            agent_id = row.info.agent_id
            used, total = self.story.used(agent_id), self._totals[agent_id]
            tasks = Text(overflow="ellipsis")
            for task_id, state in sorted(self.story.states.items()):
                if self.story.agent_of[task_id] == agent_id and not state.terminal:
                    tasks.append(task_id, tables.state(state.name).style).append(" ")
            table.add_row(
                row.info.hostname,
                ProgressBar(total.scalar("cpus") or 1, used.scalar("cpus"), width=20),
                f"{cores(used.scalar('cpus'))}/{cores(total.scalar('cpus'))} cpus  "
                f"{size(used.scalar('mem'))}",
                tasks,
            )
        return table

    def summary(self, took_s: float, left: list[str]) -> None:
        """What has been seen, in a few lines."""
        story = self.story
        where = layout.table("AGENT", "TASKS", *sorted(story.ends()), right=("TASKS",))
        for row in self._agents:
            here = [
                story.states[task_id]
                for task_id, agent_id in story.agent_of.items()
                if agent_id == row.info.agent_id
            ]
            counts = [
                str(sum(s.name == name for s in here) or "-") for name in sorted(story.ends())
            ]
            where.add_row(row.info.hostname, str(len(here)), *counts)
        ends = ", ".join(f"{count} {name}" for name, count in sorted(story.ends().items()))
        half, most = story.percentile_s(50), story.percentile_s(99)
        latency = (
            f"{half * 1_000:.0f} ms (p50), {most * 1_000:.0f} ms (p99)"
            if half is not None and most is not None
            else "no task ran"
        )
        facts = layout.facts(
            [
                ("tasks", f"{len(story.states)}: {ends or 'none'}"),
                ("containers", self._containers),
                ("offers", str(story.offers)),
                ("offer to running", latency),
                ("all in all", duration(round(took_s * 1_000))),
                ("left behind", ", ".join(left) or "nothing: no process, cgroup, mount, directory"),
            ]
        )
        show(Text("\nsummary", style="bold"), facts, Text(), where)


def _one_row(line: RenderableType) -> RenderableType:
    if isinstance(line, Text):
        line.no_wrap, line.overflow = True, "ellipsis"
    return line
