"""What 10,000 series cost the agent at five exporters, while vendors are well and while two of them are not."""

import gzip
import json
import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from agent.api import Snapshot
from agent.export.pipe import ExportPipe
from agent.export.retry import Retry
from bench.load import folder
from bench.report import Result, Table
from bench.series import LATE_FILE, PLUGINS, SERIES, SPECS, TICK, Numbers, lateness
from tests import servers
from tests.exporters.rig import AWS, VENDORS, make_plugin, overrides, p99
from tests.installed import install
from tests.servers import Server, remove_arenas, start_agent, stop_cache_of
from tests.vendors import faults
from tests.vendors.running import Vendor, start_vendor
from tests.waiting import wait_until

INTERVAL = 10.0
HOUR = 360  # snapshots
MAX_CPU, MAX_RSS, MAX_LATE, MAX_SCRAPE, MAX_SPOOL = 0.05, 150e6, 0.1, 0.06, 64 << 20
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
METHOD = """\
`predis-agent run`, collecting every {interval:g} s, with a plugin that gives {series:,} series (5,000 counters, 4,500
gauges, 500 histograms of 9 bounds; two thirds of the numbers change) beside the shipped ones, and five exporters:
Prometheus, scraped every {interval:g} s, and Datadog, New Relic, CloudWatch and OTLP, each at a strict fake over TLS in
a process of its own. `well`: after two intervals to settle, {seconds:g} s with all of them well. `two away`: as long,
while Datadog hangs (requests are read and never answered) and New Relic refuses connections. CPU is user plus system
time of the agent process as a share of one core, less what the plugin itself says that making up its numbers took;
memory is the largest resident set size. Lateness is how much later than planned another plugin, asked every
{tick:g} s, is asked. A scrape is one whole GET of /metrics with gzip, as OpenMetrics; after `two away`, and as often,
as protobuf with native histograms, too, which Prometheus asks for instead where it takes those; the memory that both
together take is measured as well. The hour's outage is
made in one process: 360 snapshots of the same series for each exporter while its vendor refuses connections, and the
sizes of the spools."""


def run(workdir: Path, *, seconds: float = 60.0) -> Result:
    """Watches the agent twice for `seconds`; about a minute more in all."""
    fakes = folder(workdir, "fakes")
    with _aws(), ExitStack() as stack:
        vendors = {name: stack.enter_context(start_vendor(name, fakes, tls=True)) for name in VENDORS}
        phases, protobuf, both = _watched(workdir, vendors, seconds)
        spools = _outages(vendors, folder(workdir, "hour"))
    rows = [
        [
            phase,
            f"{found['cpu'] * 100:.2f}",
            f"{found['rss'] / 1e6:.1f}",
            f"{p99(found['late']) * 1000:.1f}",
            f"{median(found['scrapes']) * 1000:.1f}",
        ]
        for phase, found in phases.items()
    ]
    costs = Table(
        f"{SERIES:,} series every {INTERVAL:g} s at five exporters",
        ["vendors", "CPU, % of a core", "memory, MB", "lateness p99, ms", "scrape, ms (median)"],
        rows,
    )
    disk = Table(
        "An hour without the vendor",
        ["exporter", "points", "spool, MiB", "bytes per point"],
        [
            [name, f"{points:,}", f"{size / 2**20:.1f}", f"{size / points:.2f}"]
            for name, (points, size) in spools.items()
        ],
    )
    cpu = max(found["cpu"] for found in phases.values())
    rss = max(both, *(found["rss"] for found in phases.values()))
    late = p99([each for found in phases.values() for each in found["late"]])
    scrape = median([each for found in phases.values() for each in found["scrapes"]])
    largest = max(size for _, size in spools.values())
    return Result(
        name="export_cost",
        title="What five exporters cost",
        method=METHOD.format(interval=INTERVAL, series=SERIES, seconds=seconds, tick=TICK),
        tables=[costs, disk],
        data={
            "phases": phases,
            "protobuf": protobuf,
            "rss_of_both_formats": both,
            "spools": {name: {"points": p, "bytes": b} for name, (p, b) in spools.items()},
        },
        targets={
            f"CPU ≤ 5 % of a core ({cpu * 100:.2f} %)": cpu <= MAX_CPU,
            f"memory ≤ 150 MB ({rss / 1e6:.1f}, with both formats of scrapes)": rss <= MAX_RSS,
            f"lateness p99 ≤ 100 ms ({late * 1000:.1f})": late <= MAX_LATE,
            f"scrape ≤ 60 ms (median {scrape * 1000:.1f})": scrape <= MAX_SCRAPE,
            f"scrape as protobuf ≤ 60 ms (median {median(protobuf) * 1000:.1f})": median(protobuf) <= MAX_SCRAPE,
            f"spool of an hour ≤ 64 MiB ({largest / 2**20:.1f})": largest <= MAX_SPOOL,
        },
    )


@contextmanager
def _aws() -> Iterator[None]:
    """CloudWatch's credentials are in the environment."""
    before = dict(os.environ)
    os.environ.update(AWS)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# --- a running agent


