"""A forecast as a page with an interactive chart; all that it needs is in it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import PredisError

if TYPE_CHECKING:
    from agent.cli.forecast import Forecasted

_SHOWN = 3.0  # of the past, so many horizons
_LINE, _PAST = "#2b6cb0", "#4a5568"
_BANDS = (("95 %", "low95", "high95", "rgba(43,108,176,0.15)"), ("80 %", "low80", "high80", "rgba(43,108,176,0.25)"))


def check() -> None:
    """Raises PredisError where plotly is not installed."""
    try:
        import plotly  # noqa: F401
    except ImportError:
        raise PredisError("--plot needs plotly: pip install 'predis-agent[plots]'") from None


def write_plot(path: Path, found: Sequence[Forecasted], limit: float | None) -> None:
    """One chart below the other. Raises PredisError when the file cannot be written."""
    from plotly.io import to_html
    from plotly.offline import get_plotlyjs

    charts = [to_html(_figure(one, limit), full_html=False, include_plotlyjs=False) for one in found if one.past]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Forecast</title>'
        f"<script>{get_plotlyjs()}</script></head>\n<body>\n" + "\n".join(charts) + "\n</body></html>\n"
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise PredisError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None


def _figure(one: Forecasted, limit: float | None) -> dict[str, Any]:
    forecast = one.forecast
    times = [_date(at) for at in forecast.times]
    first = one.past[-1][0] - _SHOWN * (forecast.times[-1] - one.past[-1][0]) if times else 0.0
    past = [(at, value) for at, value in one.past if at >= first]
    traces: list[dict[str, Any]] = [_line("past", [_date(at) for at, _ in past], [value for _, value in past], _PAST)]
    for name, low, high, colour in _BANDS if times else ():
        edge = {"type": "scatter", "mode": "lines", "line": {"width": 0}, "x": times, "hoverinfo": "skip"}
        traces.append({**edge, "y": getattr(forecast, high), "showlegend": False})
        traces.append({**edge, "y": getattr(forecast, low), "fill": "tonexty", "fillcolor": colour, "name": name})
    if times:
        traces.append(_line("forecast", times, list(forecast.middle), _LINE))
    layout: dict[str, Any] = {
        "title": {"text": one.name + (f"<br><sub>no forecast: {forecast.problem}</sub>" if forecast.problem else "")},
        "yaxis": {"title": {"text": one.unit}},
        "template": "plotly_white",
    }
    if limit is not None:
        everywhere = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": limit, "y1": limit}
        layout["shapes"] = [{**everywhere, "line": {"color": "#c0392b", "dash": "dash"}}]
    return {"data": traces, "layout": layout}


def _line(name: str, times: list[str], values: list[Any], colour: str) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines", "name": name, "x": times, "y": values, "line": {"color": colour}}


def _date(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat()
