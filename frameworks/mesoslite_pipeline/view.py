"""What is seen of a run: a picture that moves on a terminal, else a line now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mesoslite_pipeline.progress import Gauge, Progress

FRAMES_A_SECOND = 4
TOP = 8
BAR_COLUMNS = 30
#: What runs, and whose it is.
KINDS = (
    ("broker", "Kafka"), ("node", "Cassandra"), ("driver", "Spark"), ("executor", "Spark"),
    ("ingest", "pipeline"),
)  # fmt: skip


class View:
    """The picture of a run. Lines that are logged meanwhile scroll by above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._out = Console(highlight=False, emoji=False, markup=False)
        self._began_s = time.monotonic()

    @property
    def moves(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self._out.is_terminal

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Show it meanwhile."""
        if not self.moves:
            yield
            return
        with Live(
            get_renderable=self._picture,
            console=self._out,
            refresh_per_second=FRAMES_A_SECOND,
            transient=True,
        ):
            yield

    def result(self, verdict: str, *, well: bool) -> None:
        """What came out, in the end."""
        self._out.print(self._totals(len(self._progress.totals)))
        self._out.print(Text(verdict, style="bold green" if well else "bold red"), soft_wrap=True)

    # --- the picture ------------------------------------------------------------------------------

    def _picture(self) -> RenderableType:
        progress = self._progress
        took_s = time.monotonic() - self._began_s
        head = Text.assemble((f"{took_s:6.0f} s  ", "dim"), (progress.phase, "bold"))
        if progress.host:
            head.append(f"   {progress.host}", style="bold yellow")
        return Panel(
            Group(head, Text(), self._flow(), Text(), self._tasks(), Text(), self._totals(TOP)),
            title="events -> Kafka -> Spark -> Cassandra",
            title_align="left",
            border_style="dim",
        )

    def _flow(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row("written", *self._gauge(self._progress.written))
        table.add_row("counted", *self._gauge(self._progress.counted))
        return table

    def _gauge(self, gauge: Gauge) -> tuple[RenderableType, ...]:
        return (
            ProgressBar(self._progress.events, gauge.value, width=BAR_COLUMNS),
            Text(f"{gauge.value:>13,}", style="bold"),
            Text(f"{gauge.a_second:>10,.0f} a second", style="dim"),
        )

    def _tasks(self) -> Text:
        told = Text()
        for kind, whose in KINDS:
            count = self._progress.tasks.get(kind, 0)
            told.append(f"{whose} {kind} ", style="dim")
            told.append(f"{count}   ", style="green" if count else "red")
        return told

    def _totals(self, most: int) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for name in ("KEY", "EVENTS", "AMOUNT"):
            table.add_column(name, justify="left" if name == "KEY" else "right")
        for key, total in self._progress.top(most):
            table.add_row(key, f"{total.events:,}", f"{total.amount:,}")
        return table
