"""`predis-agent cache replay` as people use it: the agent's own cache by default, any other server by address."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agent.cli.cache import app
from agent.errors import PredisError
from tests.servers import Server, free_port, start_redis


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "made.csv"
    path.write_text("key,size\na,10\nb,20\na,10\na,10\n")
    return path


@pytest.fixture
def guarded_redis(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = start_redis(folder, password="open sesame")
    yield server
    server.stop()


def replay(*arguments: object) -> Result:
    """Runs the command with defaults for everything that the arguments do not say."""
    return CliRunner().invoke(app, ["replay", *map(str, arguments)], catch_exceptions=True)


def complaint(result: Result) -> str:
    """The sentence that the user reads; anything but a PredisError would be a traceback."""
    assert isinstance(result.exception, PredisError), result.output + repr(result.exception)
    return str(result.exception)


def test_json_has_hit_ratio_throughput_and_quantiles(redis_server: Server, trace: Path) -> None:
    result = replay(trace, "--port", redis_server.port, "--json")
    found = json.loads(result.stdout)
    assert (found["accesses"], found["hits"], found["misses"], found["hit_ratio"]) == (4, 2, 2, 0.5)
    assert found["accesses_per_second"] > 0
    assert set(found["get"]["seconds"]) == {"p50", "p90", "p99", "p99.9", "max"}
    assert found["stored_bytes"] == 30
    assert found["server"].startswith("Redis ")


def test_people_get_a_table_that_fits_their_terminal(redis_server: Server, trace: Path) -> None:
    result = replay(trace, "--unix-socket", redis_server.unix_socket)
    assert "hit ratio   0.5000  (2 hits; 2 misses)" in result.stdout
    assert [line.split()[:2] for line in result.stdout.splitlines()[-2:]] == [["GET", "4"], ["SET", "2"]]
    assert max(map(len, result.stdout.splitlines()[1:])) <= 80


def test_a_terminal_sees_the_progress_and_a_pipe_does_not(redis_server: Server, trace: Path) -> None:
    program = [str(Path(sys.executable).parent / "predis-agent"), "cache", "replay", str(trace)]
    master, slave = os.openpty()
    done = subprocess.run(
        [*program, "--port", str(redis_server.port)], stdout=subprocess.PIPE, stderr=slave, text=True, check=True
    )
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert "4/4" in shown
    assert "hit ratio" in shown
    assert "replaying" not in done.stdout
    quiet = subprocess.run([*program, "--port", str(redis_server.port)], capture_output=True, text=True, check=True)
    assert quiet.stderr == ""


def test_limit_value_size_and_prefix(redis_server: Server, trace: Path) -> None:
    found = json.loads(
        replay(trace, "--port", redis_server.port, "--limit", 2, "--value-size", 7, "--prefix", "x/", "--json").stdout
    )
    assert (found["accesses"], found["stored_bytes"]) == (2, 14)
    with redis_server.client() as client:
        assert client.command("STRLEN", "x/b") == 7


def test_the_agents_cache_and_its_password_are_the_default(guarded_redis: Server, trace: Path, tmp_path: Path) -> None:
    # given a configuration whose cache lies at this socket, with its password in data_dir
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cache.password").write_text("open sesame\n")
    config = tmp_path / "agent.toml"
    config.write_text(f'agent.data_dir = "data"\ncache.unix_socket = "{guarded_redis.unix_socket}"\n')
    # when and then
    assert replay(trace, "--config", config).exit_code == 0
    # but another server does not get to see that password
    assert "it wants a password" in complaint(replay(trace, "--config", config, "--port", guarded_redis.port))


def test_the_password_comes_from_a_file(guarded_redis: Server, trace: Path, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("open sesame")
    wrong.write_text("open barley")
    assert replay(trace, "--port", guarded_redis.port, "--password-file", right).exit_code == 0
    text = complaint(replay(trace, "--port", guarded_redis.port, "--password-file", wrong))
    assert "WRONGPASS" in text
    assert "--password-file" in text
    assert "open barley" not in text
    assert str(tmp_path / "none") in complaint(replay(trace, "--password-file", tmp_path / "none"))


def test_says_where_nobody_answers(trace: Path) -> None:
    port = free_port()
    text = complaint(replay(trace, "--host", "127.0.0.1", "--port", port))
    assert f"cannot connect to 127.0.0.1:{port}: Connection refused" in text
    assert "predis-agent run" in text


def test_says_what_is_wrong_with_the_trace_before_it_connects(tmp_path: Path) -> None:
    assert "no such file" in complaint(replay(tmp_path / "nowhere.npz"))


@pytest.mark.parametrize("size", ["-1", "big", "1.5", "999999999999"])
def test_a_wrong_value_size_is_refused(trace: Path, size: str) -> None:
    assert f"--value-size {size}: expected auto or a number" in complaint(replay(trace, f"--value-size={size}"))


def test_two_addresses_are_one_too_many(trace: Path) -> None:
    assert "one or the other" in complaint(replay(trace, "--unix-socket", "/x", "--port", 1))
