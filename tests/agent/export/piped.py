"""Pipes for tests: over a folder that is gone afterwards, and stopped at the end."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.api import ExportConfig
from agent.export.pipe import ExportPipe
from agent.export.retry import Retry
from tests.agent.export.scripted import (
    Scripted,
)
from tests.waiting import wait_until

Make = Callable[..., ExportPipe]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Pipes that are stopped at the end, over one folder; they wait for 1 to 10 ms where others wait for seconds."""
    pipes: list[ExportPipe] = []

    def build(destination: Scripted, retry: Callable[[], Retry] | None = None, **config: Any) -> ExportPipe:
        config = {"compression": "none", "timeout": 0.5, **config}
        quick = retry or (lambda: Retry(uniform=lambda low, high: 0.001 + min(high, 10) / 1000))
        pipe = ExportPipe("test", destination, ExportConfig(**config), tmp_path / "export", retry=quick)
        pipes.append(pipe)
        return pipe

    yield build
    for pipe in pipes:
        pipe.stop(0.2)


def patient() -> Retry:
    """Waits for hours after a failure."""
    return Retry(uniform=lambda low, high: 9999.0)


def settled(pipe: ExportPipe) -> bool:
    books = pipe.account.books()
    assert books.balanced, books
    return not books.queued and not books.spooled


def wait_until_settled(pipe: ExportPipe) -> None:
    wait_until(lambda: settled(pipe), what="everything to be delivered or dropped")
