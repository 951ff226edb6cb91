"""What redis_exporter and Datadog's redisdb check read of a server is there, can be parsed, and moves as it should."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from core_cache._native import Connection, Engine
from tests import servers
from tests.core_cache.compare import Pair
from tests.core_cache.info_expectations import FIELDS
from tests.core_cache.raw_resp import decode, encode, fields
from tests.waiting import wait_until

PATTERNS = {
    "count": r"\d+",
    "integer": r"-?\d+",
    "real": r"\d+\.\d+",
    "flag": "[01]",
    "status": "ok|err",
    "text": r"\S.*",
}

# The internals of redis-server.
KNOWN_TO_BE_MISSING = {
    "monotonic_clock",
    "atomicvar_api",
    "total_active_defrag_time",
    "current_active_defrag_time",
    "reply_buffer_shrinks",
    "reply_buffer_expands",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    started = servers.start_cache(tmp_path_factory.mktemp("info"))
    yield started
    assert started.stop() == 0


@pytest.fixture
def client(server: servers.Server) -> Iterator[Any]:
    connected = redis.Redis(port=server.port, password=server.password, client_name="exporter", decode_responses=True)
    connected.flushall()
    connected.config_resetstat()
    yield connected
    connected.close()


def info(client: Any) -> dict[str, str]:
    """INFO ALL, unparsed."""
    client.set_response_callback("INFO", lambda text, **_: text)
    return fields(client.execute_command("INFO", "ALL").encode())


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_there_and_can_be_parsed(client: Any, name: str) -> None:
    kind, reader = FIELDS[name]
    found = info(client)
    assert name in found, f"INFO has no {name}, which is read by {reader}"
    assert re.fullmatch(PATTERNS[kind], found[name]), f"{name} is no {kind} but {found[name]!r}; it is read by {reader}"


def test_redis_has_the_same_fields_with_values_of_the_same_kind(pair2: Pair) -> None:
    """So no kind in the list was made up to suit us."""
    theirs = fields(pair2.redis.value(b"INFO", b"ALL"))
    wrong = [
        (name, theirs.get(name))
        for name, (kind, _) in FIELDS.items()
        if not re.fullmatch(PATTERNS[kind], theirs.get(name, ""))
    ]
    assert wrong == []


def test_every_field_of_redis_is_there_or_known_to_be_missing(pair2: Pair) -> None:
    """A tool that is not in the list may read any of them."""
    ours, theirs = (fields(one.value(b"INFO", b"EVERYTHING")) for one in (pair2.ours, pair2.redis))
    variable = ("cmdstat_", "errorstat_", "latency_percentiles_", "db")
    missing = {name for name in theirs if not name.startswith(variable)} - ours.keys()
    assert missing == KNOWN_TO_BE_MISSING


def grows(client: Any, name: str, work: Callable[[], object], by: float = 1) -> None:
    before = float(info(client)[name])
    work()
    after = float(info(client)[name])
    assert after >= before + by, f"{name} was {before} and is {after}"


def test_counters_move(client: Any, server: servers.Server) -> None:
    client.set("k", "v")
    grows(client, "keyspace_hits", lambda: client.get("k"))
    grows(client, "keyspace_misses", lambda: client.get("none"))
    grows(client, "total_commands_processed", lambda: [client.ping() for _ in range(10)], by=11)
    grows(client, "total_net_input_bytes", lambda: client.set("k", "x" * 10_000), by=10_000)
    grows(client, "total_net_output_bytes", lambda: client.get("k"), by=10_000)
    grows(client, "total_connections_received", redis.Redis(port=server.port, password=server.password).ping)
    grows(client, "total_reads_processed", client.ping, by=2)
    grows(client, "total_writes_processed", client.ping, by=2)

    def fail() -> None:
        with pytest.raises(redis.ResponseError):
            client.execute_command("NOSUCH")

    grows(client, "total_error_replies", fail)

    def expire() -> None:
        client.set("short", "v", px=1)
        wait_until(lambda: client.exists("short") == 0, 10, "the key's expiry")

    grows(client, "expired_keys", expire)
    grows(
        client, "used_cpu_user", lambda: [client.mset({f"k{n}": n for n in range(5000)}) for _ in range(20)], by=0.001
    )


def test_eviction_is_counted_and_memory_stays_below_its_limit(client: Any) -> None:
    value = "x" * 100_000
    for number in range(1500):
        client.set(f"big:{number}", value)
    found = info(client)
    assert int(found["evicted_keys"]) > 0
    assert 0 < int(found["used_memory"]) <= int(found["maxmemory"])
    assert int(found["used_memory_peak"]) >= int(found["used_memory"])
    assert int(found["used_memory_dataset"]) + int(found["used_memory_overhead"]) == int(found["used_memory"])
    client.flushall()
    wait_until(lambda: int(info(client)["used_memory"]) < 20 << 20, 10, "the freed memory")


def test_gauges_follow_what_they_measure(client: Any, server: servers.Server) -> None:
    before = int(info(client)["connected_clients"])
    others = [redis.Redis(port=server.port, password=server.password) for _ in range(5)]
    for other in others:
        other.ping()
    assert int(info(client)["connected_clients"]) == before + 5
    for other in others:
        other.close()
    wait_until(lambda: int(info(client)["connected_clients"]) == before, 10, "the end of the connections")
    assert "db0" not in info(client)
    client.mset({"a": 1, "b": 2, "c": 3})
    client.expire("a", 1000)
    keyspace = re.fullmatch(r"keys=(\d+),expires=(\d+),avg_ttl=(\d+)", info(client)["db0"])
    assert keyspace is not None
    assert keyspace[1] == "3"
    assert keyspace[2] == "1"
    assert 900_000 < int(keyspace[3]) <= 1_000_000


def test_keys_that_should_be_gone_are_estimated(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without upkeep nothing removes them, so the engine is driven by hand."""
    engine = Engine(str(tmp_path_factory.mktemp("stale") / "arena"), 16 << 20, "s3fifo")
    connection = Connection(engine)

    def ask(*words: bytes) -> Any:
        return decode(connection.feed(encode(words)))

    for number in range(200):
        ask(b"SET", b"%d" % number, b"v", b"PX", b"1" if number % 2 else b"1000000")
    assert ask(b"SET", b"last", b"v", b"PX", b"1") == b"OK"
    wait_until(lambda: ask(b"EXISTS", b"last") == 0, 10, "the last key's expiry")
    assert 0 < float(fields(ask(b"INFO", b"stats"))["expired_stale_perc"]) < 100
    engine.cron(1_000_000)
    assert fields(ask(b"INFO", b"stats"))["expired_stale_perc"] == "0.00"
    engine.close()


