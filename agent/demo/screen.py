"""The demonstration on the terminal: the application's hit ratio as it goes, and what was said, newest last."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agent.demo.story import Measured
from agent.demo.watch import Moment
from agent.demo.world import Second

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 72  # seconds in the picture
KEPT = 14  # moments
COLOURS = {"story": "bold cyan", "incident": "yellow", "audit": "green", "supervisor": "magenta"}


class Screen:
    """Draws on a terminal; on anything else it writes a line for each moment."""

    def __init__(self, console: Console, page: str) -> None:
        self._console, self._page = console, page
        self._seconds: deque[Second] = deque(maxlen=WIDTH)
        self._moments: deque[Moment] = deque(maxlen=KEPT)
        self._began = time.time()
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._console.print(self._picture())

    def moment(self, moment: Moment) -> None:
        """Something was said."""
        self._moments.append(moment)
        if self._live is None:
            self._console.print(self._line(moment))
        self._draw()

    def second(self, second: Second) -> None:
        """The application has done another second."""
        self._seconds.append(second)
        self._draw()

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self._picture())

    def _picture(self) -> RenderableType:
        lines = [self._line(moment) for moment in self._moments]
        return Panel(Group(self._ratio(), Text(), *lines), title="predis-agent demo", subtitle=self._page)

    def _ratio(self) -> Text:
        text = Text("hit ratio  ")
        for second in self._seconds:
            ratio = second.hit_ratio
            if ratio is None or second.errors:
                text.append("×", "red")
            else:
                text.append(
                    BARS[min(7, int(ratio * 8))], "green" if ratio > 0.9 else "yellow" if ratio > 0.7 else "red"
                )
        if self._seconds and (newest := self._seconds[-1].hit_ratio) is not None:
            text.append(f"  {newest:.1%}, {self._seconds[-1].reads} reads/s, p99 {self._seconds[-1].p99 * 1e3:.2f} ms")
        return text

    def _line(self, moment: Moment) -> Text:
        text = Text(f"{datetime.fromtimestamp(moment.at, UTC):%H:%M:%SZ}  ", no_wrap=True, overflow="ellipsis")
        text.append(f"{moment.source:<11}{moment.kind:<10} ", COLOURS.get(moment.source, ""))
        text.append(moment.text)
        return text


def show_results(console: Console, results: Sequence[Measured], audits: Sequence[str]) -> None:
    """The numbers at the end."""
    table = Table(title="What was measured", title_justify="left")
    table.add_column("")
    for result in results:
        table.add_column(result.fault, justify="right")

    def row(name: str, values: list[str]) -> None:
        table.add_row(name, *values)

    row("noticed after", [_seconds(result.detected) for result in results])
    row("acted after", [_seconds(result.acted) for result in results])
    row("verified after", [_seconds(result.verified) for result in results])
    row("recovered after", [_seconds(result.recovered) for result in results])
    row("hit ratio before, worst, after", [f"{r.before:.1%} {r.worst:.1%} {r.after:.1%}" for r in results])
    row("fetch from the origin, ms", [_three(*(1e3 * seconds for seconds in result.fetch)) for result in results])
    row("tenant's commands/s", [_three(*result.tenant) for result in results])
    row("commands that failed", [str(result.errors) for result in results])
    row("wrong values", [str(result.wrong) for result in results])
    row("actions", [", ".join(result.actions) or "none" for result in results])
    console.print(table)
    for result in results:
        if result.cause:
            console.print(f"{result.fault}: probable cause: {result.cause}")
        for problem in result.problems:
            console.print(f"{result.fault}: [red]{problem}[/red]")
    for result, audit in zip(results, audits, strict=True):
        console.print(f"{result.fault}: audit log: {audit}")


def _three(before: float, worst: float, after: float) -> str:
    return f"{before:,.0f} {worst:,.0f} {after:,.0f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
