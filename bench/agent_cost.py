"""What the agent itself costs: memory, CPU and the time from its start until it is ready."""

import time
import urllib.request
from pathlib import Path
from statistics import median

import psutil

from bench.load import folder
from bench.report import Result, Table
from tests.servers import Server, remove_arenas, start_agent, stop_cache_of

STARTS = 5
INTERVAL = 10.0
MAX_RSS = 80e6
MAX_CPU = 0.01
MAX_START = 2.0
METHOD = """\
`predis-agent run` with all shipped plugins at their defaults, collecting every {interval:g} s. Cold start: from the
start of the process with an empty data folder until /readyz answers 200, {starts} starts. Then, after one interval to
settle, {seconds:g} s are watched in which /metrics is fetched every {interval:g} s as Prometheus would: CPU is user
plus system time of the agent process alone (the cache process is not in it) as a share of one core, memory its
largest resident set size at the fetches."""


def run(workdir: Path, *, seconds: float = 60.0, starts: int = STARTS) -> Result:
    """Watches the agent for `seconds`; about that and 30 s more."""
    start_seconds = []
    for number in range(starts):
        started = time.perf_counter()
        agent = start_agent(folder(workdir, f"start-{number}"))
        start_seconds.append(time.perf_counter() - started)
        _stop(agent)
    agent = start_agent(folder(workdir, "watched"), f"agent.interval={INTERVAL:g}s")
    try:
        cpu_share, rss, series = _watch(agent, seconds)
    finally:
        _stop(agent)
    start = median(start_seconds)
    rows = [
        ["memory, MB", f"{rss / 1e6:.1f}", f"{MAX_RSS / 1e6:g}", f"{rss / MAX_RSS:.2f}"],
        ["CPU, % of one core", f"{cpu_share * 100:.2f}", f"{MAX_CPU * 100:g}", f"{cpu_share / MAX_CPU:.2f}"],
        ["cold start, s (median)", f"{start:.2f}", f"{MAX_START:g}", f"{start / MAX_START:.2f}"],
        [
            "cold start, s (slowest)",
            f"{max(start_seconds):.2f}",
            f"{MAX_START:g}",
            f"{max(start_seconds) / MAX_START:.2f}",
        ],
    ]
    return Result(
        name="agent_cost",
        title="What the agent costs",
        method=METHOD.format(interval=INTERVAL, starts=starts, seconds=seconds),
        tables=[Table(f"With {series} exported series", ["what", "measured", "limit", "ratio"], rows)],
        data={
            "rss_bytes": rss,
            "cpu_share_of_a_core": cpu_share,
            "start_seconds": start_seconds,
            "exported_series": series,
            "watched_seconds": seconds,
        },
        targets={
            f"memory ≤ 80 MB ({rss / 1e6:.1f})": rss <= MAX_RSS,
            f"CPU ≤ 1 % of a core ({cpu_share * 100:.2f} %)": cpu_share <= MAX_CPU,
            f"cold start ≤ 2 s (median {start:.2f} s)": start <= MAX_START,
        },
    )


def _watch(agent: Server, seconds: float) -> tuple[float, int, int]:
    """The agent's CPU as a share of one core, its largest RSS in bytes, and the number of exported series."""
    process = psutil.Process(agent.pid)
    time.sleep(INTERVAL)
    cpu_before, started = sum(process.cpu_times()[:2]), time.monotonic()
    rss, series = 0, 0
    while time.monotonic() - started < seconds:
        time.sleep(INTERVAL)
        series = _fetch(agent)
        rss = max(rss, process.memory_info().rss)
    elapsed = time.monotonic() - started
    return (sum(process.cpu_times()[:2]) - cpu_before) / elapsed, rss, series


def _fetch(agent: Server) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.extra['prometheus']}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(1 for line in lines if line and not line.startswith("#"))


def _stop(agent: Server) -> None:
    try:
        agent.stop()
    finally:
        stop_cache_of(agent)
        remove_arenas()
