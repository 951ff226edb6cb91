"""``predis-agent flare``: a diagnostics archive to send to who is to help, without secrets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.client import get_json
from agent.cli.options import ConfigOption, DebugOption, SetOption, load

app = typer.Typer()


@app.command()
def flare(
    config: ConfigOption = None,
    set_: SetOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The archive to write.")] = None,
    debug: DebugOption = False,
) -> None:
    """Write a diagnostics archive: status, metrics, log, configuration, what each thread does. Secrets are left out.

    It works without a running agent, too: then what only that could tell is named in errors.txt.
    """
    from agent.flare import write_flare

    loaded = load(config, set_)
    target = output or Path(time.strftime("predis-flare-%Y%m%d-%H%M%S.zip"))

    def ask(path: str) -> dict[str, Any]:
        return get_json(loaded.config, path, with_token=path.endswith(("/diagnostics", "/plan")))

    names = write_flare(loaded, target, ask)
    typer.echo(f"{target}: {', '.join(names)}")
    typer.echo("Look through it before you send it: it holds no secret that the configuration knows, but host names.")
