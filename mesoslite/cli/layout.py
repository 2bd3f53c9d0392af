"""How tables and pages are laid out, also where the terminal is too narrow for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table

from mesoslite.cli.console import PIPE_COLUMNS

#: What a column of text keeps in a narrow terminal.
TEXT_COLUMNS_MIN = 12
#: The columns of text, which wrap where there is no room; all others are shown whole.
_TEXTS = (
    "ATTRIBUTES",
    "COMMAND",
    "CONTAINERIZERS",
    "HOST",
    "MESSAGE",
    "NAME",
    "PORTS",
    "PRINCIPAL",
    "REASON",
    "RESOURCES",
    "ROLES",
    "SUPPRESSED",
    "UNIT",
    "WHERE",
)


class _Rows(Table):
    """A table that is rather wider than the terminal than that it cuts an id or a number.

    Rich takes from every column when all that may wrap is used up, and leaves no mark of it: half
    of an id names another one. Columns of text wrap, down to TEXT_COLUMNS_MIN.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(options.max_width, self._least(console, options))
        return super().__rich_console__(console, options.update(width=width))

    def _least(self, console: Console, options: ConsoleOptions) -> int:
        """Terminal columns that all take when whatever may wrap has."""
        unbounded = options.update(width=PIPE_COLUMNS)
        least = 2 * (len(self.columns) - 1)
        for column in self.columns:
            header = cell_len(str(column.header))
            cells = (Measurement.get(console, unbounded, cell).maximum for cell in column.cells)
            widest = max(cells, default=0)
            least += max(header, widest if column.no_wrap else min(widest, TEXT_COLUMNS_MIN))
        return least


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table in the one look that all have: without lines, and ids and numbers whole."""
    out = _Rows(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold dim")
    for column in columns:
        out.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column not in _TEXTS,
            overflow="fold",
            min_width=len(column),
        )
    return out


def facts(pairs: Iterable[tuple[str, RenderableType]]) -> Table:
    """Names and values, one pair a line."""
    out = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    out.add_column(style="dim", no_wrap=True)
    out.add_column(overflow="fold")
    for name, value in pairs:
        out.add_row(name, value)
    return out
