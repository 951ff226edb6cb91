"""A plugin of known series for a whole agent: how often it was asked is in every value, and survives SIGKILL."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agent.api import Histogram, Host, Kind, MetricSpec, Sample, hookimpl

LEVEL, HITS, TOOK = "predis_known_level", "predis_known_hits_total", "predis_known_time_seconds"
BOUNDS = (0.001, 0.01, 0.1)
SERIES = 5
PLUGINS = {"known_series": "tests.exporters.known_series:KnownSeries"}
SPECS = (
    MetricSpec(LEVEL, Kind.gauge, "The turn.", labels=("who",)),
    MetricSpec(HITS, Kind.counter, "Each series its own speed.", labels=("who",)),
    MetricSpec(TOOK, Kind.histogram, "Two observations a turn.", "seconds", ("who",), BOUNDS),
)


class KnownSeries:
    """Counts its turns by the bytes of a file in the agent's data folder."""

    api_version = 1

    def __init__(self, config: Any) -> None:
        self._file = -1

    @hookimpl
    def predis_start(self, host: Host) -> None:
        self._file = os.open(turns_file(host.data_dir), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    @hookimpl
    def predis_metric_specs(self) -> tuple[MetricSpec, ...]:
        return SPECS

    @hookimpl
    def predis_collect(self) -> Iterable[Sample]:
        os.write(self._file, b".")
        turn = os.fstat(self._file).st_size
        for number in range(SERIES):
            who = (f"s{number}",)
            yield Sample(LEVEL, float(turn), who)
            yield Sample(HITS, float(turn * (number + 1)), who)
            yield Sample(TOOK, Histogram(BOUNDS, (turn, 0, turn, 0), turn * 0.0505), who)

    @hookimpl
    def predis_stop(self) -> None:
        os.close(self._file)


def turns_file(data_dir: Path) -> Path:
    """Has a byte for each turn."""
    return data_dir / "known-series-turns"
