"""History as a plugin in a process of its own sees it: each question goes to the agent and back."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from agent.metrics.history import History
from agent.metrics.model import Histogram, SeriesKey
from agent.plugin import wire
from agent.plugin.wire_analysis import load_key

MOST_KEYS = 20_000  # series in one question
AT_ONCE = 500  # series whose points come in one answer: some megabytes


class FarHistory:
    """A History that asks with `ask`, which takes a question as JSON has it and gives the answer."""

    def __init__(self, ask: Callable[[list[Any]], Any]) -> None:
        self._ask = ask

    def keys(self, metric: str) -> Sequence[SeriesKey]:
        """The series of a metric that anything is known of."""
        return [(metric, tuple(labels)) for labels in self._ask(["keys", metric])]

    def points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, float]]:
        """(time, value) of a series in [start, end]."""
        return [(at, value) for at, value in self._ask(["points", key, start, end])]

    def points_of(
        self, keys: Iterable[SeriesKey], start: float, end: float
    ) -> Iterator[tuple[SeriesKey, Sequence[tuple[float, float]]]]:
        """(time, value) of many series in [start, end]."""
        wanted = list(keys)
        for at in range(0, len(wanted), AT_ONCE):
            for name, labels, packed in self._ask(["points_of", wanted[at : at + AT_ONCE], start, end]):
                yield (name, tuple(labels)), _unpacked(packed)

    def histogram_points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, Histogram]]:
        """The same for a histogram."""
        answer = self._ask(["histogram_points", key, start, end])
        return [(at, Histogram(tuple(bounds), tuple(counts), total)) for at, (bounds, counts, total) in answer]

    def latest(self, keys: Iterable[SeriesKey]) -> dict[SeriesKey, tuple[float, float]]:
        """The newest (time, value) of each."""
        return {(name, tuple(labels)): (at, value) for name, labels, at, value in self._ask(["latest", list(keys)])}


def answer(history: History, question: Any) -> Any:
    """What the agent answers. Raises WireError for what is no question."""
    match question:
        case ["keys", str(metric)]:
            return [labels for _, labels in history.keys(metric)]
        case ["points", key, float() | int() as start, float() | int() as end]:
            return history.points(load_key(key), start, end)
        case ["points_of", list(keys), float() | int() as start, float() | int() as end] if len(keys) <= AT_ONCE:
            found = history.points_of([load_key(key) for key in keys], start, end)
            return [(*key, _packed(points)) for key, points in found]
        case ["histogram_points", key, float() | int() as start, float() | int() as end]:
            return [(at, wire.dump_value(value)) for at, value in history.histogram_points(load_key(key), start, end)]
        case ["latest", list(keys)] if len(keys) <= MOST_KEYS:
            return [(*key, *point) for key, point in history.latest(map(load_key, keys)).items()]
    raise wire.WireError("it asked something about history that is no question")


def _packed(points: Sequence[tuple[float, float]]) -> str:
    """The times and then the values: JSON's numbers take ten times as long."""
    numbers = array("d", [at for at, _ in points])
    numbers.extend(value for _, value in points)
    return base64.b64encode(numbers.tobytes()).decode()


def _unpacked(packed: str) -> list[tuple[float, float]]:
    numbers = array("d", base64.b64decode(packed))
    middle = len(numbers) // 2
    return list(zip(numbers[:middle], numbers[middle:], strict=True))
