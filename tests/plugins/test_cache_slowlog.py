"""Slow commands become exemplars of their latencies: with the entry's number, and without what clients sent."""

import logging
from pathlib import Path
from typing import Any

import pytest

from agent.api import CacheAddress, Exemplar, Histogram, Host
from core_cache.resp_client import ConnectionFailed, RespClient
from plugins.cache_metrics.plugin import CacheMetrics, CacheMetricsConfig
from plugins.cache_metrics.slowlog import LABEL, SlowLog, exemplars_of
from tests.plugins.conftest import Collect
from tests.servers import Server

BOUNDS = (0.01, 0.1)
COMMANDS = {"get", "config|set", "sort"}


def entry(number: int, seconds: int, microseconds: int, *arguments: str) -> list[Any]:
    words: list[Any] = [word.encode() for word in arguments]
    return [number, seconds, microseconds, words, b"10.0.0.7:1234", b"ann's laptop"]


def stats(slow: int, started: int = 1) -> dict[str, Any]:
    return {
        "counters": {"slow_commands": slow},
        "gauges": {"started_unix_ms": started},
        "commands": dict.fromkeys(COMMANDS),
    }


def test_each_bucket_of_a_command_has_its_newest_entry_and_no_more_than_the_number() -> None:
    log = [
        entry(9, 109, 15_000, "GET", "ann@example.com"),
        entry(8, 108, 20_000, "get", "bob@example.com"),
        entry(7, 107, 250_000, "GET", "bob@example.com"),
        entry(6, 106, 11_000, "CONFIG", "SET", "maxmemory", "1gb"),
        entry(5, 105, 11_000, "EVAL", "return 1"),
    ]
    found = exemplars_of(log, COMMANDS, BOUNDS)
    assert found == {
        "get": (Exemplar(((LABEL, "9"),), 0.015, 109.0), Exemplar(((LABEL, "7"),), 0.25, 107.0)),
        "config|set": (Exemplar(((LABEL, "6"),), 0.011, 106.0),),
    }
    assert not any(word in repr(found) for word in ("example", "10.0.0.7", "laptop", "1gb"))


def test_the_cache_is_asked_only_when_something_was_slow_since(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[int] = []
    replies: list[Any] = []

    def ask() -> Any:
        asked.append(1)
        reply = replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    log = SlowLog(ask, logging.getLogger("tests.slowlog"))
    assert log.exemplars(stats(0), BOUNDS) == {}
    assert asked == []
    replies += [ConnectionFailed("no answer"), ConnectionFailed("no answer"), [entry(0, 100, 20_000, "GET", "k")], []]
    # when it does not answer, that is told once, and it is asked again the next time
    assert [log.exemplars(stats(1), BOUNDS) for _ in range(2)] == [{}, {}]
    assert [record.getMessage() for record in caplog.records] == [
        "histograms are without exemplars: the slow log cannot be read: no answer"
    ]
    (first,) = log.exemplars(stats(1), BOUNDS)["get"]
    assert first.labels == ((LABEL, "0"),)
    # then not again, before another one was slow, or another process has begun another log
    assert log.exemplars(stats(1), BOUNDS)["get"] == (first,)
    assert len(asked) == 3
    assert log.exemplars(stats(1, started=2), BOUNDS) == {}
    assert len(asked) == 4


def test_with_a_real_cache(cache_server: Server, host: Host, collect: Collect, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(f"{cache_server.password}\n")
    address = CacheAddress(cache_server.unix_socket, "127.0.0.1", 0, password, cache_server.data_dir / "cache.arena")
    plugin = CacheMetrics(CacheMetricsConfig())
    plugin.predis_start(Host(cache_server.data_dir, address, "1.2.3", host.logger))
    with RespClient(cache_server.unix_socket, cache_server.password) as client:
        client.command("SET", "ann@example.com", "1")
        # given that every command counts as slow
        client.command("CONFIG", "SET", "slowlog-log-slower-than", "0")
        client.command("GET", "ann@example.com")
        client.command("CONFIG", "SET", "slowlog-log-slower-than", "-1")
        entries: Any = client.command("SLOWLOG", "GET", "-1")
        values = collect(plugin)
    # then its latencies carry the number of the entry, with its duration and time
    numbers = {entry[3][0]: entry for entry in entries}
    number, seconds, microseconds, *_ = numbers[b"GET"]
    get = values["predis_command_duration_seconds", ("get",)]
    assert isinstance(get, Histogram)
    assert get.exemplars == (Exemplar(((LABEL, str(number)),), microseconds / 1e6, float(seconds)),)
    assert isinstance(config_set := values["predis_command_duration_seconds", ("config|set",)], Histogram)
    assert config_set.exemplars[0].labels[0] == (LABEL, str(numbers[b"CONFIG"][0]))
    assert isinstance(was_quick := values["predis_command_duration_seconds", ("set",)], Histogram)
    assert was_quick.exemplars == ()
    exemplars = [one for value in values.values() if isinstance(value, Histogram) for one in value.exemplars]
    assert {label for one in exemplars for label, _ in one.labels} == {LABEL}
    # and the fine buckets that the cache counts in come along
    assert get.fine is not None
    assert (get.fine.count, get.fine.sum, len(get.fine.counts)) == (get.count, get.sum, 128)
    plugin.predis_stop()