def _watched(
    workdir: Path, vendors: dict[str, Vendor], seconds: float
) -> tuple[dict[str, dict[str, Any]], list[float], int]:
    """CPU, memory, lateness and scrapes of an agent, while all is well and while two vendors are away; after that, the
    seconds of scrapes as protobuf, and the memory meanwhile, in bytes."""
    late = workdir / "late"
    late.touch()
    os.environ[LATE_FILE] = str(late)
    agent = _start(workdir, vendors)
    try:
        time.sleep(2 * INTERVAL)
        wait_until(lambda: all(_exporter(agent, name)["delivered"] >= SERIES for name in VENDORS), 60, "deliveries")
        phases = {"well": _watch(agent, late, seconds)}
        for name in VENDORS:
            books = _exporter(agent, name)
            if books["dropped"] or books["spooled"] or vendors[name].violations():
                raise RuntimeError(f"{name} did not take everything: {books}, {vendors[name].violations()[:3]}")
        vendors["datadog"].script([faults.hang(times=None)])
        vendors["newrelic"].outage()
        phases["two away"] = _watch(agent, late, seconds)
        for name in ("datadog", "newrelic"):
            if not _exporter(agent, name)["failures_in_a_row"]:
                raise RuntimeError(f"{name} was to be away and is not")
        vendors["datadog"].script([])
        protobuf, rss = [], 0
        _fetch(agent, PROTOBUF)  # the first lays all out, as the first of OpenMetrics has done
        for _ in phases["two away"]["scrapes"]:
            time.sleep(INTERVAL)
            protobuf.append(_seconds_of_scrape(agent, PROTOBUF))
            _fetch(agent, OPENMETRICS)
            rss = max(rss, psutil.Process(agent.pid).memory_info().rss)
        return phases, protobuf, rss
    finally:
        try:
            agent.stop()
        finally:
            stop_cache_of(agent)
            remove_arenas()


def _start(workdir: Path, vendors: dict[str, Vendor]) -> Server:
    site = install(folder(workdir, "site"), "bench-series", PLUGINS)
    values = [
        f"agent.interval={INTERVAL:g}s",
        "plugins.many_series.max_series=20000",
        f"plugins.metronome.interval={TICK:g}s",
        *(override for vendor in vendors.values() for override in overrides(vendor)),
    ]
    root = servers.ROOT
    servers.ROOT = f"{root}{os.pathsep}{site}"  # type: ignore[assignment]  # what becomes PYTHONPATH
    try:
        return start_agent(folder(workdir, "agent"), *values)
    finally:
        servers.ROOT = root


def _watch(agent: Server, late: Path, seconds: float) -> dict[str, Any]:
    process = psutil.Process(agent.pid)
    own, began = _own_seconds(agent), time.monotonic()
    before = sum(process.cpu_times()[:2])
    rss, scrapes = 0, []
    while time.monotonic() - began < seconds:
        time.sleep(INTERVAL)
        scrapes.append(_seconds_of_scrape(agent, OPENMETRICS))
        rss = max(rss, process.memory_info().rss)
    used = sum(process.cpu_times()[:2]) - before - (_own_seconds(agent) - own)
    cpu = used / (time.monotonic() - began)
    return {"cpu": cpu, "rss": rss, "late": lateness(late, began), "scrapes": scrapes}


def _seconds_of_scrape(agent: Server, accept: str) -> float:
    started = time.perf_counter()
    _fetch(agent, accept)
    return time.perf_counter() - started


def _fetch(agent: Server, accept: str) -> bytes:
    headers = {"Accept": accept, "Accept-Encoding": "gzip"}
    url = f"http://127.0.0.1:{agent.extra['prometheus']}/metrics"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return gzip.decompress(answer.read())


def _own_seconds(agent: Server) -> float:
    page = _fetch(agent, OPENMETRICS).decode()
    lines = [line for line in page.splitlines() if line.startswith("predis_bench_own_seconds_total ")]
    return float(lines[0].split()[1]) if lines else 0.0


def _exporter(agent: Server, name: str) -> dict[str, Any]:
    """The exporter's part of the status document."""
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.extra['http']}/api/v1/status", timeout=10) as answer:
        plugins = json.load(answer)["plugins"]
    found: dict[str, Any] = next(plugin for plugin in plugins if plugin["name"] == name)
    return dict(found.get("export") or dict.fromkeys(("delivered", "spooled", "failures_in_a_row"), 0))


# --- an hour on the disk


def _outages(vendors: dict[str, Vendor], place: Path) -> dict[str, tuple[int, int]]:
    """Of each exporter, the points that wait on the disk after an hour without its vendor, and their bytes."""
    now = time.time() - HOUR * INTERVAL
    pipes: dict[str, ExportPipe] = {}
    for name, vendor in vendors.items():
        vendor.outage()
        plugin = make_plugin(vendor, place)
        pipes[name] = ExportPipe(
            name,
            plugin.predis_destination(),
            plugin._config.model_copy(update={"spool": 1 << 30}),
            folder(place, name),
            clock=lambda: now,
            retry=lambda: Retry(uniform=lambda low, high: 3600.0),
        )
    numbers, specs = Numbers(), {spec.name: spec for spec in SPECS}
    try:
        for _ in range(HOUR):
            now += INTERVAL
            snapshot = Snapshot(now, {sample.key: sample for sample in numbers.next()}, specs)
            for pipe in pipes.values():
                pipe.offer(snapshot)
        found = {}
        for name, pipe in pipes.items():
            wait_until(lambda pipe=pipe: not pipe.account.books().queued, what="everything to be spooled")  # type: ignore[misc]
            books = pipe.account.books()
            if books.dropped or not books.balanced:
                raise RuntimeError(f"{name}: points are missing: {books}")
            found[name] = (books.spooled, pipe.lanes.size)
        return found
    finally:
        for name, pipe in pipes.items():
            pipe.stop(1.0)
            vendors[name].back()
