"""``predis-agent rules``: what rules there are, whether they are right, what they do, and who may stop them."""

from __future__ import annotations

import getpass
import json
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.client import get_json, post_json
from agent.cli.options import ConfigOption, DebugOption, JsonOption, SetOption, load
from agent.errors import AgentUnreachable, ConfigError, PredisError

if TYPE_CHECKING:
    from agent.config import LoadedConfig
    from agent.errors import Problem
    from agent.rules.backtest import Played
    from agent.rules.reading import RuleReader, RuleSet

app = typer.Typer(no_args_is_help=True, help="See, check, test and stop the rules that act on what the agent finds.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The rule.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `rules list` shows it.")]
FilesArgument = Annotated[list[Path] | None, typer.Argument(metavar="[FILE]…", help="TOML files.")]


@app.callback()
def _group() -> None:
    """See, check, test and stop the rules that act on what the agent finds."""


@app.command("list")
def list_command(
    config: ConfigOption = None, set_: SetOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """List the rules of the running agent with what they do at the moment; without one, those of the configuration."""
    from agent.cli.rules_tables import show_offline, show_running

    loaded = load(config, set_)
    try:
        answer = get_json(loaded.config, "/api/v1/rules")
    except AgentUnreachable as error:
        found = _read(loaded)
        if as_json:
            rules = [{"rule": rule.name, "where": rule.where, "dry_run": rule.dry_run} for rule in found.rules]
            typer.echo(json.dumps({"rules": rules, "problems": [str(item) for item in found.problems]}, indent=2))
        else:
            typer.echo(f"{error}\nthese are the rules of the configuration:", err=True)
            show_offline(found)
        return
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        show_running(answer)


@app.command("check")
def check_command(
    files: FilesArgument = None, config: ConfigOption = None, set_: SetOption = None, debug: DebugOption = False
) -> None:
    """Check files of rules, or those of the configuration: every mistake with its file, line and mend.

    Names that actions have from the configuration, such as commands, channels and servers, are looked up in the one
    that is read; without any, those that the defaults lack are told and are no mistake.
    """
    from agent.config.units import format_count

    found = _read(load(config, set_), files)
    if found.problems:
        raise ConfigError(found.problems)
    if found.unfit:
        typer.echo(
            "no agent.toml was read, and the defaults lack these; --config FILE looks them up in yours:", err=True
        )
        typer.echo("\n".join(f"  {problem}" for problem in found.unfit), err=True)
    typer.echo(f"{format_count(len(found.rules), 'rule')}, all right")
    for name, why in found.skipped:
        typer.echo(f"not used: {name}: {why}")


@app.command("test")
def run_tests(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="TOML files of tests.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Run tests of rules: series that are made up, and what the rules should do. Nothing is really done."""
    from agent.rules.fixtures import run_fixtures

    loaded = load(config, set_)
    reader, _ = _reader(loaded)
    failed = passed = 0
    problems: list[Problem] = []
    for file in files:
        results, wrong = run_fixtures(file, reader, loaded.environ)
        problems += wrong
        for result in results:
            failed, passed = failed + bool(result.failures), passed + (not result.failures)
            if result.failures:
                typer.echo(f"{result.where}: {result.name}: FAILED")
                typer.echo("\n".join(f"    {failure}" for failure in result.failures))
    if problems:
        raise ConfigError(problems)
    typer.echo(f"{passed} passed" + (f", {failed} failed" if failed else ""))
    if failed:
        raise typer.Exit(1)


@app.command("backtest")
def backtest_command(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Recorded series: CSV with the columns time, metric, value and one per label, or the JSON of"
            " /api/v1/history.  [default: the history of the running agent]"
        ),
    ] = None,
    rules: Annotated[list[Path] | None, typer.Option(help="Files of rules.  [default: the configuration's]")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="Only these rules.")] = None,
    hours: Annotated[float, typer.Option(min=0.01, help="Of the agent's history: how far back.")] = 24.0,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what rules would have done on recorded history: when each fired, and with what plan. Nothing is done."""
    from agent.cli.rules_tables import show_played
    from agent.rules import backtest

    loaded = load(config, set_)
    reader, _ = _reader(loaded)
    found = _read(loaded, rules)
    if found.problems:
        raise ConfigError(found.problems)
    chosen = [rule for rule in found.rules if not only or rule.name in only]
    if only and (unknown := set(only) - {rule.name for rule in chosen}):
        raise PredisError(f"there is no rule {', '.join(sorted(unknown))}; rules: {_names(found)}")
    if data is not None:
        recorded = backtest.load(data, reader.catalogue)
    else:
        recorded = backtest.fetch(
            lambda path: get_json(loaded.config, path, 30.0), backtest.metrics_of(chosen, reader.catalogue), hours
        )
    played: Played = backtest.play(chosen, reader.catalogue, recorded, loaded.config.agent.interval)
    if as_json:
        typer.echo(json.dumps(played.as_dict(), indent=2))
    else:
        show_played(played)


@app.command("explain")
def explain_command(
    name: NameArgument,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say why a rule of the running agent does or does not act: its condition, what holds it, what it did last."""
    from agent.cli.rules_tables import show_explained

    answer = get_json(load(config, set_).config, f"/api/v1/rules/{urllib.parse.quote(name, safe='')}")
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        show_explained(answer)


