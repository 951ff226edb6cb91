"""cache_metrics reads the arena's counters, says so when there is none, and finds a new one by itself."""

import json
import math
import time
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from agent.api import CacheAddress, Histogram, Host
from plugins.cache_metrics.latency import TARGETS, LatencyScale
from plugins.cache_metrics.plugin import CacheMetrics, CacheMetricsConfig
from tests.plugins.conftest import Collect
from tests.servers import Server
from tests.waiting import wait_until

FINE = (*((64 + 16 * (bucket & 3)) * 2.0 ** (bucket // 4) * 1e-9 for bucket in range(127)), math.inf)
"""Bounds on a scale like the cache's: four per power of two from 64 ns on."""
RECORDED = json.loads((Path(__file__).parent / "data" / "cache_stats.json").read_text())


class FakeReader:
    """Reads recorded numbers from where the arena would be."""

    opened = 0

    def __init__(self, path: str) -> None:
        type(self).opened += 1
        self.path = Path(path)

    def read(self) -> Mapping[str, Any]:
        stats: dict[str, Any] = json.loads(self.path.read_text())
        return stats


def write_arena(host: Host, name: str, heartbeat: float, **counters: int) -> None:
    """Puts an arena where the cache would: a file, and a link to it in the data folder, replaced in one step."""
    stats = json.loads(json.dumps(RECORDED))
    stats["gauges"]["heartbeat_unix_ms"] = int(heartbeat * 1000)
    stats["counters"].update(counters)
    file = host.data_dir / name
    file.write_text(json.dumps(stats))
    link = host.data_dir / "new-link"
    link.symlink_to(file)
    link.rename(host.cache.arena)


@pytest.fixture
def plugin(host: Host) -> CacheMetrics:
    FakeReader.opened = 0
    made = CacheMetrics(CacheMetricsConfig(), FakeReader, FINE)
    made.predis_start(host)
    return made


def test_without_an_arena_the_cache_is_down_and_that_is_no_error(plugin: CacheMetrics, collect: Collect) -> None:
    assert collect(plugin) == {("predis_cache_up", ()): 0}


def test_the_counters_of_the_arena_become_metrics_in_base_units(
    plugin: CacheMetrics, host: Host, collect: Collect
) -> None:
    write_arena(host, "one.arena", time.time(), keyspace_hits=7, expired_lazy=3, recovery_nanoseconds=2_500_000_000)
    values = collect(plugin)
    assert values["predis_cache_up", ()] == 1
    assert values["predis_keyspace_hits_total", ()] == 7
    assert values["predis_expired_keys_total", ("lazy",)] == 3
    assert values["predis_recovery_seconds_total", ()] == pytest.approx(2.5)
    get = RECORDED["commands"]["get"]
    assert values["predis_commands_total", ("get",)] == get["calls"]
    assert values["predis_command_failures_total", ("get", "failed")] == get["failed"]
    assert values["predis_command_failures_total", ("get", "rejected")] == get["rejected"]
    duration = values["predis_command_duration_seconds", ("get",)]
    assert isinstance(duration, Histogram)
    assert duration.count == sum(get["latency"])
    assert duration.sum == pytest.approx(get["nanoseconds"] / 1e9)


def test_every_counter_and_gauge_that_the_recording_has_is_used_or_left_out_on_purpose(
    plugin: CacheMetrics, host: Host
) -> None:
    used = set()

    class Watching(dict[str, int]):
        def get(self, name: str, default: Any = None) -> Any:
            used.add(name)
            return super().get(name, default)

    stats = {"counters": Watching(RECORDED["counters"]), "gauges": Watching(RECORDED["gauges"]), "commands": {}}
    list(plugin._samples(stats))
    told_otherwise = {"total_commands", "pid"}
    assert (RECORDED["counters"].keys() | RECORDED["gauges"].keys()) - used == told_otherwise


def test_a_cache_without_a_sign_of_life_is_down_though_its_last_numbers_are_told(
    plugin: CacheMetrics, host: Host, collect: Collect
) -> None:
    write_arena(host, "one.arena", time.time() - 60, keyspace_hits=7)
    values = collect(plugin)
    assert values["predis_cache_up", ()] == 0
    assert values["predis_keyspace_hits_total", ()] == 7


def test_the_arena_stays_open_until_it_is_replaced(plugin: CacheMetrics, host: Host, collect: Collect) -> None:
    write_arena(host, "one.arena", time.time(), keyspace_hits=7)
    collect(plugin)
    collect(plugin)
    assert FakeReader.opened == 1
    write_arena(host, "two.arena", time.time(), keyspace_hits=1)
    assert collect(plugin)["predis_keyspace_hits_total", ()] == 1
    assert FakeReader.opened == 2
    host.cache.arena.unlink()
    assert collect(plugin) == {("predis_cache_up", ()): 0}
    write_arena(host, "three.arena", time.time(), keyspace_hits=2)
    assert collect(plugin)["predis_keyspace_hits_total", ()] == 2


def test_numbers_that_another_version_of_the_cache_lacks_are_left_out(plugin: CacheMetrics, host: Host) -> None:
    stats = {"counters": {"keyspace_hits": 1}, "gauges": {"heartbeat_unix_ms": 0}, "commands": {}}
    names = [sample.name for sample in plugin._samples(stats)]
    assert names == ["predis_cache_up", "predis_keyspace_hits_total", "predis_cache_heartbeat_time_seconds"]


def test_each_tenant_has_its_own_series(plugin: CacheMetrics) -> None:
    numbers = {"hits": 3, "bytes_in": 5, "bytes_out": 7, "quota": 8 << 20, "throttled": 2, "nanoseconds": 1_500_000_000}
    latency = [0] * len(FINE)
    latency[3] = 4
    tenants = {"ann": numbers | {"latency": latency}, "bob": {"latency": [0] * len(FINE), "nanoseconds": 0}}
    stats = {"counters": {}, "gauges": {}, "commands": {}, "tenants": tenants}
    values = {(sample.name, sample.labels): sample.value for sample in plugin._samples(stats)}
    assert values["predis_tenant_hits_total", ("ann",)] == 3
    assert values["predis_tenant_network_bytes_total", ("ann", "in")] == 5
    assert values["predis_tenant_network_bytes_total", ("ann", "out")] == 7
    assert values["predis_tenant_memory_max_bytes", ("ann",)] == 8 << 20
    assert values["predis_tenant_throttled_total", ("ann",)] == 2
    duration = values["predis_tenant_command_duration_seconds", ("ann",)]
    assert isinstance(duration, Histogram)
    assert (duration.count, duration.sum) == (4, 1.5)
    assert ("predis_tenant_hits_total", ("bob",)) not in values


def test_the_coarse_scale_is_readable_and_nested_in_the_fine_one() -> None:
    scale = LatencyScale(FINE)
    assert set(scale.bounds) <= set(FINE)
    assert len(scale.bounds) == len(TARGETS) == 24
    for bound, target in zip(scale.bounds, TARGETS, strict=True):
        assert 0.88 < bound / target < 1.13


@given(st.lists(st.integers(0, 2**40), min_size=128, max_size=128))
def test_counts_stay_exact_at_every_coarse_bound(counts: list[int]) -> None:
    scale = LatencyScale(FINE)
    merged = scale.merge(counts)
    assert len(merged) == len(scale.bounds) + 1
    fine_totals = dict(zip(FINE, accumulate(counts), strict=True))
    assert list(accumulate(merged)) == [fine_totals[bound] for bound in (*scale.bounds, math.inf)]


@pytest.mark.parametrize("bounds", [(), (1.0,), (1.0, 2.0), (2.0, 1.0, math.inf)])
def test_a_scale_that_is_none_is_refused(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        LatencyScale(bounds)


def test_counts_of_another_scale_are_refused() -> None:
    with pytest.raises(ValueError, match="2 latency buckets where 128"):
        LatencyScale(FINE).merge([1, 2])


def test_with_a_real_cache(cache_server: Server, host: Host, collect: Collect) -> None:
    address = CacheAddress(cache_server.unix_socket, "127.0.0.1", 0, None, cache_server.data_dir / "cache.arena")
    plugin = CacheMetrics(CacheMetricsConfig(heartbeat_timeout=2.0))
    plugin.predis_start(Host(cache_server.data_dir, address, "1.2.3", host.logger))
    with redis.Redis(unix_socket_path=str(cache_server.unix_socket), password=cache_server.password) as client:
        client.set("there", "x" * 100)
        for _ in range(50):
            assert client.get("there") is not None
            assert client.get("not there") is None
        with pytest.raises(redis.ResponseError):
            client.incr("there")
        client.set("short", 1, px=1)
        wait_until(lambda: client.dbsize() == 1, what="the key's expiry")
        values = wait_until(
            lambda: found if (found := collect(plugin))["predis_keyspace_hits_total", ()] == 50 else None,
            what="50 hits in the metrics",
        )
    assert values["predis_cache_up", ()] == 1
    assert values["predis_keyspace_misses_total", ()] == 50
    assert values["predis_commands_total", ("get",)] == 100
    assert values["predis_command_failures_total", ("incrby", "failed")] == 1  # which is what redis-py sends
    assert values["predis_keys", ()] == 1
    assert values["predis_memory_max_bytes", ()] == 64 << 20
    assert values["predis_connections", ()] == 1
    for direction in ("in", "out"):
        assert values["predis_network_bytes_total", (direction,)] > 1000  # type: ignore[operator]
    expired = [values["predis_expired_keys_total", (reason,)] for reason in ("lazy", "active")]
    assert sum(expired) == 1  # type: ignore[arg-type]
    duration = values["predis_command_duration_seconds", ("get",)]
    assert isinstance(duration, Histogram)
    assert duration.count == values["predis_commands_total", ("get",)]
    assert 0 < duration.sum < 10
    # When the cache has gone, the arena is gone or old, and either way it is down.
    cache_server.stop()
    wait_until(lambda: collect(plugin)["predis_cache_up", ()] == 0, timeout=15, what="predis_cache_up 0")
    plugin.predis_stop()
