"""Deliveries for tests of the history: numbers that tell which series and which turn they are of."""

from pathlib import Path

from agent.history.disk import Bounds
from agent.history.store import HistoryStore
from agent.metrics.model import Histogram, Sample, SeriesKey
from tests.waiting import wait_until

DAY = 86_400.0
BOUNDS = Bounds(2 * DAY, 35 * DAY, 1 << 30)
START = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def level(number: int) -> SeriesKey:
    return ("predis_test_level", (f"s{number}",))


TOOK: SeriesKey = ("predis_test_took_seconds", ())
COUNT: SeriesKey = ("predis_test_done_total", ())


def delivery(turn: int, series: int = 20) -> dict[SeriesKey, Sample]:
    """Levels at turn + series / 1000, a counter at 10 a turn, a histogram with one in each bucket a turn."""
    samples = [Sample(level(number)[0], turn + number / 1000, level(number)[1]) for number in range(series)]
    samples.append(Sample(COUNT[0], 10 * turn))
    samples.append(Sample(TOOK[0], Histogram((0.1, 1.0), (turn, turn, turn), 2.5 * turn)))
    return {sample.key: sample for sample in samples}


class Kept:
    """A store in a folder, with a clock of its own; `run` delivers and has all of it written that is due."""

    def __init__(self, folder: Path | None, bounds: Bounds = BOUNDS, interval: float = 10.0) -> None:
        self.clock = Clock()
        self.store = HistoryStore(self.clock)
        self.store.use(folder, bounds)
        self.interval, self.turn = interval, 0

    def run(self, turns: int, series: int = 20) -> None:
        for _ in range(turns):
            self.store.accept("test", self.interval, delivery(self.turn, series))
            self.store._turn(last=False)
            self.turn += 1
            self.clock.now += self.interval

    def start(self) -> None:
        self.store.start()

    def until_written(self) -> None:
        wait_until(lambda: not self.store._work.is_set(), what="history has been taken up")
