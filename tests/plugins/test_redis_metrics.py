"""redis_metrics asks real servers for INFO; one that does not answer is down and delays nobody."""

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from agent.api import Host
from plugins.redis_metrics.config import RedisMetricsConfig
from plugins.redis_metrics.info import samples
from plugins.redis_metrics.plugin import MAX_WORKERS, RedisMetrics
from tests import servers
from tests.plugins.conftest import Collect, Values
from tests.servers import Server
from tests.waiting import wait_until

PASSWORD = "hush-hush-7"


def plugin_for(host: Host, *urls: str, **options: object) -> RedisMetrics:
    plugin = RedisMetrics(RedisMetricsConfig.model_validate({"urls": urls, **options}))
    plugin.predis_start(host)
    return plugin


def of(values: Values, server: str) -> dict[tuple[str, tuple[str, ...]], object]:
    """The series of one server, with the label `server` and the prefix taken off."""
    prefix = "predis_redis_"
    return {(key[0].removeprefix(prefix), key[1][1:]): value for key, value in values.items() if key[1][0] == server}


@pytest.fixture
def silent_address() -> Iterator[str]:
    """A port where connections are accepted and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def locked_redis(tmp_path: Path, redis_server: Server) -> Iterator[Server]:
    """A second redis-server, which asks for a password."""
    folder = tmp_path / "locked"
    folder.mkdir()
    server = servers.start_redis(folder, password=PASSWORD)
    yield server
    server.stop()


def check_info(found: dict[tuple[str, tuple[str, ...]], object]) -> None:
    """What any server must have told after three reads of which two found their key, and one command that failed."""
    assert found["up", ()] == 1
    assert found["keyspace_hits_total", ()] == 2
    assert found["keyspace_misses_total", ()] == 1
    assert found["keys", ("db0",)] == 2
    assert found["keys_with_expiry", ("db0",)] == 1
    assert found["commands_total", ("get",)] == 3
    # INFO gives whole microseconds, and three reads may take less than one
    assert 0 <= found["command_seconds_total", ("get",)] < 1  # type: ignore[operator]
    assert found["command_failures_total", ("incr", "failed")] == 1
    assert found["memory_used_bytes", ()] > 0  # type: ignore[operator]
    assert found["network_bytes_total", ("in",)] > 100  # type: ignore[operator]
    assert found["connections", ()] >= 1  # type: ignore[operator]
    assert 0 < found["info_duration_seconds", ()] < 5  # type: ignore[operator]


def use(server: Server) -> None:
    with server.client() as client:
        client.command("SET", "a", "text")
        client.command("SET", "b", "1", "EX", "1000")
        for key in ("a", "b", "c"):
            client.command("GET", key)
        with pytest.raises(Exception, match="not an integer"):
            client.command("INCR", "a")


def test_a_real_redis_server(redis_server: Server, host: Host, collect: Collect) -> None:
    use(redis_server)
    plugin = plugin_for(host, f"redis://127.0.0.1:{redis_server.port}")
    found = of(collect(plugin), f"127.0.0.1:{redis_server.port}")
    check_info(found)
    identity = [labels for name, labels in found if name == "server_info"]
    assert len(identity) == 1
    version, mode, role = identity[0]
    assert version[0].isdigit()
    assert (mode, role) == ("standalone", "master")
    plugin.predis_stop()


def test_our_own_cache_over_its_unix_socket(cache_server: Server, host: Host, collect: Collect) -> None:
    use(cache_server)
    plugin = plugin_for(host, f"unix://{cache_server.unix_socket}", password=cache_server.password)
    check_info(of(collect(plugin), str(cache_server.unix_socket)))
    plugin.predis_stop()


def test_a_password_from_the_configuration_or_from_the_url(
    locked_redis: Server, host: Host, collect: Collect, tmp_path: Path
) -> None:
    server = f"127.0.0.1:{locked_redis.port}"
    for options in ({"urls": [f"redis://{server}"], "password": PASSWORD}, {"urls": [f"redis://:{PASSWORD}@{server}"]}):
        plugin = RedisMetrics(RedisMetricsConfig.model_validate(options))
        plugin.predis_start(host)
        assert of(collect(plugin), server)["up", ()] == 1
        plugin.predis_stop()


def test_a_wrong_or_missing_password_is_down_and_never_shown(
    locked_redis: Server, host: Host, collect: Collect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = f"127.0.0.1:{locked_redis.port}"
    plugin = plugin_for(host, f"redis://:wrong-{PASSWORD}@{server}")
    values = collect(plugin)
    assert values == {("predis_redis_up", (server,)): 0}
    assert server in plugin.note
    shown = [plugin.note, caplog.text, repr(plugin._config), str(values), repr(plugin._config.urls)]
    assert PASSWORD not in " ".join(shown)
    plugin.predis_stop()


def test_servers_that_do_not_answer_are_down_and_do_not_delay_the_others(
    redis_server: Server, silent_address: str, host: Host, collect: Collect
) -> None:
    refusing = f"127.0.0.1:{servers.free_port()}"
    here = f"127.0.0.1:{redis_server.port}"
    urls = [f"redis://{address}" for address in (silent_address, refusing, here)]
    plugin = plugin_for(host, *urls, timeout="500ms")
    start = time.monotonic()
    values = collect(plugin)
    assert time.monotonic() - start < 3
    assert values["predis_redis_up", (silent_address,)] == values["predis_redis_up", (refusing,)] == 0
    assert values["predis_redis_up", (here,)] == 1
    assert "3 servers; not answering: " in plugin.note
    assert refusing in plugin.note
    assert here not in plugin.note
    plugin.predis_stop()


def test_a_server_that_came_back_is_up_at_once(tmp_path: Path, host: Host, collect: Collect) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    first = servers.start_redis(folder)
    plugin = plugin_for(host, f"unix://{first.unix_socket}")
    name = str(first.unix_socket)
    assert collect(plugin)["predis_redis_up", (name,)] == 1
    first.stop()
    assert collect(plugin)["predis_redis_up", (name,)] == 0
    second = servers.start_redis(folder)
    try:
        assert collect(plugin)["predis_redis_up", (name,)] == 1
        assert plugin.note == "1 server"
    finally:
        plugin.predis_stop()
        second.stop()


def test_stopping_closes_the_connections(redis_server: Server, host: Host, collect: Collect) -> None:
    with redis_server.client() as client:
        plugin = plugin_for(host, f"redis://127.0.0.1:{redis_server.port}")
        collect(plugin)
        listed = client.command("CLIENT", "LIST")
        assert b"name=predis-agent" in (listed if isinstance(listed, bytes) else str(listed).encode())
        plugin.predis_stop()
        wait_until(lambda: "name=predis-agent" not in str(client.command("CLIENT", "LIST")), what="a closed connection")


def test_without_servers_there_is_nothing_to_do_and_nothing_imported(host: Host, collect: Collect) -> None:
    plugin = plugin_for(host)
    assert collect(plugin) == {}
    assert plugin.note == "no servers in urls"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"http://:{PASSWORD}@host", "entry 1 is no server's URL"),
        (f"redis://:{PASSWORD}@", "entry 1 is no server's URL"),
        (f"redis://:{PASSWORD}@host:port", "entry 1 is no server's URL"),
        (f"redis://:{PASSWORD}/7@host", "entry 1 is no server's URL"),
        (f"redis://[:{PASSWORD}@host", "entry 1 is no server's URL"),
        ("unix://", "entry 1 is no server's URL"),
        ("localhost:6379", "entry 1 is no server's URL"),
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(url: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        RedisMetricsConfig(urls=(SecretStr(url),))
    assert PASSWORD not in str(caught.value)


def test_a_server_named_twice_is_refused_since_its_series_would_be_the_same() -> None:
    with pytest.raises(ValidationError, match="localhost:6379 is there more than once"):
        RedisMetricsConfig(urls=(SecretStr("redis://localhost"), SecretStr(f"redis://:{PASSWORD}@localhost:6379/1")))


def test_fields_that_a_server_does_not_have_or_has_otherwise_are_left_out() -> None:
    info = {"redis_version": "3.0.0", "connected_clients": 3, "maxmemory": "lots", "db0": "?", "db1": {"keys": 2}}
    found = {(sample.name, sample.labels): sample.value for sample in samples("s", info)}
    assert found == {
        ("predis_redis_server_info", ("s", "3.0.0", "", "")): 1,
        ("predis_redis_connections", ("s",)): 3,
        ("predis_redis_keys", ("s", "db1")): 2,
        ("predis_redis_keys_with_expiry", ("s", "db1")): 0,
    }


def test_without_servers_redis_py_is_not_in_memory() -> None:
    program = """
import sys, types
from plugins.redis_metrics.plugin import MAX_WORKERS, RedisMetrics
RedisMetrics(RedisMetrics.Config()).predis_start(types.SimpleNamespace(logger=None))
print("redis" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=servers.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_sample_says_how_many_servers_are_asked_at_once() -> None:
    sample = servers.ROOT / "plugins" / "redis_metrics" / "sample.toml"
    assert f"Up to {MAX_WORKERS} servers are asked at the same time" in sample.read_text()
