"""Runs the benchmarks by name, or all of them, and writes what they found to bench/results."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import (
    access_log,
    agent_cost,
    anomaly_cost,
    cpu_per_op,
    export_cost,
    local_reads,
    memory_per_key,
    miss_ratio,
    policy_training,
    recovery,
    stall,
    tenant_isolation,
)
from bench.report import Result, machine, write

RESULTS = Path(__file__).resolve().parent / "results"
TRACES = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces"
NAMES = (
    "cpu_per_op",
    "memory_per_key",
    "agent_cost",
    "recovery",
    "miss_ratio",
    "policy_training",
    "local_reads",
    "access_log",
    "stall",
    "tenant_isolation",
    "export_cost",
    "anomaly_cost",
)


def main() -> int:
    """Returns 0 when everything ran, 1 when a benchmark failed; a missed target is printed, not an error."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--pairs", type=int, default=5, help="alternating pairs per case of cpu_per_op (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="length of cpu_per_op's runs (1.0)")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="how long agent_cost and export_cost watch the agent (60)"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go (bench/results)")
    parser.add_argument("--traces", type=Path, default=TRACES, help="traces of miss_ratio, policy_training")
    options = parser.parse_args()

    benchmarks: dict[str, Callable[[Path], Result]] = {
        "cpu_per_op": partial(cpu_per_op.run, pairs=options.pairs, scale=options.scale),
        "memory_per_key": memory_per_key.run,
        "agent_cost": partial(agent_cost.run, seconds=options.seconds),
        "export_cost": partial(export_cost.run, seconds=options.seconds),
        "recovery": recovery.run,
        "tenant_isolation": tenant_isolation.run,
        "miss_ratio": partial(miss_ratio.run, traces=options.traces),
        "policy_training": partial(policy_training.run, traces=options.traces),
        "access_log": access_log.run,
        "stall": stall.run,
        "local_reads": local_reads.run,
        "anomaly_cost": anomaly_cost.run,
    }
    unknown = [name for name in options.names if name not in benchmarks]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(benchmarks)}")

    failed = False
    for name in options.names or benchmarks:
        print(f"running {name} …", file=sys.stderr, flush=True)
        about = machine()
        with tempfile.TemporaryDirectory(prefix="predis-bench-") as workdir:
            try:
                result = benchmarks[name](Path(workdir))
            except (RuntimeError, OSError, AssertionError) as error:
                print(f"{name} failed: {error}", file=sys.stderr)
                failed = True
                continue
        print(write(result, about, options.out), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
