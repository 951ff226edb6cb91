"""Loading: the order of the layers, and every mistake with its line and mend, all of them at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.config import LoadedConfig, find_config, is_loopback, load_config
from agent.errors import EX_CONFIG, ConfigError, Problem


def load(
    folder: Path, text: str, overrides: tuple[str, ...] = (), environ: dict[str, str] | None = None
) -> LoadedConfig:
    file = folder / "agent.toml"
    file.write_text(text)
    return load_config(file, overrides, environ or {})


def problems(
    folder: Path, text: str, overrides: tuple[str, ...] = (), environ: dict[str, str] | None = None
) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, overrides, environ)
    assert caught.value.exit_status == EX_CONFIG
    assert len(str(caught.value).splitlines()) == len(caught.value.problems)
    return caught.value.problems


def only(found: tuple[Problem, ...]) -> Problem:
    assert len(found) == 1, found
    return found[0]


def test_no_file_means_the_defaults() -> None:
    loaded = load_config(None, environ={})
    assert loaded.config.cache.port == 6379
    assert loaded.config.agent.data_dir == Path.cwd() / "var/predis"
    assert loaded.config.unix_socket == Path.cwd() / "var/predis/cache.sock"
    assert loaded.locate("cache.port") == "built-in default"


def test_later_layers_win_and_each_key_knows_its_place(tmp_path: Path) -> None:
    # given every layer sets a key that no later one sets
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/10-a.toml").write_text("[cache]\nport = 1\nmax_clients = 1\nmemory = '10MiB'\npolicy = 'lru'\n")
    (tmp_path / "conf.d/20-b.toml").write_text("[cache]\nport = 2\nmax_clients = 2\nmemory = '20MiB'\n")
    (tmp_path / "conf.d/notes.txt").write_text("not [ toml")
    (tmp_path / "conf.d/.hidden.toml").write_text("not [ toml")
    # when they are loaded together
    loaded = load(
        tmp_path,
        "[cache]\nport = 0\nhost = 'localhost'\npolicy = 'noeviction'\n",
        ("cache.port=4",),
        {"PREDIS__CACHE__PORT": "3", "PREDIS__CACHE__MAX_CLIENTS": "3", "HOME": "/"},
    )
    # then each key has its last layer's value and place
    cache = loaded.config.cache
    assert (cache.host, cache.policy, cache.memory, cache.max_clients, cache.port) == (
        "localhost",
        "lru",
        20 << 20,
        3,
        4,
    )
    assert loaded.locate("cache.host") == f"{tmp_path}/agent.toml:3"
    assert loaded.locate("cache.policy") == f"{tmp_path}/conf.d/10-a.toml:5"
    assert loaded.locate("cache.memory") == f"{tmp_path}/conf.d/20-b.toml:4"
    assert loaded.locate("cache.max_clients") == "environment variable PREDIS__CACHE__MAX_CLIENTS"
    assert loaded.locate("cache.port") == "--set"
    assert loaded.locate("cache.arena_dir") == "built-in default"


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    loaded = load(tmp_path, "[cache]\nunix_socket = 'run/c.sock'\narena_dir = '~/arena'\n", ("agent.data_dir=d",))
    assert loaded.config.cache.unix_socket == tmp_path / "run/c.sock"
    assert loaded.config.agent.data_dir == tmp_path / "d"
    assert loaded.config.cache.arena_dir == Path.home() / "arena"


@pytest.mark.parametrize(
    ("text", "value"),
    [("7000", 7000), ('"7s"', 7.0), ("7s", 7.0), ("1h30m", 5400.0), ("7", 7.0)],
)
def test_overrides_are_toml_values_or_else_text(tmp_path: Path, text: str, value: float) -> None:
    key = "cache.port" if value == 7000 else "agent.interval"
    for loaded in (
        load(tmp_path, "", (f"{key}={text}",)),
        load(tmp_path, "", (), {f"PREDIS__{key.replace('.', '__').upper()}": text}),
    ):
        section, _, name = key.partition(".")
        assert getattr(getattr(loaded.config, section), name) == value


def test_an_override_with_lines_of_its_own_sets_nothing_else(tmp_path: Path) -> None:
    problem = only(problems(tmp_path, "", ("cache.host=1\nport = 7000",)))
    assert (problem.file, problem.key) == ("--set", "cache.host")


@pytest.mark.parametrize(
    ("text", "line", "key", "what", "mend"),
    [
        ("[cache]\nport = 70000", 2, "cache.port", "70000", "from 0 to 65535"),
        ("[cache]\nport = -1", 2, "cache.port", "-1", "from 0 to 65535"),
        ('[cache]\nport = "6379"', 2, "cache.port", '"6379" is not a whole number', "without quotes"),
        ("[cache]\nport = 6379.5", 2, "cache.port", "6379.5 is not a whole number", "6379"),
        ("[cache]\nauth = 1", 2, "cache.auth", "1 is not true or false", "true or false"),
        ("[cache]\nhost = 1", 2, "cache.host", "1 is not text", "in quotes"),
        ('[cache]\nhost = "127.0.0.1:80"', 2, "cache.host", "has a port", 'host = "127.0.0.1" and port = 80'),
        ('[cache]\nhost = "http://x/"', 2, "cache.host", "URL", "host alone"),
        ('[cache]\nhost = "256.1.1.1"', 2, "cache.host", "not an IPv4 address", "0 to 255"),
        ('[cache]\nhost = ""', 2, "cache.host", "empty", "127.0.0.1"),
        ('[cache]\nmemory = "1 GiBi"', 2, "cache.memory", "not a unit", "16GiB"),
        ('[cache]\nmemory = "1MiB"', 2, "cache.memory", "1MiB is too little", "8MiB"),
        ('[cache]\npolicy = "lur"', 2, "cache.policy", '"lur" is not a choice', 'mean "lru"?'),
        ('[cache]\nhost = "0.0.0.0"\nauth = false', 3, "cache.auth", "0.0.0.0", "auth = true"),
        ('[cache]\nauth = false\nhost = "::"', 2, "cache.auth", "::", "127.0.0.1"),
        ('[agent]\ninterval = "10"', 2, "agent.interval", "no unit", '"10s"'),
        ('[agent]\ninterval = "1ms"', 2, "agent.interval", "too little", "100ms"),
        ("[agent]\ninterval = nan", 2, "agent.interval", "", "100 years"),
        ("[agent]\ninterval = 1979-05-27", 2, "agent.interval", "not a duration", "30s"),
        ("[agent]\n\ndata_dri = '.'", 3, "agent.data_dri", "unknown key", '"data_dir"?'),
        ("[agent]\ndata_dir = ''", 2, "agent.data_dir", "empty", "name a file or folder"),
        ("[agent]\nport = 1", 2, "agent.port", "unknown key", "[cache] or [http]"),
        ("[cahce]\nport = 1", 1, "cahce", "unknown table", '"cache"?'),
        ("[cache]\nzzz = 1", 2, "cache.zzz", "unknown key", "known here: host, port"),
        (f"[cache]\nunix_socket = '/{'x' * 107}'", 2, "cache.unix_socket", "has 108 bytes", "shorter"),
        (f"[agent]\ndata_dir = '/{'x' * 100}'", 2, "agent.data_dir", "has 112 bytes", "shorter"),
        ("cache = 1", 1, "cache", "not a table", "[cache]"),
        ("plugins = 1", 1, "plugins", "not a table", "[plugins.NAME]"),
        ("[plugins]\nx = 1", 2, "plugins.x", "not a table", "[plugins.NAME]"),
        ("[http]\nport = 6379", 2, "http.port", "port 6379 is the cache's", "different ports"),
        ("[cache]\nmax_clients = 0", 2, "cache.max_clients", "0", "from 1 to"),
        ("[cache]\nport = " + "9" * 100, 2, "cache.port", "a huge number", "65535"),
    ],
)
def test_a_wrong_value_is_told_with_its_line_and_mend(
    tmp_path: Path, text: str, line: int, key: str, what: str, mend: str
) -> None:
    problem = only(problems(tmp_path, text))
    assert (problem.file, problem.line, problem.key) == (str(tmp_path / "agent.toml"), line, key)
    assert what in problem.what
    assert mend in problem.mend
    assert str(problem).startswith(f"{tmp_path}/agent.toml:{line}: {key}: ")


@pytest.mark.parametrize(
    ("text", "line", "key", "what", "mend"),
    [
        ("[cache]\nport = ", 2, "cache.port", "value is missing", "port = VALUE"),
        ("[cache]\n\nmemory = 1GiB", 3, "cache.memory", "needs quotes", 'memory = "1GiB"'),
        ("[cache]\nhost = localhost # x", 2, "cache.host", "needs quotes", 'host = "localhost"'),
        ("[cache]\nauth = True", 2, "cache.auth", "not TOML", "auth = true"),
        ("[cache]\nauth = no", 2, "cache.auth", "not TOML", "auth = false"),
        ("[cache]\nhost = None", 2, "cache.host", "not TOML", "remove the line"),
        ('[cache]\nhost = "a\nport = 1', 2, "cache.host", "closing quote", 'host = "a"'),
        ("[cache]\nport = 1\nport = 2", 3, "cache.port", "already set in line 2", "one of the two"),
        ("[cache]\nport = 1\n[cache]\n", 3, "cache", "already set in line 1", "one of the two"),
        ("[cache\nport = 1", 1, "", 'closing "]"', "[name]"),
        ("[cache]\nport: 1", 2, "cache", "= between", "port = 1"),
        ('[agent]\ndata_dir = "C:\\data"', 2, "agent.data_dir", "", "single quotes"),
        ("= 1", 1, "", "not valid TOML", ""),
        ("x = " + "[" * 10_000, None, "", "not valid TOML", ""),
        ("x = 1\ny = " + "[" * 300 + "]" * 300, 2, "", "nested too deeply", "50 levels"),
        ("x = " + "9" * 5000, None, "", "not valid TOML", ""),
    ],
)
def test_a_syntax_error_is_told_with_its_line_and_mend(
    tmp_path: Path, text: str, line: int | None, key: str, what: str, mend: str
) -> None:
    problem = only(problems(tmp_path, text))
    assert (problem.file, problem.line, problem.key) == (str(tmp_path / "agent.toml"), line, key)
    assert what in problem.what
    assert mend in problem.mend


def test_all_mistakes_of_all_layers_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/broken.toml").write_text("[http]\nport 1")
    (tmp_path / "conf.d/wrong.toml").write_text("[http]\nport = 70000\nhots = ''")
    found = problems(
        tmp_path,
        "[cache]\npolicy = 'x'\n[agent]\ninterval = 'x'\n[cache.more]\na = 1",
        ("cache.port=x", "nonsense", "http=1"),
        {"PREDIS__CACHE__AUTH": "perhaps", "PREDIS__": "1", "PREDIS__CACHE": "1"},
    )
    assert {(Path(problem.file or "").name, problem.line, problem.key) for problem in found} == {
        ("agent.toml", 2, "cache.policy"),
        ("agent.toml", 4, "agent.interval"),
        ("agent.toml", 5, "cache.more"),
        ("broken.toml", 2, "http"),
        ("wrong.toml", 2, "http.port"),
        ("wrong.toml", 3, "http.hots"),
        ("environment variable PREDIS__CACHE__AUTH", None, "cache.auth"),
        ("environment variable PREDIS__", None, ""),
        ("environment variable PREDIS__CACHE", None, "cache"),
        ("--set", None, "cache.port"),
        ("--set", None, ""),
        ("--set", None, "http"),
    }


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: there is no such file"):
        load_config(tmp_path / "absent.toml", (), {})
    with pytest.raises(ConfigError, match="is not a file"):
        load_config(tmp_path, (), {})
    (tmp_path / "latin.toml").write_bytes(b"[cache]\nhost = '\xe9'\n")
    with pytest.raises(ConfigError, match=r"latin\.toml:2: is not UTF-8 text; save"):
        load_config(tmp_path / "latin.toml", (), {})
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(ConfigError, match="is not a file"):
        load_config(tmp_path / "pipe.toml", (), {})


def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("")
    (tmp_path / "agent.toml").chmod(0)
    (tmp_path / "conf.d").mkdir(mode=0)
    root = os.geteuid() == 0  # who may read every file
    try:
        if root:
            os.seteuid(65534)
        with pytest.raises(ConfigError) as caught:
            load_config(tmp_path / "agent.toml", (), {})
    finally:
        if root:
            os.seteuid(0)
    refused = "cannot be read: Permission denied"
    assert [(problem.file, problem.what) for problem in caught.value.problems] == [
        (str(tmp_path / "conf.d"), refused),
        (str(tmp_path / "agent.toml"), refused),
    ]


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_bytes("\ufeff[cache]\nport = 1\n".encode())
    assert load_config(tmp_path / "agent.toml", (), {}).config.cache.port == 1


def test_auth_may_be_off_on_loopback_only(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST", "localhost."):
        assert load(tmp_path, f"[cache]\nhost = '{host}'\nauth = false").config.cache.auth is False
    for host in ("0.0.0.0", "::", "10.0.0.1", "ip6-localhost", "example.org", "127.0.0.1.example.org"):
        assert only(problems(tmp_path, f"[cache]\nhost = '{host}'\nauth = false")).key == "cache.auth"
        assert not is_loopback(host)


def test_the_first_config_that_exists_is_found(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    assert find_config(None, (first, second)) is None
    second.touch()
    assert find_config(None, (first, second)) == second
    first.touch()
    assert find_config(None, (first, second)) == first
    assert find_config(tmp_path / "x", (first,)) == tmp_path / "x"


def test_reload_reads_the_files_again_with_the_same_overrides(tmp_path: Path) -> None:
    loaded = load(tmp_path, "[cache]\nport = 1\nmax_clients = 1", ("cache.port=2",))
    (tmp_path / "agent.toml").write_text("[cache]\nport = 3\nmax_clients = 3")
    again = loaded.reload()
    assert (again.config.cache.port, again.config.cache.max_clients) == (2, 3)


def test_an_override_that_is_nested_too_deeply_is_told(tmp_path: Path) -> None:
    problem = only(problems(tmp_path, "", ("cache.port=" + "[" * 300 + "]" * 300,)))
    assert "nested too deeply" in problem.what


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(st.text(max_size=60), st.text("[]{}=.,#'\" \nabcache.port0123456789-_\\", max_size=60)),
    override=st.text("cachegnt.port=\"'[]{}0123456789,", max_size=20),
)
@example(text='[cache]\nport = "${env:X"', override="cache.host=${env:HOME}")
@example(text="[cache]\nmemory = 1979-05-27T07:32:00Z\n[plugins.x]\na = 07:32:00", override="")
@example(text="[[cache]]\nport = 1\n[[plugins]]", override="")
def test_any_text_is_a_configuration_or_a_list_of_problems(tmp_path: Path, text: str, override: str) -> None:
    (tmp_path / "agent.toml").write_text(text, encoding="utf-8", errors="replace")
    try:
        loaded = load_config(tmp_path / "agent.toml", (override,), {})
    except ConfigError as error:
        told = [problem.what for problem in error.problems]
    else:
        told = ["nothing"] if loaded.config.cache.port in range(65536) else []
    assert told
    assert all(told)