def test_command_and_latency_statistics_have_redis_form(client: Any) -> None:
    client.set("k", "v")
    client.get("k")
    with pytest.raises(redis.ResponseError):
        client.execute_command("INCR", "k")
    with pytest.raises(redis.ResponseError):
        client.execute_command("GET")
    found = info(client)
    number = r"\d+(?:\.\d+)?"
    for name, value in found.items():
        if name.startswith("cmdstat_"):
            form = rf"calls=\d+,usec=\d+,usec_per_call={number},rejected_calls=\d+,failed_calls=\d+"
            assert re.fullmatch(form, value), (name, value)
        if name.startswith("latency_percentiles_usec_"):
            assert re.fullmatch(rf"p50={number},p99={number},p99\.9={number}", value), (name, value)
        if name.startswith("errorstat_"):
            assert re.fullmatch(r"count=\d+", value), (name, value)
    assert found["cmdstat_get"].startswith("calls=1,")
    assert ",rejected_calls=1,failed_calls=0" in found["cmdstat_get"]
    assert found["cmdstat_incr"].endswith(",rejected_calls=0,failed_calls=1")
    assert "latency_percentiles_usec_get" in found
    assert found["errorstat_ERR"] == "count=2"


def test_the_other_calls_of_the_exporters(client: Any) -> None:
    """CONFIG GET, SLOWLOG, LATENCY, CLIENT LIST and MODULE LIST."""
    settings = client.config_get("*")
    assert int(settings["maxmemory"]) > 0
    assert int(settings["maxclients"]) > 0
    assert int(settings["databases"]) == 1
    assert int(settings["slowlog-max-len"]) >= 0
    assert client.config_set("slowlog-log-slower-than", 0)
    client.get("slow")
    assert client.config_set("slowlog-log-slower-than", 10_000)
    entry = next(entry for entry in client.slowlog_get(128) if entry["command"] in ("GET slow", b"GET slow"))
    assert {"id", "start_time", "duration", "command"} <= entry.keys()
    assert client.slowlog_len() >= 1
    assert client.latency_latest() == []
    assert client.execute_command("LATENCY HISTOGRAM", "get")
    me = next(entry for entry in client.client_list() if entry["name"] == "exporter")
    for name in ("id", "addr", "age", "idle", "flags", "db", "omem", "cmd", "user", "resp"):
        assert me[name] != "", f"CLIENT LIST has no {name}"
    assert me["db"] == "0"
    assert client.module_list() == []
