"""The benchmarks run, check what they measure, and write what they found."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from bench import (
    access_log,
    cpu_per_op,
    export_cost,
    load,
    local_reads,
    memory_per_key,
    recovery,
    run,
    series,
    stall,
    tenant_isolation,
    tenant_loads,
)
from bench.report import Result, Table, machine, write
from tests.servers import Server

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None or shutil.which("redis-benchmark") is None,
    reason="redis-server or redis-benchmark is not installed; `make peers` installs them",
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyspace of 2,000 instead of a million: the same path in a moment."""
    monkeypatch.setattr(cpu_per_op, "KEYS", 2000)
    monkeypatch.setattr(load.fill, "__defaults__", (2000, 100))


@needs_redis
def test_memory_per_key_counts_at_least_key_and_value(tmp_path: Path) -> None:
    result = memory_per_key.run(tmp_path, keys=50_000)
    for server in ("ours", "redis"):
        assert 116 < result.data["bytes_per_key"][server]["used_memory"] < 400


@needs_redis
def test_recovery_waits_until_every_key_is_back(tmp_path: Path) -> None:
    result = recovery.run(tmp_path, keys=20_000, rounds=2)
    assert [len(found) for found in result.data["seconds"].values()] == [2, 2]


@needs_redis
def test_local_reads_are_measured_against_redis_py(tmp_path: Path) -> None:
    result = local_reads.run(tmp_path, keys=3000, rounds=1, scale=0.01)
    ratios = {row[0]: float(row[3]) for row in result.tables[0].rows}
    assert set(local_reads.TARGETS) < set(ratios)
    assert min(ratios.values()) > 1
    assert [row[0] for row in result.tables[1].rows][-1] == local_reads.YARDSTICK
    assert len(result.tables[1].rows) == 3


def test_stalls_are_measured_in_every_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(stall.SCENARIOS, "a million keys expire at once")  # it waits for five seconds
    result = stall.run(tmp_path, keys=3000, memory_mib=12)
    assert len(result.tables[0].rows) == len(stall.SCENARIOS)
    assert all(run["longest_ms"] > 0 for run in result.data.values())


def test_the_access_log_is_timed_beside_an_engine_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "KEYS", 2000)
    with_log, without = access_log._interleaved(access_log._filled(tmp_path / "filled.arena"), rounds=2)
    assert len(with_log) == len(without) == 2
    assert min(with_log + without) > 0


def test_local_reads_must_be_hits() -> None:
    with pytest.raises(RuntimeError, match="get, cold: 1 hits in 2 reads"):
        local_reads._measure(local_reads.Case("get, cold", lambda: 1, 2, lambda: 2, 2), 1)


@needs_redis
@pytest.mark.usefixtures("small")
def test_cpu_per_op_measures_every_case_against_redis(tmp_path: Path) -> None:
    result = cpu_per_op.run(tmp_path, pairs=1, scale=0.05)
    assert len(result.tables[0].rows) == len(result.targets) == 8
    for pairs in result.data["pairs"].values():
        assert pairs[0]["redis_us"] > 0
        assert pairs[0]["ratio"] == pytest.approx(pairs[0]["ours_us"] / pairs[0]["redis_us"])


@needs_redis
def test_tenant_isolation_measures_each_load_in_pairs(tmp_path: Path) -> None:
    result = tenant_isolation.run(tmp_path, pairs=2, seconds=0.1)
    live, waits = result.tables
    assert [row[0] for row in live.rows][:2] == ["ours, flood of SETs", "ours, flood of GETs"]
    controls = [row[0] for row in live.rows if row[0].startswith("network alone")]
    assert controls[0] == "network alone, flood of SETs"
    assert len(live.rows) == 2 * len(tenant_loads.LOADS) + len(controls)
    assert len(waits.rows) == 2 * len(tenant_loads.LOADS)
    for cases in result.data["live"].values():
        for windows in cases.values():
            assert windows[0]["alone_p50_us"] > 0
            assert windows[0]["loaded_p50_us"] > 0
    assert result.targets["keys of A evicted: none (0)"]
    turns = result.data["turns"]["SCANs"]
    assert turns["with turns"]["p50"] < turns["without"]["p50"] / 10


