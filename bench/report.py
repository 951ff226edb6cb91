"""What every benchmark hands in: tables, the method and the machine; printed, and kept as JSON and Markdown."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Table:
    """Rows under headings; numbers are formatted by their makers, so that each column keeps its own precision."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[str]:
        """The table as Markdown, padded so that it also reads well on a terminal."""
        cells = [list(self.columns), *[list(row) for row in self.rows]]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.columns))]

        def line(row: Sequence[str]) -> str:
            first = row[0].ljust(widths[0])
            rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            return f"| {' | '.join([first, *rest])} |"

        rule = ["-" * widths[0], *["-" * (width - 1) + ":" for width in widths[1:]]]
        return [line(self.columns), f"| {' | '.join(rule)} |", *[line(row) for row in cells[1:]]]


@dataclass(frozen=True)
class Result:
    """One benchmark's outcome."""

    name: str
    title: str
    method: str
    tables: Sequence[Table]
    data: dict[str, Any]
    """The raw numbers, every single measurement, with units in the names."""
    targets: dict[str, bool] = field(default_factory=dict)
    """What was to be reached, and whether it was."""


def machine() -> dict[str, Any]:
    """The machine as it is now; the load says how quiet it was."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "redis_server": _version("redis-server", "--version"),
        "load_1_minute": round(os.getloadavg()[0], 2),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(*command: str) -> str:
    try:
        words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return "not installed"
    return next((word.removeprefix("v=") for word in words if word.startswith("v=")), " ".join(words[:3]))


def write(result: Result, about: dict[str, Any], folder: Path) -> str:
    """Writes folder/NAME.json and folder/NAME.md and returns the Markdown text."""
    folder.mkdir(parents=True, exist_ok=True)
    text = [f"# {result.title}", "", result.method, ""]
    for table in result.tables:
        text += [f"**{table.title}**", "", *table.lines(), ""]
    if result.targets:
        text += [*[f"- {'reached' if good else 'MISSED'}: {what}" for what, good in result.targets.items()], ""]
    text += [
        f"{about['cpu']}, {about['cpus']} CPUs, {about['memory_gib']} GiB, Linux {about['kernel']}, Python "
        f"{about['python']}, redis-server {about['redis_server']}; load {about['load_1_minute']} before the start; "
        f"{about['time']}.",
        "",
    ]
    markdown = "\n".join(text)
    (folder / f"{result.name}.md").write_text(markdown, encoding="utf-8")
    document = {"machine": about, **asdict(result)}
    (folder / f"{result.name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return markdown
