"""``predis-agent demo``: an agent of its own, real load, something that breaks, and what becomes of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import DebugOption, JsonOption
from agent.errors import EX_FAILURE, PredisError

app = typer.Typer()


@app.command()
def demo(
    fault: Annotated[
        list[str] | None, typer.Option("--fault", help="squeeze or kill; repeatable. All of them without it.")
    ] = None,
    learn: Annotated[float, typer.Option(min=5, help="Seconds of usual load before the first fault.")] = 60.0,
    rate: Annotated[float, typer.Option(min=10, help="Reads a second of the application.")] = 1000.0,
    trace: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="An access trace (.npz with the array key).")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder with the agent's data and log.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Break a cache under real load, and watch the agent notice, explain, mend and verify."""
    from rich.console import Console

    from agent.demo import world as worlds
    from agent.demo.faults import FAULTS
    from agent.demo.screen import Screen, show_results
    from agent.demo.story import Story
    from agent.incidents.audit import log_path, verify

    names = fault or list(FAULTS)
    for name in names:
        if name not in FAULTS:
            raise PredisError(f"--fault {name}: there is no such fault; choose from {', '.join(FAULTS)}")
    console = Console(stderr=as_json)
    world = worlds.World(trace=trace or worlds.TRACE, rate=rate, keep=keep)
    try:
        world.start_agent(Path(worlds.__file__).with_name("rules.toml").read_text())
        world.start_load()
        with Screen(console, world.page) as screen:
            story = Story(world, screen.moment, screen.second, learn=learn)
            story.prepare()
            results = [story.run(FAULTS[name]) for name in names]
        checked = verify(log_path(world.data_dir))
    finally:
        world.close()
    audit = "; ".join(checked.problems) or f"{checked.records} records, the chain is whole"
    if as_json:
        typer.echo(json.dumps({"results": [asdict(result) for result in results], "audit": audit}, indent=2))
    else:
        show_results(console, results, audit)
    if keep:
        console.print(f"kept: {world.folder}")
    if checked.problems or any(result.problems for result in results):
        raise typer.Exit(EX_FAILURE)