@app.command("approve")
def approve_command(
    approval: IdArgument, config: ConfigOption = None, set_: SetOption = None, debug: DebugOption = False
) -> None:
    """Let a rule do what it waits for."""
    _do(load(config, set_), "approve", approval)


@app.command("deny")
def deny_command(
    approval: IdArgument, config: ConfigOption = None, set_: SetOption = None, debug: DebugOption = False
) -> None:
    """Have a rule not do what it waits for."""
    _do(load(config, set_), "deny", approval)


@app.command("reset")
def reset_command(
    name: NameArgument, config: ConfigOption = None, set_: SetOption = None, debug: DebugOption = False
) -> None:
    """Let a rule try again what failed twice, and work on what one of its actions hangs at."""
    _do(load(config, set_), "reset", name)


@app.command("stop")
def stop_command(config: ConfigOption = None, set_: SetOption = None, debug: DebugOption = False) -> None:
    """The kill switch: no rule acts any more, not even after a restart, until `rules resume`."""
    loaded = load(config, set_)
    path = _switch(loaded)
    try:  # the file first: it works without an agent that answers, too
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(f"stopped by {_who()}\n")
    except OSError as error:
        raise PredisError(f"{path} cannot be written: {error.strerror}; run this as the agent's user") from None
    try:
        _do(loaded, "stop", "", quiet=True)
    except PredisError as error:
        typer.echo(f"{error}\n{path} stops the rules of the next agent, and of one that hangs")
    else:
        typer.echo("all actions of rules are stopped; predis-agent rules resume takes that back")


@app.command("resume")
def resume_command(config: ConfigOption = None, set_: SetOption = None, debug: DebugOption = False) -> None:
    """Take the kill switch back."""
    loaded = load(config, set_)
    try:
        _do(loaded, "resume", "", quiet=True)
    except PredisError:  # the file is what counts
        _switch(loaded).unlink(missing_ok=True)
    typer.echo("rules may act again")


def _do(loaded: LoadedConfig, what: str, name: str, *, quiet: bool = False) -> dict[str, Any]:
    query = urllib.parse.urlencode({"name": name, "who": _who()})
    answer = post_json(loaded.config, f"/api/v1/rules/do/{what}?{query}")
    if not quiet:
        typer.echo({"approve": "approved", "deny": "denied", "reset": "reset"}[what])
    return answer


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody at the terminal"


def _switch(loaded: LoadedConfig) -> Path:
    from agent.rules.settings import KILL_SWITCH

    return loaded.config.agent.data_dir / KILL_SWITCH


def _reader(loaded: LoadedConfig) -> tuple[RuleReader, list[Problem]]:
    """Reads rules with what the enabled plugins of a configuration add; without a running agent."""
    from agent.metrics.catalogue import Catalogue
    from agent.metrics.self_metrics import PLUGIN_NAME
    from agent.own_specs import SPECS
    from agent.plugin.importing import outlive_imports
    from agent.plugin.manager import PluginManager
    from agent.rules.service import reader_of

    catalogue = Catalogue()
    catalogue.add(PLUGIN_NAME, SPECS)
    manager = PluginManager(loaded, mark=outlive_imports())
    manager.load()
    manager.declare(catalogue.add)
    for problem in manager.problems:
        typer.echo(f"without this plugin: {problem}", err=True)
    return reader_of(loaded, manager.active, catalogue, configured=loaded.path is not None)


def _read(loaded: LoadedConfig, files: list[Path] | None = None) -> RuleSet:
    from agent.rules.service import files_of, packs_of

    reader, problems = _reader(loaded)
    found = reader.read(files) if files else reader.read(files_of(loaded), packs_of(loaded))
    found.problems += problems
    return found


def _names(found: RuleSet) -> str:
    return ", ".join(rule.name for rule in found.rules) or "none"
