"""`predis-agent eval …`: how the parts that decide do on recorded data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import evaluate_plugin
from agent.cli.options import DebugOption, JsonOption
from agent.errors import PredisError
from core_cache.options import POLICIES

if TYPE_CHECKING:
    from core_cache.policy.evaluate import Evaluation

app = typer.Typer(no_args_is_help=True, help="Evaluate what decides on recorded data.")
app.command("anomaly")(evaluate_plugin.anomaly)
app.command("multivariate")(evaluate_plugin.multivariate)
app.command("cause")(evaluate_plugin.cause)
app.command("forecast")(evaluate_plugin.forecast)


@app.callback()
def evaluate() -> None:
    """Evaluate what decides on recorded data: policies, detectors, causes and forecasts."""


@app.command("policy")
def policy_command(
    trace: Annotated[Path, typer.Argument(help="An .npz with the arrays key and size, or a CSV with these columns.")],
    policy: Annotated[str, typer.Option(help=", ".join(POLICIES) + ".")] = "s3fifo",
    capacity_share: Annotated[
        float, typer.Option(help="Room for this share of the trace's different keys, over 0 and at most 1.")
    ] = 0.1,
    model: Annotated[Path | None, typer.Option(help="Model for the policy learned.")] = None,
    sized: Annotated[
        bool, typer.Option("--sized", help="Count bytes, with the trace's sizes, and not entries.")
    ] = False,
    accesses_per_second: Annotated[
        float, typer.Option(min=1, help="How fast the policy's clock goes; traces have no times.")
    ] = 62.5,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many accesses.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run an access trace through the engine's own store with a policy, without a server; then its miss ratio."""
    if policy not in POLICIES:
        raise PredisError(f"--policy {policy}: there is no such policy; choose one of {', '.join(POLICIES)}")
    if model is not None and policy != "learned":
        raise PredisError(f"--model belongs to --policy learned, not to {policy}")
    if not 0 < capacity_share <= 1:
        raise PredisError(f"--capacity-share {capacity_share:g}: is a share of the keys, over 0 and at most 1")
    from core_cache import replay  # brings numpy
    from core_cache.policy.evaluate import evaluate

    try:
        accesses = replay.load_trace(trace)
        found = evaluate(
            accesses if limit is None else accesses.first(limit),
            policy,
            capacity_share,
            sized=sized,
            model=model,
            accesses_per_second=accesses_per_second,
        )
    except (replay.TraceError, ValueError) as error:
        raise PredisError(str(error)) from error
    if as_json:
        typer.echo(json.dumps({"trace": str(trace), **found.as_dict()}, indent=2))
    else:
        _show(found, trace.name)


def _show(found: Evaluation, name: str) -> None:
    from agent.cli.tables import print_pairs

    unit = "bytes" if found.sized else "entries"
    print_pairs(
        [
            ("trace", f"{name}: {found.accesses:,} accesses to {found.unique_keys:,} keys"),
            ("policy", found.policy if found.model is None else f"{found.policy}, {found.model}"),
            ("capacity", f"{found.capacity:,} {unit} ({found.capacity_share:g} of all)"),
            ("miss ratio", f"{found.miss_ratio:.5f}  ({found.misses:,} misses, {found.hits:,} hits)"),
            ("of bytes", f"{found.byte_miss_ratio:.5f}"),
            ("evictions", f"{found.evictions:,}"),
            ("not stored", f"{found.refused:,}"),
            ("took", f"{found.seconds:.2f} s"),
        ]
    )
