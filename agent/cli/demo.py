"""``predis-agent demo``: an agent of its own, real load, something that breaks, and what becomes of it."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import DebugOption, JsonOption
from agent.errors import EX_FAILURE, PredisError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()


@app.command()
def demo(
    fault: Annotated[
        list[str] | None,
        typer.Option("--fault", help="squeeze, kill, flood or origin; repeatable. All of them without it."),
    ] = None,
    learn: Annotated[float, typer.Option(min=5, help="Seconds of usual load before the first fault.")] = 45.0,
    rate: Annotated[float, typer.Option(min=10, help="Reads a second of the application.")] = 1000.0,
    trace: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="An access trace (.npz with the array key).")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder with the agent's data and log.")] = False,
    hold: Annotated[
        bool, typer.Option("--hold", help="Go on after the last fault, to look at the page, until Enter is pressed.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Break a cache under real load, and watch the agent notice, explain, mend and verify."""
    from rich.console import Console

    from agent.demo import world as worlds
    from agent.demo.faults import FAULTS
    from agent.demo.screen import Screen, show_results
    from agent.demo.story import Measured, Story
    from agent.incidents.audit import log_path, verify

    names = fault or list(FAULTS)
    for name in names:
        if name not in FAULTS:
            raise PredisError(f"--fault {name}: there is no such fault; choose from {', '.join(FAULTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is ended, too
    console = Console(stderr=as_json)
    rules = worlds.RULES.read_text()
    results: list[Measured] = []
    audits: list[str] = []
    broken = False
    for name in names:  # each in a world of its own: what one fault leaves behind is no part of the next one's incident
        world = worlds.World(trace=trace or worlds.TRACE, rate=rate, keep=keep)
        try:
            world.start_origin()
            world.start_agent(rules)
            world.start_load()
            with Screen(console, world.page) as screen:
                story = Story(world, screen.moment, screen.second, learn=learn)
                story.prepare()
                results.append(story.run(FAULTS[name]))
            checked = verify(log_path(world.data_dir))
            if hold and name == names[-1]:
                _wait_for_enter(console, world.page)
        finally:
            world.close()
        audits.append("; ".join(checked.problems) or f"{checked.records} records, the chain is whole")
        broken = broken or bool(checked.problems)
        if keep:
            console.print(f"kept: {world.folder}")
    if as_json:
        typer.echo(json.dumps({"results": [asdict(result) for result in results], "audit": audits}, indent=2))
    else:
        show_results(console, results, audits)
    if broken or any(result.problems for result in results):
        raise typer.Exit(EX_FAILURE)


def _wait_for_enter(console: Console, page: str) -> None:
    console.print(f"It goes on until you press Enter: {page}")
    with contextlib.suppress(EOFError):
        input()
