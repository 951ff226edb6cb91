"""``predis-agent audit``: what was decided and done, and whether the log of it is whole."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.options import ConfigOption, DebugOption, JsonOption, SetOption, load
from agent.errors import PredisError

WIDTH = 100  # characters, where there is no terminal to ask
LEAST_WIDTH = 40
INDENT = "   "
FIRST = ("why", "action", "target", "plan", "detail", "result")  # of what a record says, in this order
APART = {"n", "time", "kind", "prev", "rule", "subject", "run", *FIRST}  # in the head, elsewhere, or only for machines

app = typer.Typer(no_args_is_help=True, help="See what rules decided and did, and check that the log is whole.")

FileArgument = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="The log.  [default: audit.jsonl in the agent's data folder]")
]


@app.callback()
def _group() -> None:
    """See what rules decided and did, and check that the log is whole."""


@app.command("verify")
def verify_command(
    file: FileArgument = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check that no record was changed, deleted, inserted or moved, and that the end was not cut off.

    Exits with 1 when the log is not whole.
    """
    from agent.incidents import audit

    path = _path(file, config, set_)
    found = audit.verify(path)
    if as_json:
        document = {"file": str(path), "records": found.records, "hash": found.hash, "problems": found.problems}
        typer.echo(json.dumps({**document, "pending": found.pending, "removed": found.removed}, indent=2))
    elif not found.problems:
        typer.echo(f"{path}: {found.records:,} records, whole; the newest is {found.hash}")
        if found.removed:
            typer.echo(f"records 1 to {found.removed:,} were removed by rules.audit_files, as the log itself says")
        if found.pending:
            typer.echo("one more record stands only in the head, as after a crash: the next start of the agent adds it")
    if found.problems:
        raise PredisError(f"{path} is not whole:\n" + "\n".join(f"  {problem}" for problem in found.problems))


@app.command("show")
def show_command(
    file: FileArgument = None,
    rule: Annotated[str, typer.Option(help="Only what is about this rule.")] = "",
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="So many of the newest records.")] = 50,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the newest records, oldest first."""
    from collections import deque

    from agent.incidents import audit

    found = (item for item in audit.records(_path(file, config, set_)) if not rule or item.get("rule") == rule)
    newest = list(deque(found, maxlen=last))
    if as_json:
        typer.echo(json.dumps(newest, indent=2))
        return
    width = shutil.get_terminal_size((WIDTH, 0)).columns
    for record in newest:
        typer.echo("\n".join(_lines(record, width)))


def _lines(record: Mapping[str, Any], width: int) -> list[str]:
    """A record for people: number, time, rule and what, and below it a line for each thing more that it says."""
    from agent.cli.tables import visible
    from agent.config.units import format_time

    head = [str(record.get("n", "")), format_time(float(record.get("time", 0)))]
    head += [str(record[key]) for key in ("rule", "subject", "kind") if record.get(key)]
    lines = [visible("  ".join(head))]
    keys = [key for key in FIRST if key in record] + [key for key in record if key not in APART]
    for key in keys:
        if record[key] not in ("", None, [], {}):
            text = f"{key.replace('_', ' ')}: {_said(record[key])}"
            lines += textwrap.wrap(
                visible(text),
                max(width, LEAST_WIDTH),
                initial_indent=INDENT,
                subsequent_indent=2 * INDENT,
                break_long_words=False,
                break_on_hyphens=False,
            )
    return lines


def _said(value: Any) -> str:
    """A JSON value without its brackets: sentences of a list are told apart by semicolons, as they have commas."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(item)}" for key, item in value.items())
    if isinstance(value, list):
        items = [_said(item) for item in value]
        return ("; " if any("," in item for item in items) else ", ").join(items)
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)


@app.command("head")
def head_command(
    file: FileArgument = None, config: ConfigOption = None, set_: SetOption = None, debug: DebugOption = False
) -> None:
    """Print the number and the hash of the newest record: kept elsewhere, they vouch for the log up to there."""
    from agent.incidents import audit

    head = audit.head_of(_path(file, config, set_))
    typer.echo(f"{head.count} {head.hash}")


def _path(file: Path | None, config: Path | None, set_: list[str] | None) -> Path:
    if file is not None:
        return file
    from agent.incidents.audit import log_path

    return log_path(load(config, set_).config.agent.data_dir)
