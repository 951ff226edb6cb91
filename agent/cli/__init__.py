"""The command ``predis-agent``. Each command's module is imported when it is used, so that ``run`` stays small."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from agent.errors import EX_FAILURE, PredisError

_COMMANDS = {
    "run": "agent.cli.run",
    "check-config": "agent.cli.check_config",
    "config": "agent.cli.config",
    "status": "agent.cli.status",
    "plugins": "agent.cli.plugins",
    "plugin": "agent.cli.plugin",
    "metrics": "agent.cli.metrics",
    "incidents": "agent.cli.incidents",
    "dashboards": "agent.cli.dashboards",
    "cache": "agent.cli.cache",
    "rules": "agent.cli.rules",
    "audit": "agent.cli.audit",
    "eval": "agent.cli.evaluate",
    "forecast": "agent.cli.forecast",
    "flare": "agent.cli.flare",
    "demo": "agent.cli.demo",
}


class _LazyCommands(typer.core.TyperGroup):
    """Commands by name; the module of one is imported when its help is shown or it is run."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = typer.main.get_command(importlib.import_module(module).app)
        command.name = cmd_name
        return command


app = typer.Typer(cls=_LazyCommands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        from agent import __version__

        typer.echo(f"predis-agent {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of unexpected errors.")] = False,
) -> None:
    """Host a Redis-compatible cache, collect its metrics and serve them."""


def main() -> None:
    """Run the command line; a user's mistake ends in a sentence, anything unexpected in one line (--debug: in full)."""
    try:
        app(prog_name="predis-agent")
    except PredisError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    except BrokenPipeError:  # as in `predis-agent metrics list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EX_FAILURE)
    except Exception as error:  # noqa: BLE001  # a bare traceback helps nobody who did not write this
        if "--debug" in sys.argv[1:]:
            traceback.print_exc()
        else:
            text = " ".join(str(error).split())
            print(f"predis-agent: unexpected {type(error).__name__}: {text} (--debug shows where)", file=sys.stderr)
        sys.exit(EX_FAILURE)
