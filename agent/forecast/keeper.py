"""Keeps the forecasts that rules, plugins and dashboards want: made one by one in a worker, anew when they are old."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from agent.forecast.model import Forecast, ForecastRequest, Wanted
from agent.forecast.points import bounds, points, span
from agent.forecast.worker import ForecastWorker
from agent.metrics.history import History
from agent.metrics.model import Kind, MetricSpec, SeriesKey

log = logging.getLogger(__name__)

MOST_SERIES = 200  # in a round; more are left out and named
_LOOK = 5.0  # seconds between looks at what is old
_FIRST = 300.0  # seconds after which a series without a forecast is tried again, at the least: a worker costs a second
_STOP = 2.0


class ForecastKeeper:
    """Implements agent.forecast.model.Forecasts. `make_worker`: a worker, or None while no plugin can forecast."""

    def __init__(
        self,
        history: History,
        spec_of: Callable[[str], MetricSpec | None],
        make_worker: Callable[[], ForecastWorker | None],
        clock: Callable[[], float] = time.time,
        look: float = _LOOK,
    ) -> None:
        self._history, self._spec_of, self._make_worker = history, spec_of, make_worker
        self._clock, self._look = clock, look
        self._lock = threading.Lock()
        self._wanted: dict[str, tuple[Wanted, ...]] = {}
        self._newest: dict[SeriesKey, Forecast] = {}
        self._made: dict[SeriesKey, tuple[float, Wanted]] = {}  # when, on the monotonic clock, and for what
        self._stopping = threading.Event()
        self._worker: ForecastWorker | None = None
        self._thread: threading.Thread | None = None
        self._left_out: set[str] = set()

    def start(self) -> None:
        """Begin to make what is wanted."""
        self._thread = threading.Thread(target=self._run, name="forecasts", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and the worker with it, whatever it does."""
        self._stopping.set()
        with self._lock:
            worker = self._worker
        if worker is not None:
            worker.close()
        if self._thread is not None:
            self._thread.join(_STOP)

    def want(self, who: str, wanted: Sequence[Wanted]) -> None:
        """Have these made from now on; what `who` wanted before counts no more."""
        with self._lock:
            self._wanted[who] = tuple(wanted)

    def newest(self) -> Mapping[SeriesKey, Forecast]:
        """The newest of each series."""
        with self._lock:
            return dict(self._newest)

    def refresh(self) -> int:
        """Make what is due, now; gives how many forecasts were tried."""
        due = list(self._due())
        if not due:
            return 0
        worker = self._make_worker()
        if worker is None:
            return 0
        with self._lock:
            self._worker = worker
        tried = 0
        try:
            for key, wanted, spec in due:
                if self._stopping.is_set():
                    break
                try:
                    self._make(worker, key, wanted, spec)
                except Exception as error:  # the others want theirs, and at once again it would fail again
                    log.exception("the forecast of %s failed unexpectedly", wanted.metric)
                    with self._lock:
                        self._made[key] = (time.monotonic(), wanted)
                        problem = f"the forecast failed: unexpected {type(error).__name__}: {error}"
                        self._newest[key] = Forecast(problem=problem)
                tried += 1
        finally:
            worker.close()
            with self._lock:
                self._worker = None
        return tried

    def _run(self) -> None:
        while not self._stopping.wait(self._look):
            try:
                self.refresh()
            except Exception:  # the next round may do better
                log.exception("forecasts cannot be made")

    def _due(self) -> Iterator[tuple[SeriesKey, Wanted, MetricSpec]]:
        by_metric = self._merged()
        series = [(key, wanted) for wanted in by_metric.values() for key in self._history.keys(wanted.metric)]
        self._tell_of({wanted.metric for _, wanted in series[MOST_SERIES:]})
        series = series[:MOST_SERIES]
        self._forget({key for key, _ in series})
        now = time.monotonic()
        for key, wanted in series:
            spec, made = self._spec_of(wanted.metric), self._made.get(key)
            if spec is None or spec.kind is Kind.info:
                continue
            if made is None or made[1] != wanted or now - made[0] >= self._patience(key, wanted):
                yield key, wanted, spec

    def _patience(self, key: SeriesKey, wanted: Wanted) -> float:
        failed = bool(self._newest[key].problem) if key in self._newest else True
        return min(wanted.refresh, _FIRST) if failed else wanted.refresh

    def _merged(self) -> dict[str, Wanted]:
        """Who wants a metric further ahead, or more often, decides for all; the first limit counts."""
        with self._lock:
            every = [wanted for some in self._wanted.values() for wanted in some]
        merged: dict[str, Wanted] = {}
        for one in every:
            other = merged.get(one.metric, one)
            merged[one.metric] = replace(
                other,
                horizon=max(one.horizon, other.horizon),
                refresh=min(one.refresh, other.refresh),
                limit=other.limit if other.limit is not None else one.limit,
            )
        return merged

    def _make(self, worker: ForecastWorker, key: SeriesKey, wanted: Wanted, spec: MetricSpec) -> None:
        now = self._clock()
        found = list(points(spec.kind, self._history.points(key, now - span(wanted.horizon), now)))
        low, high = bounds(spec.kind, spec.unit)
        forecast = worker.forecast(
            ForecastRequest(
                name=wanted.metric,
                times=tuple(at for at, _ in found),
                values=tuple(value for _, value in found),
                horizon=wanted.horizon,
                limit=self._limit(key, wanted),
                low=low,
                high=high,
            )
        )
        if self._stopping.is_set():
            return
        with self._lock:
            self._made[key] = (time.monotonic(), wanted)
            self._newest[key] = forecast

    def _limit(self, key: SeriesKey, wanted: Wanted) -> float | None:
        if not isinstance(wanted.limit, str):
            return wanted.limit
        candidates = [(wanted.limit, key[1]), (wanted.limit, ())]  # its own, else one for all
        latest = self._history.latest(candidates)
        return next(
            (latest[limit][1] for limit in candidates if limit in latest and math.isfinite(latest[limit][1])), None
        )

    def _forget(self, present: set[SeriesKey]) -> None:
        with self._lock:
            for key in set(self._made) - present:
                self._made.pop(key, None)
                self._newest.pop(key, None)

    def _tell_of(self, metrics: set[str]) -> None:
        if metrics - self._left_out:
            named = ", ".join(sorted(metrics))
            log.warning("more than %d series are to be forecast: some of %s are left out", MOST_SERIES, named)
        self._left_out = metrics
