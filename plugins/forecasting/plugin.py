"""Forecasts of capacity, time to full, trend and peak, each with its intervals.

The agent makes them in an analysis worker, where `predis_forecast` is called and numpy is imported; here in the agent
this plugin says what it wants forecast, and gives the newest forecasts as metrics.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from agent.api import Estimate, Forecast, ForecastRequest, Host, MetricSpec, Sample, Wanted, hookimpl
from plugins.forecasting import specs
from plugins.forecasting.config import ForecastingConfig

_BOUNDS = ("middle", "low80", "high80", "low95", "high95")
_REACHED = ("likely", "earliest", "latest")  # the latter two of 95 %


class Forecasting:
    """Wants forecasts, tells of them, and makes them."""

    api_version = 1
    Config = ForecastingConfig

    def __init__(self, config: ForecastingConfig) -> None:
        self._config = config
        self._host: Host | None = None
        self.note: str | None = None

    @hookimpl
    def predis_metric_specs(self) -> tuple[MetricSpec, ...]:
        return specs.SPECS

    @hookimpl
    def predis_start(self, host: Host) -> None:
        self._host = host
        config = self._config
        host.forecasts.want(
            "forecasting",
            [Wanted(name, config.horizon, config.refresh, config.limits.get(name)) for name in config.metrics],
        )

    @hookimpl
    def predis_collect(self) -> Iterator[Sample]:
        assert self._host is not None
        newest = self._host.forecasts.newest()
        self.note = _note(newest)
        for (metric, labels), forecast in newest.items():
            yield from samples((metric, ",".join(labels)), forecast, time.time())

    @hookimpl
    def predis_forecast(self, request: ForecastRequest) -> Forecast:
        from plugins.forecasting.answer import answer

        return answer(request)

    @hookimpl
    def predis_evaluate(self, kind: str, source: Path, target: Path, options: Mapping[str, str]) -> None:
        if kind != "forecast":
            return
        from plugins.forecasting.evaluation import evaluate

        evaluate(source, target, int(options["period"]))

    @hookimpl
    def predis_stop(self) -> None:
        if self._host is not None:
            self._host.forecasts.want("forecasting", ())


def samples(series: tuple[str, str], forecast: Forecast, now: float) -> Iterator[Sample]:
    """A forecast as samples; `now` in Unix seconds."""
    yield Sample(specs.AVAILABLE.name, 0.0 if forecast.problem else 1.0, series)
    if forecast.problem or not forecast.times:
        return
    end = Estimate(*(getattr(forecast, bound)[-1] for bound in _BOUNDS))
    for spec, estimate in ((specs.VALUE, end), (specs.PEAK, forecast.peak), (specs.TREND, forecast.trend)):
        if estimate is not None:
            for bound in _BOUNDS:
                yield Sample(spec.name, getattr(estimate, bound), (*series, bound))
    for bound, at in zip(_REACHED, forecast.reach, strict=True):
        if at is not None:
            yield Sample(specs.TIME_TO_FULL.name, max(0.0, at - now), (*series, bound))
    yield Sample(specs.HORIZON.name, max(0.0, forecast.times[-1] - now), series)
    if forecast.error is not None and math.isfinite(forecast.error):
        yield Sample(specs.ERROR.name, forecast.error, series)


def _note(newest: Mapping[tuple[str, tuple[str, ...]], Forecast]) -> str | None:
    """What cannot be forecast, the first of it by name."""
    failed = [(key, forecast.problem) for key, forecast in sorted(newest.items()) if forecast.problem]
    if not failed:
        return None
    (metric, labels), problem = failed[0]
    name = f"{metric}{{{','.join(labels)}}}" if labels else metric
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"no forecast of {name}: {problem}{more}"
