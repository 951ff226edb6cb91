"""[cache.tls]: what check-config says of it, and how certificates come into force under an agent that runs."""

import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from agent.cache.settings import CacheSettings, command_line, in_terms_of_keys
from agent.cache.wanted import CacheRefused
from agent.config import load_config
from agent.config.diff import plan
from agent.config.files import check_files
from agent.errors import ConfigError
from core_cache.options import parse_options
from tests.agent.supervised import Cache, cache, pid_of
from tests.certificates import Authority, Pair
from tests.servers import free_port

__all__ = ["cache"]


def with_tls(cache: Cache, pair: Pair, port: int) -> CacheSettings:
    return replace(cache.settings, tls_port=port, tls_cert=str(pair.cert), tls_key=str(pair.key))


def serial(ca: Authority, port: int) -> object:
    context = ssl.create_default_context(cafile=str(ca.cert))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        certificate = connection.getpeercert()
        assert certificate is not None
        return certificate["serialNumber"]


def written(folder: Path, *lines: str) -> Path:
    path = folder / "agent.toml"
    path.write_text("[cache.tls]\n" + "\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("lines", "key", "sentence"),
    [
        (["port = 6380"], "cache.tls.port", "needs a cert"),
        (["port = 6380", 'cert = "a"'], "cache.tls.port", "needs a key"),
        (["port = 6379", 'cert = "a"', 'key = "b"'], "cache.tls.port", "port 6379 is the cache's without TLS"),
        (["port = 8889", 'cert = "a"', 'key = "b"'], "http.port", "port 8889 is the cache's"),
        (["port = 6380", 'cert = "a"', 'key = "b"', 'auth_clients = "optional"'], "auth_clients", "needs a CA"),
        (['auth_clients = "yes"'], "cache.tls.auth_clients", "required"),
        (["min_version = 1.2"], "cache.tls.min_version", 'write "1.2" or "1.3"'),
        (['certificate = "x"'], "cache.tls.certificate", "cert"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(tmp_path: Path, lines: list[str], key: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(written(tmp_path, *lines), (), {})
    (problem,) = refused.value.problems
    assert key in problem.key
    assert sentence in f"{problem.what}; {problem.mend}"


def test_files_are_checked_with_file_and_line(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("server")
    loaded = load_config(written(tmp_path, "port = 6380", 'cert = "server.crt"', 'key = "server.key"'), (), {})
    assert check_files(loaded) == ([], [])
    pair.key.chmod(0o604)
    problems, _ = check_files(loaded)
    assert [(problem.line, problem.key) for problem in problems] == [(4, "cache.tls.key")]
    assert "chmod 600" in str(problems[0])


def test_an_expired_certificate_is_a_warning(tmp_path: Path) -> None:
    Authority(tmp_path).issue("server", begins=-3, ends=-1)
    loaded = load_config(written(tmp_path, "port = 6380", 'cert = "server.crt"', 'key = "server.key"'), (), {})
    problems, warnings = check_files(loaded)
    assert problems == []
    assert "has expired on" in warnings[0]


def test_a_reload_plan_names_the_keys(tmp_path: Path) -> None:
    old = load_config(written(tmp_path), (), {})
    new = load_config(written(tmp_path, "port = 6380", 'cert = "server.crt"', 'key = "server.key"'), (), {})
    assert [change.key for change in plan(old, new)] == ["cache.tls.port", "cache.tls.cert", "cache.tls.key"]


def test_the_process_is_started_with_what_the_configuration_says(cache: Cache, tmp_path: Path) -> None:
    lines = ["port = 6380", 'cert = "server.crt"', 'key = "server.key"', 'min_version = "1.3"']
    settings = CacheSettings.of(load_config(written(tmp_path, *lines), (), {}).config)
    options = parse_options(command_line(settings, cache.files)[4:])
    assert options.tls == settings.tls
    assert options.tls.cert == str(tmp_path / "server.crt")
    assert in_terms_of_keys("core_cache: Choose another --tls-port") == "Choose another cache.tls.port"
    assert CacheSettings.of(load_config(written(tmp_path, *lines[1:]), (), {}).config).tls == cache.settings.tls


def test_new_certificates_come_into_force_without_a_restart(cache: Cache, tmp_path: Path) -> None:
    ca, port = Authority(tmp_path), free_port()
    settings = with_tls(cache, ca.issue("server"), port)
    supervisor = cache.running(settings)
    pid, before = pid_of(supervisor), serial(ca, port)

    ca.issue("server")
    assert supervisor.apply(replace(settings)).result(10) == "certificates read again"
    assert serial(ca, port) != before
    other = with_tls(cache, ca.issue("other"), port)
    assert supervisor.apply(replace(other, tls_min_version="1.3")).result(10) == "changed while running"
    assert pid_of(supervisor) == pid
    assert cache.command("CONFIG", "GET", "tls-protocols") == [b"tls-protocols", b"TLSv1.3"]
    assert cache.command("CONFIG", "GET", "tls-cert-file")[1] == other.tls_cert.encode()


def test_certificates_that_cannot_be_used_change_nothing(cache: Cache, tmp_path: Path) -> None:
    ca, port = Authority(tmp_path), free_port()
    pair = ca.issue("server")
    settings = with_tls(cache, pair, port)
    supervisor = cache.running(settings)
    pid, before = pid_of(supervisor), serial(ca, port)

    pair.cert.write_text("not one")
    for wanted in (settings, replace(settings, memory=9 * 1024 * 1024), replace(settings, tls_port=free_port())):
        with pytest.raises(CacheRefused, match="holds no certificate"):
            supervisor.apply(wanted).result(10)
    assert supervisor.settings == settings
    assert pid_of(supervisor) == pid
    assert serial(ca, port) == before


def test_tls_can_be_switched_on(cache: Cache, tmp_path: Path) -> None:
    supervisor = cache.running()
    cache.command("SET", "key", "value")
    ca, port = Authority(tmp_path), free_port()
    assert supervisor.apply(with_tls(cache, ca.issue("server"), port)).result(20) == "restarted"
    assert serial(ca, port)
    assert cache.command("GET", "key") == b"value"
