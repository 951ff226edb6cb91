"""`predis-agent forecast METRIC`: where a series goes, from the running agent's history or from a file."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.options import ConfigOption, DebugOption, JsonOption, SetOption, load
from agent.errors import PredisError

if TYPE_CHECKING:
    from agent.config.load import LoadedConfig
    from agent.forecast.files import Points
    from agent.forecast.model import Forecast
    from agent.forecast.worker import ForecastWorker

MOST_SERIES = 50
_PATIENCE = 30.0

app = typer.Typer()


@dataclasses.dataclass(frozen=True)
class Forecasted:
    """One series, what it was, and where it goes."""

    name: str
    unit: str
    past: Points
    forecast: Forecast


@app.command()
def forecast(
    metric: Annotated[str, typer.Argument(help="The metric, as `predis-agent metrics list` names it.")],
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Only series with it.")
    ] = None,
    horizon: Annotated[str, typer.Option(help="How far ahead.")] = "7d",
    limit: Annotated[
        str | None, typer.Option(help="A level, such as 0.9 or 16GiB: when will it be reached (time to full)?")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="CSV with timestamp,value, or JSON: not the agent.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a picture, as a page.")] = None,
    plugin: Annotated[str, typer.Option(help="The plugin that forecasts.")] = "forecasting",
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Forecast the series of a metric, with intervals of 80 and 95 %, from the running agent's history."""
    seconds, level = _duration(horizon), None if limit is None else _level(limit)
    if plot is not None:
        _check_plot(plot)
    # So that the plugin can be used though the agent has it switched off.
    loaded = load(config, [*(set_ or ()), f"plugins.{plugin}.enabled=true"])
    series = _from_file(metric, source) if source is not None else _from_agent(loaded, metric, label or [], seconds)
    found = []
    with _worker(loaded, plugin) as worker:
        for name, unit, kind, past in series:
            found.append(_forecast(worker, name, unit, kind, past, seconds, level))
    drawn = any(not one.forecast.problem for one in found)
    if plot is not None and drawn:
        from agent.cli.forecast_plot import write_plot

        write_plot(plot, found, level)
    if as_json:
        typer.echo(json.dumps([_document(one) for one in found], indent=2))
    else:
        from agent.cli.forecast_table import show

        show(found, level)
        if plot is not None and drawn:
            typer.echo(f"written: {plot}")
    if not drawn:
        if plot is not None:
            typer.echo(f"not written: {plot}: there is no forecast to draw", err=True)
        raise typer.Exit(1)


def _forecast(
    worker: ForecastWorker, name: str, unit: str, kind: str, past: Points, horizon: float, limit: float | None
) -> Forecasted:
    from agent.forecast.model import ForecastRequest
    from agent.forecast.points import bounds, points
    from agent.metrics.model import Kind

    known = list(points(Kind(kind), past))
    low, high = bounds(Kind(kind), unit)
    request = ForecastRequest(
        name=name,
        times=tuple(at for at, _ in known),
        values=tuple(value for _, value in known),
        horizon=horizon,
        limit=limit,
        low=low,
        high=high,
    )
    rate = {Kind.counter: f"{unit}/s", Kind.histogram: "/s"}.get(Kind(kind), unit)
    return Forecasted(name, rate, list(known), worker.forecast(request))


def _from_file(metric: str, path: Path) -> list[tuple[str, str, str, Points]]:
    from agent.forecast.files import read_points

    return [(metric, "", "gauge", read_points(path))]


def _from_agent(
    loaded: LoadedConfig, metric: str, labels: list[str], horizon: float
) -> list[tuple[str, str, str, Points]]:
    from agent.cli.client import get_json
    from agent.forecast.points import span

    now = time.time()
    query = {"metric": metric, "start": f"{now - span(horizon):.0f}", "end": f"{now:.0f}"}
    for text in labels:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise PredisError(f"--label {text}: write KEY=VALUE")
        query[f"label.{key}"] = value
    answer = get_json(loaded.config, f"/api/v1/history?{urllib.parse.urlencode(query)}", _PATIENCE)
    if answer["kind"] == "info":
        raise PredisError(f"{metric} is always 1: there is nothing to forecast")
    series: list[dict[str, Any]] = answer["series"]
    if not series:
        raise PredisError(f"nothing is known of {metric}{' with these labels' if labels else ''} yet")
    if len(series) > MOST_SERIES:
        raise PredisError(f"{metric} has {len(series)} series: choose at most {MOST_SERIES} with --label KEY=VALUE")
    return [
        (_named(metric, one["labels"]), answer["unit"], answer["kind"], [(at, value) for at, value in one["points"]])
        for one in series
    ]


def _named(metric: str, labels: dict[str, str]) -> str:
    inner = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{metric}{{{inner}}}" if inner else metric


def _worker(loaded: LoadedConfig, name: str) -> ForecastWorker:
    """A worker for the plugin of this name."""
    from agent import __version__
    from agent.cache.settings import CacheFiles
    from agent.forecast.worker import ForecastWorker
    from agent.plugin.host import CacheAddress, Host
    from agent.plugin.manager import PluginManager

    manager = PluginManager(loaded, only=(name,))
    manager.load()
    plugin = manager.plugins.get(name)
    if plugin is None:
        raise PredisError(f"--plugin {name}: is not installed; plugins: {', '.join(manager.found())}")
    if plugin.instance is None:
        raise PredisError("\n".join(map(str, plugin.problems)) or f"plugin {name} cannot be loaded")
    if not plugin.implements("predis_forecast"):
        raise PredisError(f"--plugin {name}: cannot forecast, it has no hook predis_forecast")
    cache, files = loaded.config.cache, CacheFiles(loaded.config.agent.data_dir)
    address = CacheAddress(loaded.config.unix_socket, cache.host, cache.port, None, files.arena)
    host = Host(files.data_dir, address, __version__, logging.getLogger("predis.plugins"))
    return ForecastWorker(plugin, loaded, host)


def _document(one: Forecasted) -> dict[str, Any]:
    return {"series": one.name, "unit": one.unit, "points": len(one.past), **dataclasses.asdict(one.forecast)}


def _duration(text: str) -> float:
    from pydantic_core import PydanticCustomError

    from agent.config.units import parse_duration

    try:
        seconds = parse_duration(text)
    except PydanticCustomError as error:
        raise PredisError(f"--horizon {text}: {error.message()}") from None
    if seconds <= 0:
        raise PredisError(f"--horizon {text}: is nothing; write for example 7d")
    return seconds


def _level(text: str) -> float:
    from pydantic_core import PydanticCustomError

    from agent.config.units import parse_size

    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(parse_size(text))
    except PydanticCustomError:
        raise PredisError(f"--limit {text}: is no number and no size; write for example 0.9 or 16GiB") from None


def _check_plot(path: Path) -> None:
    from agent.cli.forecast_plot import check

    if path.suffix.lower() not in (".html", ".htm"):
        raise PredisError(f"--plot {path}: is written as a page; name it {path.with_suffix('.html')}")
    if not path.absolute().parent.is_dir():
        raise PredisError(f"--plot {path}: there is no folder {path.absolute().parent}")
    check()
