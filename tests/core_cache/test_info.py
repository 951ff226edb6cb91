"""What the server tells about itself: INFO, SLOWLOG, LATENCY, MEMORY, OBJECT, COMMAND, and the latency scale."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core_cache._native import Connection, Engine, StatsReader, latency_bounds
from tests.core_cache.compare import Pair
from tests.core_cache.raw_resp import decode, encode, words

MIB = 1024 * 1024


class Local:
    """A connection to an engine in this process, whose replies are decoded."""

    def __init__(self, engine: Engine) -> None:
        self.connection = Connection(engine)

    def __call__(self, line: str) -> Any:
        return decode(self.connection.feed(encode(words(line))))

    def info(self, *sections: str) -> dict[str, str]:
        lines = self(" ".join(["INFO", *sections])).decode().split("\r\n")
        return dict(line.split(":", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture
def arena(tmp_path: Path) -> Path:
    return tmp_path / "cache.arena"


@pytest.fixture
def engine(arena: Path) -> Iterator[Engine]:
    engine = Engine(str(arena), 128 * MIB, "s3fifo", port=6400, version="1.2.3", unix_socket="/run/x.sock")
    yield engine
    engine.close()


@pytest.fixture
def ask(engine: Engine) -> Local:
    return Local(engine)


def sections(text: bytes) -> list[str]:
    return [line[2:] for line in text.decode().split("\r\n") if line.startswith("# ")]


def test_info_has_the_sections_of_redis(ask: Local) -> None:
    usual = ["Server", "Clients", "Memory", "Persistence", "Stats", "Replication", "CPU", "Modules", "Errorstats"]
    usual += ["Cluster", "Keyspace"]
    assert sections(ask("INFO")) == sections(ask("INFO default")) == usual
    everything = [*usual[:8], "Commandstats", "Errorstats", "Latencystats", "Cluster", "Keyspace"]
    assert sections(ask("INFO all")) == sections(ask("INFO EVERYTHING")) == everything
    assert sections(ask("INFO cpu SERVER nosuch")) == ["Server", "CPU"]
    assert ask("INFO nosuch") == b""


def test_info_counts(ask: Local, engine: Engine) -> None:
    assert "db0" not in ask.info()
    ask("SET k v EX 100")
    ask("SET n 1")
    ask("GET k")
    ask("GET none")
    ask("INCR k")
    ask("GET")
    ask("NOSUCH")
    information = ask.info("all")
    assert information["db0"].startswith("keys=2,expires=1,avg_ttl=")
    assert 0 < int(information["db0"].rpartition("=")[2]) <= 100_000
    assert int(information["keyspace_hits"]) >= 1
    assert information["keyspace_misses"] == "1"
    assert information["total_error_replies"] == "3"
    assert information["errorstat_ERR"] == "count=3"
    assert information["tcp_port"] == "6400"
    assert information["predis_version"] == "1.2.3"
    assert information["maxmemory"] == str(128 * MIB)
    assert information["maxmemory_human"] == "128.00M"
    assert information["maxmemory_policy"] == "allkeys-s3fifo"
    assert 0 < int(information["used_memory"]) < 128 * MIB
    assert information["cmdstat_set"].startswith("calls=2,usec=")
    assert information["cmdstat_incr"].endswith(",rejected_calls=0,failed_calls=1")
    assert information["cmdstat_get"].endswith(",rejected_calls=1,failed_calls=0")
    assert information["latency_percentiles_usec_set"].startswith("p50=")
    ask("FLUSHALL")
    assert "db0" not in ask.info("keyspace")


def test_resetstat_sets_the_counters_back(ask: Local) -> None:
    ask("SET k v")
    ask("GET none")
    ask("NOSUCH")
    assert ask("CONFIG RESETSTAT") == b"OK"
    information = ask.info("all")
    assert information["keyspace_misses"] == information["total_error_replies"] == "0"
    assert "cmdstat_set" not in information
    assert "errorstat_ERR" not in information
    assert information["db0"].startswith("keys=1,")


def test_slow_commands_are_logged(ask: Local) -> None:
    ask("CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 3")
    ask("CLIENT SETNAME tests")
    ask("ECHO " + "x" * 200)
    ask("MGET " + " ".join(f"k{i}" for i in range(40)))
    entries = ask("SLOWLOG GET 2")
    assert [entry[3][0] for entry in entries] == [b"MGET", b"ECHO"]
    assert entries[0][0] == entries[1][0] + 1
    assert len(entries[0][3]) == 32
    assert entries[0][3][-1] == b"... (10 more arguments)"
    assert entries[1][3][1] == b"x" * 128 + b"... (72 more bytes)"
    assert entries[0][5] == b"tests"
    assert ask("SLOWLOG LEN") == 3
    ask("CONFIG SET slowlog-log-slower-than -1")
    ask("SLOWLOG RESET")
    assert ask("SLOWLOG LEN") == 0


def test_slow_commands_are_latency_events(ask: Local) -> None:
    assert ask("LATENCY LATEST") == []
    ask("CONFIG SET latency-monitor-threshold 1")
    for _ in range(50):
        ask("SETRANGE big 40000000 x")
        if ask("LATENCY LATEST"):
            break
        ask("DEL big")
    ((name, when, latest, worst),) = ask("LATENCY LATEST")
    assert name == b"command"
    assert 1 <= latest <= worst
    assert ask("LATENCY HISTORY command") == [[when, latest]]
    assert b"command" in ask("LATENCY DOCTOR")
    assert b"#" in ask("LATENCY GRAPH command")
    histogram = ask("LATENCY HISTOGRAM setrange nosuch")
    assert histogram[0] == b"setrange"
    assert ask("LATENCY RESET nosuch") == 0
    assert ask("LATENCY RESET command") == 1
    assert ask("LATENCY LATEST") == []


def test_how_keys_are_stored(ask: Local) -> None:
    ask("MSET int 123 short abc long " + "x" * 45)
    assert [ask(f"OBJECT ENCODING {key}") for key in ("int", "short", "long")] == [b"int", b"embstr", b"raw"]
    ask("APPEND int 4")
    assert ask("OBJECT ENCODING int") == b"raw"
    assert ask("OBJECT REFCOUNT int") == 1
    assert ask("OBJECT IDLETIME int") == 0
    assert ask("MEMORY USAGE none") is None
    assert ask("MEMORY USAGE long") > ask("MEMORY USAGE short") >= 32 + len("short") + len("abc")
    assert ask("MEMORY PURGE") == b"OK"
    assert b"No memory problem" in ask("MEMORY DOCTOR")


def test_memory_that_is_full_is_called_so(ask: Local) -> None:
    for number in range(2000):
        ask.connection.feed(encode([b"SET", b"k%d" % number, b"x" * 100_000]))
    assert b"Full: the cache has reached its maxmemory" in ask("MEMORY DOCTOR")
    information = ask.info("stats", "memory")
    assert int(information["evicted_keys"]) > 0
    assert int(information["used_memory"]) <= 128 * MIB


def test_the_latency_scale() -> None:
    bounds = latency_bounds()
    assert len(bounds) == 128
    assert list(bounds) == sorted(set(bounds))
    assert bounds[0] <= 100e-9
    assert bounds[-2] > 120
    assert math.isinf(bounds[-1])
    assert all(high / low <= 1.2501 for low, high in itertools.pairwise(bounds[:-1]))


def test_the_reader_sees_every_call(ask: Local, arena: Path) -> None:
    before = StatsReader(arena).read()["commands"].get("set", {"calls": 0})["calls"]
    for _ in range(1000):
        ask("SET k v")
    command = StatsReader(arena).read()["commands"]["set"]
    assert command["calls"] - before == 1000
    assert sum(command["latency"]) == command["calls"]
    reached = next(i for i, _ in enumerate(command["latency"]) if sum(command["latency"][: i + 1]) >= 500)
    assert latency_bounds()[reached] < 1e-3


def tips_and_keys(info: Any) -> dict[bytes, tuple[set[bytes], Any]]:
    """Of a COMMAND INFO reply: tips and key specifications by name, subcommands included."""
    found = {}
    todo = [entry for entry in info if entry is not None]
    while todo:
        entry = todo.pop()
        found[entry[0]] = (set(entry[7]), entry[8])
        todo += entry[9]
    return found


def test_command_tips_and_key_specifications_are_those_of_redis(pair2: Pair) -> None:
    ours = tips_and_keys(pair2.ours.value(b"COMMAND"))
    theirs = tips_and_keys(pair2.redis.value(b"COMMAND"))
    assert ours.keys() - theirs.keys() == {b"client|setinfo"}  # from Redis 7.2
    assert {name: ours[name] for name in ours.keys() & theirs} == {name: theirs[name] for name in ours.keys() & theirs}


@pytest.mark.parametrize("command", ["CLIENT", "CONFIG", "COMMAND", "MEMORY", "OBJECT", "SLOWLOG", "LATENCY"])
def test_help_names_every_subcommand(ask: Local, command: str) -> None:
    text = b"\n".join(ask(f"{command} HELP")).decode()
    (information,) = ask(f"COMMAND INFO {command}")
    assert [sub[0] for sub in information[9] if sub[0].decode().partition("|")[2].upper() not in text] == []
