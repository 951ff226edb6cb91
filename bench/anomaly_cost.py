"""What watching 10,000 series for anomalies costs: CPU a snapshot, memory, and the file that outlives a restart."""

import logging
import time
from pathlib import Path
from statistics import median

from agent.api import CacheAddress, Host, Snapshot
from bench.report import Result, Table
from bench.series import SERIES, SPECS, Numbers
from plugins.anomaly.plugin import STATE_FILE, Anomaly, AnomalyConfig

INTERVAL = 10.0
MAX_CPU, AIM_CPU = 0.03, 0.01
MAX_STATE, AIM_STATE = 60e6, 40e6
METHOD = """\
The plugin anomaly, at its defaults, takes {snapshots} snapshots of {series:,} series (5,000 counters, 4,500 gauges,
500 histograms; two thirds of the numbers change), {interval:g} s apart by their own clock, one after another. A
histogram is two numbers to it. CPU is the thread's own time a snapshot, the first {settle} left out, as a share of one
core at one snapshot each {interval:g} s; with `zscore` beside it as the simple choice. State is the arrays in memory,
and the file."""
SETTLE = 40


def run(workdir: Path, *, snapshots: int = 200) -> Result:
    """Takes about half a minute."""
    found = {method: _watch(workdir / method, method, snapshots) for method in ("records", "zscore")}
    rows = [
        [
            method,
            f"{one['cpu'] * 100:.2f}",
            f"{one['slowest'] * 1000:.0f}",
            f"{one['state'] / 1e6:.1f}",
            f"{one['file'] / 1e6:.1f}",
            f"{one['save'] * 1000:.0f}",
            f"{one['load'] * 1000:.0f}",
        ]
        for method, one in found.items()
    ]
    ours = found["records"]
    return Result(
        name="anomaly_cost",
        title="What the anomaly detection costs",
        method=METHOD.format(series=SERIES, interval=INTERVAL, snapshots=snapshots, settle=SETTLE),
        tables=[
            Table(
                f"{SERIES} series every {INTERVAL:g} s",
                ["method", "CPU, % of a core", "slowest, ms", "state, MB", "file, MB", "save, ms", "load, ms"],
                rows,
            )
        ],
        data=found,
        targets={
            f"CPU ≤ 3 % of a core ({ours['cpu'] * 100:.2f} %)": ours["cpu"] <= MAX_CPU,
            f"aim: CPU ≤ 1 % ({ours['cpu'] * 100:.2f} %)": ours["cpu"] <= AIM_CPU,
            f"state ≤ 60 MB ({ours['state'] / 1e6:.1f})": ours["state"] <= MAX_STATE,
            f"aim: state ≤ 40 MB ({ours['state'] / 1e6:.1f})": ours["state"] <= AIM_STATE,
        },
    )


def _watch(folder: Path, method: str, snapshots: int) -> dict[str, float]:
    folder.mkdir(parents=True)
    cache = CacheAddress(folder / "cache.sock", "127.0.0.1", 0, None, folder / "arena")
    host = Host(folder, cache, "bench", logging.getLogger("bench"))
    plugin = Anomaly(AnomalyConfig.model_validate({"method": method}))
    plugin.predis_start(host)
    numbers, specs = Numbers(), {spec.name: spec for spec in SPECS}
    took = []
    for number in range(snapshots):
        samples = {sample.key: sample for sample in numbers.next()}
        snapshot = Snapshot(1.7e9 + number * INTERVAL, samples, specs)
        began = time.thread_time()
        plugin.predis_detect(snapshot)
        took.append(time.thread_time() - began)
    began = time.perf_counter()
    plugin.predis_stop()
    saved = time.perf_counter() - began
    values = {sample.name: sample.value for sample in plugin.predis_collect()}
    state = values["predis_anomaly_state_bytes"]
    assert isinstance(state, int)
    again = Anomaly(AnomalyConfig.model_validate({"method": method}))
    began = time.perf_counter()
    again.predis_start(host)
    loaded = time.perf_counter() - began
    if again.note:
        raise RuntimeError(f"the state was not taken up: {again.note}")
    took = took[min(SETTLE, snapshots // 2) :]
    return {
        "cpu": sum(took) / len(took) / INTERVAL,
        "median": median(took),
        "slowest": max(took),
        "state": float(state),
        "file": float((folder / STATE_FILE).stat().st_size),
        "save": saved,
        "load": loaded,
    }