def test_export_cost_watches_an_agent_and_fills_the_spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_cost, "INTERVAL", 4.0)
    monkeypatch.setattr(export_cost, "HOUR", 2)
    result = export_cost.run(tmp_path, seconds=4.0)
    for phase in ("well", "two away"):
        assert 0 < result.data["phases"][phase]["cpu"] < 4
        assert result.data["phases"][phase]["late"]
    # the first snapshot has no increases yet
    assert result.data["spools"]["newrelic"]["points"] == 2 * series.SERIES - series.COUNTERS - series.HISTOGRAMS
    assert result.data["spools"]["otlp"]["points"] == 2 * series.SERIES


def test_lateness_counts_from_the_plan_and_misses_nothing(tmp_path: Path) -> None:
    told = tmp_path / "late"
    times = [100.2 + number * series.TICK for number in range(20)]
    times[5] += 0.1
    del times[9]
    told.write_text("".join(f"{time!r}\n" for time in (1.0, *times)))
    late = sorted(series.lateness(told, since=50.0))
    assert len(late) == 20
    assert late[-2:] == pytest.approx([0.1, series.TICK])
    assert late[:18] == pytest.approx([0.0] * 18, abs=1e-9)


def test_the_interval_of_a_ratio_is_that_of_the_pairs() -> None:
    def window(latency: float) -> tenant_isolation.Window:
        return tenant_isolation.Window([latency] * 10, [latency] * 10)

    assert tenant_isolation.interval([(window(10.0), window(20.0))] * 5, 0.99) == (2.0, 2.0)
    low, high = tenant_isolation.interval([(window(10.0), window(10.0))] * 5 + [(window(10.0), window(30.0))] * 5, 0.5)
    assert (low, high) == (1.0, 3.0)


def test_a_get_that_misses_is_not_measured(redis_server: Server) -> None:
    case = cpu_per_op.Case("get", 16, unix=True, operations=10_000)
    with pytest.raises(RuntimeError, match="had only 0 hits in 10000 GETs"):
        cpu_per_op._one(case, redis_server, client_cpus=[0])


def test_fill_stores_the_keys_that_redis_benchmark_asks_for(redis_server: Server) -> None:
    load.fill(redis_server, 3, 7)
    with redis_server.client() as client:
        assert client.command("DBSIZE") == 3
        assert client.command("STRLEN", "key:000000000002") == 7


def test_a_server_that_refuses_the_keys_stops_the_benchmark(redis_server: Server) -> None:
    with redis_server.client() as client:
        client.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(RuntimeError, match=r"it answered b.-OOM"):
        load.fill(redis_server, 3, 7)


def test_results_are_written_for_people_and_for_programs(tmp_path: Path) -> None:
    table = Table("Bytes", ["what", "ours"], [["small", "1.5"], ["a long one", "10.25"]])
    text = write(Result("x", "Title", "How.", [table], {"raw": [1]}, {"fast": False}), machine(), tmp_path)
    assert "| what       |  ours |\n| ---------- | ----: |\n| small      |   1.5 |" in text
    assert "- MISSED: fast" in text
    document = json.loads((tmp_path / "x.json").read_text())
    assert document["data"] == {"raw": [1]}
    assert document["machine"]["cpus"] >= 1
    assert (tmp_path / "x.md").read_text() == text


def test_a_benchmark_that_fails_is_named_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run", "miss_ratio", "--traces", str(tmp_path), "--out", str(tmp_path / "out")])
    assert run.main() == 1
    assert f"miss_ratio failed: no {tmp_path}/peers.csv" in capsys.readouterr().err
