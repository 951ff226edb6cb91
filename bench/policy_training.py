"""What training a policy model is worth: miss ratios of the last fifth of real traces, beside plain S3-FIFO's."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import Result, Table
from core_cache.policy.accesses import from_trace
from core_cache.policy.retraining import LEAST_ENTRIES, retrain
from core_cache.policy.training import TooLittle
from core_cache.replay import load_trace

SHARES = (0.01, 0.1)
METHOD = """\
Each trace is what model.retrain would see of an access log of all keys: models are trained on the first three fifths,
one of them is chosen on the fourth, and the table is of the last, which none has seen. The cache has room for that
share of the different keys or, where the trace has sizes, of the bytes that they have together. Below 1 the model
misses less. z: standard errors over keys; a model is put in place from −2.33 on. Caches of fewer than {entries:,}
entries are left out, as by the action. Seconds: of three models, two rounds each, and the comparison, on one core."""


def run(workdir: Path, *, traces: Path) -> Result:
    """Trains on every trace that is large enough; some minutes."""
    rows, data = [], []
    paths = sorted(traces.glob("*.npz"))
    if not paths:
        raise RuntimeError(f"no traces in {traces}: say where they lie with --traces")
    for path in paths:
        trace = load_trace(path)
        for sized in (False, True):
            if sized and int(np.min(trace.sizes)) == int(np.max(trace.sizes)):
                continue
            accesses = from_trace(trace, sized)
            first = np.unique(accesses.keys, return_index=True)[1]
            whole = len(first) if accesses.sizes is None else int(accesses.sizes[first].sum(dtype=np.uint64))
            for share in SHARES:
                began = time.perf_counter()
                try:
                    found = retrain(accesses, int(share * whole), None)
                except TooLittle:
                    continue
                seconds = time.perf_counter() - began
                ratio = found.miss_ratio / found.s3fifo.miss_ratio
                run_data: dict[str, Any] = {"trace": path.stem, "sized": sized, "capacity_share": share}
                data.append({**run_data, "seconds": seconds, **found.as_dict()})
                rows.append(
                    [
                        path.stem,
                        "bytes" if sized else "entries",
                        f"{share:g}",
                        f"{found.s3fifo.miss_ratio:.4f}",
                        f"{found.miss_ratio:.4f}",
                        f"{ratio:.4f}",
                        f"{found.s3fifo.z:+.1f}",
                        "yes" if found.better else "no",
                        ", ".join(found.features),
                        f"{seconds:.1f}",
                    ]
                )
    columns = ["trace", "counted", "room", "s3fifo", "model", "ratio", "z", "put in place", "knows", "seconds"]
    return Result(
        name="policy_training",
        title="Trained policy models on access traces",
        method=METHOD.format(entries=LEAST_ENTRIES),
        tables=[Table("Miss ratio of the last fifth, lower is better", columns, rows)],
        data={"runs": data},
    )
