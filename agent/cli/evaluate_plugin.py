"""`predis-agent eval anomaly | multivariate | cause | forecast`: a plugin's own code on recorded data.

The plugin is loaded as the agent loads it, alone and in this process; no agent needs to run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import DebugOption, SetOption
from agent.errors import PluginError, PredisError

HOOK = "predis_evaluate"

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration file; without it, the defaults.")
]
Analyst = Annotated[str, typer.Option("--plugin", metavar="NAME", help="The plugin to evaluate.")]


def anomaly(
    data: Annotated[Path, typer.Argument(help="A folder: each *.csv.gz below it has the columns timestamp,value.")],
    out: Annotated[Path, typer.Argument(help="The folder for NAME.csv with a column score, from 0 to 1, per row.")],
    plugin: Analyst = "anomaly",
    config: ConfigOption = None,
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Score every row of recorded series by how much it stands out from the rows before it."""
    if not data.is_dir():
        raise PredisError(f"{data} is not a folder: name one with *.csv.gz in it")
    _make_folder(out)
    _run("anomaly", plugin, data, out, {}, config, set_, debug=debug)


def multivariate(
    data: Annotated[Path, typer.Argument(metavar="FILE.npz", help="With the arrays train and test: rows by metrics.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT.csv", help="For a column score per row of test; the higher, the rarer.")
    ],
    plugin: Analyst = "anomaly",
    config: ConfigOption = None,
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Learn a host's metrics together from train, and score each row of test."""
    _check_files(data, out)
    _run("multivariate", plugin, data, out, {}, config, set_, debug=debug)


def cause(
    cases: Annotated[Path, typer.Argument(metavar="CASES.json", help="The incidents: what to look at, and when.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.json", help="For the causes of each, most probable first.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder with the cases' metrics.")],
    plugin: Analyst = "anomaly",
    config: ConfigOption = None,
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Rank the probable causes of recorded incidents."""
    _check_files(cases, out)
    if not data.is_dir():
        raise PredisError(f"--data {data}: is not a folder")
    _run("cause", plugin, cases, out, {"data": str(data)}, config, set_, debug=debug)


def forecast(
    data: Annotated[Path, typer.Argument(metavar="FILE.npz", help="With the series to forecast.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.npz", help="For the forecasts and their intervals.")],
    period: Annotated[int, typer.Option(min=1, help="Rows in a season: 24 for hourly series with a daily one.")],
    plugin: Analyst = "forecasting",
    config: ConfigOption = None,
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Forecast recorded series."""
    _check_files(data, out)
    _run("forecast", plugin, data, out, {"period": str(period)}, config, set_, debug=debug)


def _run(
    kind: str,
    name: str,
    source: Path,
    target: Path,
    options: Mapping[str, str],
    config: Path | None,
    overrides: list[str] | None,
    *,
    debug: bool,
) -> None:
    from agent.config import load_config
    from agent.plugin.guard import describe, origin
    from agent.plugin.manager import PluginManager

    # Without --config the defaults count, not those of a file that happens to be here: figures are to be comparable.
    loaded = load_config(config, [*(overrides or ()), f"plugins.{name}.enabled=true"])
    manager = PluginManager(loaded, isolate=False, only=(name,))
    manager.load()
    plugin = manager.plugins.get(name)
    if plugin is None:
        raise PredisError(f"--plugin {name}: is not installed; plugins: {', '.join(manager.found())}")
    if plugin.instance is None:
        raise PredisError("\n".join(map(str, plugin.problems)) or f"plugin {name} cannot be loaded")
    if not plugin.implements(HOOK):
        raise PluginError(name, f"has nothing to evaluate: it has no hook {HOOK}", "name another one with --plugin")
    try:
        plugin.evaluate(kind, source, target, options)
    except PredisError:
        raise
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.filename is not None:
            what = (error.strerror or str(error)).lower()
            raise PredisError(f"{error.filename} cannot be read or written: {what}") from None
        file, line = origin(error)
        where = f" ({file}:{line})" if file else ""
        raise PluginError(name, f"evaluation of {kind} failed: {describe(error)}{where}", "--debug shows all") from None


def _check_files(source: Path, target: Path) -> None:
    if not source.is_file():
        raise PredisError(f"{source}: there is no such file")
    if not target.absolute().parent.is_dir():
        raise PredisError(f"{target} cannot be written: there is no folder {target.absolute().parent}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PredisError(f"{folder} cannot be made: {(error.strerror or str(error)).lower()}") from None
