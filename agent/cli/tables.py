"""Tables on the terminal. Only commands that print one import this, and Rich with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_STATE_STYLES = {
    "active": "green",
    "ok": "green",
    "running": "green",
    "ready": "green",
    "disabled": "dim",
    "failed": "bold red",
    "hung": "bold red",
    "quarantined": "bold red",
    "not ready": "bold red",
    "backing off": "yellow",
    "missing": "yellow",
}
_WIDTH_OF_A_FILE = 10_000  # nothing is folded or cut where a program reads


def console() -> Console:
    """The terminal on stdout; in a pipe as wide as the rows need."""
    return Console(width=None if is_terminal() else _WIDTH_OF_A_FILE, highlight=False)


def is_terminal() -> bool:
    """Whether a person reads, not a program."""
    return sys.stdout.isatty()


def visible(text: str) -> str:
    """A text in which nothing commands the terminal: labels and errors are what others wrote."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in "\n\t" else ascii(sign)[1:-1] for sign in text)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], state_column: int | None = None) -> None:
    """Print rows below headers; words in ``state_column`` get the colour of what they mean.

    On a narrow terminal the last column is folded.
    """
    table = Table(box=box.SIMPLE_HEAD if is_terminal() else None, pad_edge=False)
    for index, header in enumerate(headers):
        table.add_column(header, overflow="fold", no_wrap=index < len(headers) - 1)
    for row in rows:
        # Text, not str: square brackets in somebody's error message are no markup.
        cells = [
            Text(visible(cell), _STATE_STYLES.get(cell, "") if index == state_column else "")
            for index, cell in enumerate(row)
        ]
        table.add_row(*cells)
    console().print(table)


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names with what belongs to them, one pair per line."""
    if not pairs:
        return
    grid = Table.grid(padding=(0, 2))
    for name, value in pairs:
        grid.add_row(Text(name, "bold"), Text(visible(value), _STATE_STYLES.get(value, "")))
    console().print(grid)
