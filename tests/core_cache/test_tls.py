"""TLS with real clients: redis-py and redis-cli; certificates of clients; reload; half and wrong handshakes."""

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from core_cache.resp_client import encode_command
from tests import servers
from tests.certificates import Authority, Pair
from tests.core_cache.test_server import start_and_fail
from tests.waiting import wait_until


def encode(*arguments: str) -> bytes:
    return encode_command(arguments)


@dataclass
class TlsCache:
    """A cache that listens with TLS and without."""

    server: servers.Server
    tls_port: int
    ca: Authority
    pair: Pair

    def client(self, **given: Any) -> redis.Redis:
        """redis-py over TLS, which checks the server's certificate."""
        once = Retry(NoBackoff(), 0)
        settings = {"ssl_ca_certs": str(self.ca.cert), "password": self.server.password, "retry": once} | given
        return redis.Redis("127.0.0.1", self.tls_port, ssl=True, socket_timeout=20, **settings)

    def connect(self, **given: Any) -> ssl.SSLSocket:
        """A bare TLS connection."""
        context = ssl.create_default_context(cafile=str(self.ca.cert))
        for name, value in given.items():
            setattr(context, name, value)
        plain = socket.create_connection(("127.0.0.1", self.tls_port), timeout=20)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")

    def information(self) -> dict[str, str]:
        with self.server.client() as client:
            text = client.command("INFO", "server")
        assert isinstance(text, bytes)
        return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


def start(folder: Path, *options: str) -> TlsCache:
    ca = Authority(folder)
    pair, port = ca.issue("server"), servers.free_port()
    return TlsCache(servers.start_cache(folder, *pair.options(port), *options), port, ca, pair)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[TlsCache]:
    """Clients' certificates are not asked for."""
    cache = start(tmp_path)
    yield cache
    cache.server.stop()


@pytest.fixture
def mutual(tmp_path: Path) -> Iterator[TlsCache]:
    """Clients need a certificate of the same CA."""
    cache = start(tmp_path, f"--tls-ca={tmp_path / 'ca.crt'}", "--tls-auth-clients=required")
    yield cache
    cache.server.stop()


def test_redis_py_over_tls(cache: TlsCache) -> None:
    client = cache.client()
    assert client.set("key", b"\0value\r\n")
    assert client.get("key") == b"\0value\r\n"
    with client.pipeline(transaction=False) as pipeline:
        for i in range(3000):
            pipeline.set(f"key:{i}", "x" * i)
            pipeline.get(f"key:{i}")
        answers = pipeline.execute()
    assert answers[1::2] == [b"x" * i for i in range(3000)]
    large = os.urandom(20_000_000)
    client.set("large", large)
    assert client.get("large") == large
    # and the same data over the other port
    with cache.server.client() as plain:
        assert plain.command("GET", "key") == b"\0value\r\n"


def test_many_clients_at_once(cache: TlsCache) -> None:
    def work(number: int) -> int:
        client = cache.client()
        for i in range(200):
            client.set(f"{number}:{i}", f"{number}.{i}")
            assert client.get(f"{number}:{i}") == f"{number}.{i}".encode()
        client.close()
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(24))) == list(range(24))
    assert int(cache.information()["tls_connections"]) == 24


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not installed; `make peers` installs it")
def test_redis_cli_over_tls(cache: TlsCache) -> None:
    command = ["redis-cli", "-p", str(cache.tls_port), "--tls", "--cacert", str(cache.ca.cert)]
    environment = {**os.environ, "REDISCLI_AUTH": cache.server.password or ""}
    done = subprocess.run([*command, "SET", "key", "value"], env=environment, capture_output=True, timeout=20)
    assert done.stdout == b"OK\n"
    done = subprocess.run([*command, "GET", "key"], env=environment, capture_output=True, timeout=20)
    assert done.stdout == b"value\n"


def test_a_client_that_trusts_another_ca_goes_away(cache: TlsCache, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        cache.client(ssl_ca_certs=str(other.cert)).ping()
    wait_until(lambda: int(cache.information()["tls_handshake_failures"]) >= 1, what="the failed handshake's count")
    assert cache.client().ping()


def test_a_client_without_tls_on_the_tls_port_is_cut_off(cache: TlsCache) -> None:
    with socket.create_connection(("127.0.0.1", cache.tls_port), timeout=20) as plain:
        plain.sendall(encode("PING"))
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while data := plain.recv(4096):
                received += data
    assert b"PONG" not in received
    assert cache.client().ping()


def test_a_tls_client_on_the_plain_port_is_answered_with_an_error_or_cut_off(cache: TlsCache) -> None:
    with pytest.raises(redis.ConnectionError):
        redis.Redis(
            "127.0.0.1", cache.server.port, ssl=True, ssl_cert_reqs=None, socket_timeout=2, retry=Retry(NoBackoff(), 0)
        ).ping()
    assert cache.client().ping()


def test_half_handshakes_hurt_nobody_and_end(cache: TlsCache) -> None:
    began = time.monotonic()
    idle = [socket.create_connection(("127.0.0.1", cache.tls_port), timeout=20) for _ in range(200)]
    for i, connection in enumerate(idle):
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00"[: i % 8])  # the beginning of a greeting
    slowest = 0.0
    client = cache.client()
    for _ in range(100):
        before = time.monotonic()
        assert client.ping()
        slowest = max(slowest, time.monotonic() - before)
    assert slowest < 0.5
    assert cache.client().ping()  # a new connection, too
    for connection in idle:
        connection.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        connection.close()
    assert 8 < time.monotonic() - began < 15
    wait_until(lambda: int(cache.information()["tls_handshake_failures"]) == 200, what="all of them to be counted")


def test_clients_need_a_certificate_when_it_is_required(mutual: TlsCache, tmp_path: Path) -> None:
    with pytest.raises(redis.ConnectionError):
        mutual.client().ping()
    stranger = Authority(tmp_path, "other").issue("stranger")
    with pytest.raises(redis.ConnectionError):
        mutual.client(ssl_certfile=str(stranger.cert), ssl_keyfile=str(stranger.key)).ping()
    known = mutual.ca.issue("client")
    assert mutual.client(ssl_certfile=str(known.cert), ssl_keyfile=str(known.key)).ping()


def test_a_certificate_that_is_optional_is_checked_when_it_is_there(tmp_path: Path) -> None:
    cache = start(tmp_path, f"--tls-ca={tmp_path / 'ca.crt'}", "--tls-auth-clients=optional")
    try:
        assert cache.client().ping()
        stranger = Authority(tmp_path, "other").issue("stranger")
        with pytest.raises(redis.ConnectionError):
            cache.client(ssl_certfile=str(stranger.cert), ssl_keyfile=str(stranger.key)).ping()
    finally:
        cache.server.stop()


def test_the_oldest_version_that_is_spoken(tmp_path: Path) -> None:
    cache = start(tmp_path, "--tls-min-version=1.3")
    try:
        with cache.connect() as connection:
            assert connection.version() == "TLSv1.3"
        with pytest.raises(ssl.SSLError):
            cache.connect(maximum_version=ssl.TLSVersion.TLSv1_2)
    finally:
        cache.server.stop()


def test_ciphers(tmp_path: Path) -> None:
    cache = start(tmp_path, "--tls-ciphers=ECDHE-ECDSA-AES128-GCM-SHA256")
    try:
        with cache.connect(maximum_version=ssl.TLSVersion.TLSv1_2) as connection:
            cipher = connection.cipher()
            assert cipher is not None
            assert cipher[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"
    finally:
        cache.server.stop()


def test_tls_alone(tmp_path: Path) -> None:
    ca, port = Authority(tmp_path), servers.free_port()
    server = servers.start_cache(tmp_path, *ca.issue("server").options(port), port=0)
    try:
        assert TlsCache(server, port, ca, ca.issue("x")).client().ping()
    finally:
        server.stop()


# --- settings


def test_config_tells_what_is_in_force(mutual: TlsCache) -> None:
    with mutual.server.client() as client:
        answer = client.command("CONFIG", "GET", "tls-*")
    assert isinstance(answer, list)
    values = dict(zip(answer[::2], answer[1::2], strict=True))
    assert values == {
        b"tls-port": str(mutual.tls_port).encode(),
        b"tls-cert-file": str(mutual.pair.cert).encode(),
        b"tls-key-file": str(mutual.pair.key).encode(),
        b"tls-ca-cert-file": str(mutual.ca.cert).encode(),
        b"tls-auth-clients": b"yes",
        b"tls-protocols": b"TLSv1.2 TLSv1.3",
        b"tls-ciphers": b"",
    }
    information = mutual.information()
    assert information["tls_port"] == str(mutual.tls_port)
    assert abs(int(information["tls_certificate_expires"]) - time.time() - 30 * 86400) < 3600


def serial(cache: TlsCache) -> object:
    with cache.connect() as connection:
        certificate = connection.getpeercert()
        assert certificate is not None
        return certificate["serialNumber"]


@pytest.mark.parametrize("how", ["signal", "config"])
def test_a_new_certificate_is_taken_without_a_restart(cache: TlsCache, how: str) -> None:
    client, before = cache.client(), serial(cache)
    assert client.ping()
    cache.ca.issue("server")  # in place of the one before
    if how == "signal":
        os.kill(cache.server.pid, signal.SIGHUP)
    else:
        client.config_set("tls-cert-file", str(cache.pair.cert))
    wait_until(lambda: serial(cache) != before, what="the new certificate")
    assert client.ping()  # the connection from before
    assert cache.client().ping()


def test_a_broken_new_certificate_keeps_the_old_one(cache: TlsCache) -> None:
    before = serial(cache)
    foreign = cache.ca.issue("another")
    with pytest.raises(redis.ResponseError, match=r"does not belong to the certificate"):
        cache.client().config_set("tls-key-file", str(foreign.key))
    assert cache.client().config_get("tls-key-file") == {"tls-key-file": str(cache.pair.key)}
    cache.pair.cert.write_text("no certificate")
    os.kill(cache.server.pid, signal.SIGHUP)
    wait_until(lambda: "holds no certificate in PEM form" in cache.server.log_text(), what="what it says of it")
    assert serial(cache) == before
    # and both at once, which fit together, are taken
    cache.client().config_set(
        "tls-cert-file", str(foreign.cert), "tls-key-file", str(foreign.key), "tls-protocols", "TLSv1.3"
    )
    wait_until(lambda: serial(cache) != before, what="the new certificate")
    with pytest.raises(ssl.SSLError):
        cache.connect(maximum_version=ssl.TLSVersion.TLSv1_2)


def test_another_settings_mistake_takes_the_certificate_back(cache: TlsCache) -> None:
    before, other = serial(cache), cache.ca.issue("another")
    with pytest.raises(redis.ResponseError):
        cache.client().config_set("tls-cert-file", str(other.cert), "tls-key-file", str(other.key), "timeout", "x")
    assert cache.client().config_get("tls-cert-file") == {"tls-cert-file": str(cache.pair.cert)}
    assert serial(cache) == before


def test_files_that_cannot_be_used_are_told_before_the_start(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    good, other = ca.issue("good"), ca.issue("other")
    open_key = ca.issue("open", mode=0o644)
    locked = ca.issue("locked", passphrase=b"secret")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    garbage.chmod(0o600)
    folder = tmp_path / "folder"
    folder.mkdir()
    for cert, key, more, sentence in [
        (tmp_path / "none.crt", good.key, (), "certificate .*none.crt does not exist"),
        (good.cert, tmp_path / "none.key", (), "key .*none.key does not exist"),
        (folder, good.key, (), "certificate .*folder cannot be read"),
        (good.cert, other.key, (), "key .*other.key does not belong to the certificate .*good.crt"),
        (open_key.cert, open_key.key, (), r"key .*open.key is open to every user .*mode 644.*chmod 600"),
        (locked.cert, locked.key, (), "key .*locked.key is encrypted"),
        (garbage, good.key, (), "certificate .*garbage.pem is damaged"),
        (good.cert, garbage, (), "damaged or not in PEM form"),
        (good.cert, good.key, ("--tls-auth-clients=required",), "required, but no CA is named"),
        (good.cert, good.key, (f"--tls-ca={good.key}",), "CA certificate .*good.key holds no certificate"),
        (good.cert, good.key, ("--tls-ciphers=NONSENSE",), "[Nn]one of the TLS ciphers 'NONSENSE' is known"),
    ]:
        port = servers.free_port()
        options = ["--port=0", f"--data-dir={tmp_path / 'data'}", f"--arena-dir={tmp_path}", "--memory=8MiB"]
        status, said = start_and_fail(*options, *Pair(cert, key).options(port), *more)
        assert status == 1, said
        assert re.search(sentence, said), said
        assert "Traceback" not in said
        assert len(said.strip().splitlines()) <= 2, said


def test_a_certificate_that_has_expired_is_a_warning(tmp_path: Path) -> None:
    ca, port = Authority(tmp_path), servers.free_port()
    server = servers.start_cache(tmp_path, *ca.issue("old", begins=-10, ends=-2).options(port))
    try:
        assert "has expired on" in server.log_text()
        assert "clients will refuse it" in server.log_text()
    finally:
        server.stop()


def test_the_options_go_together(tmp_path: Path) -> None:
    for options, sentence in [
        (["--tls-port=1234"], "--tls-port needs --tls-cert"),
        (["--tls-port=1234", "--tls-cert=a"], "--tls-port needs --tls-key"),
        (["--tls-port=1234", "--tls-cert=a", "--tls-key=b", "--port=1234"], "are both 1234"),
        (["--tls-port=1234", "--tls-cert=a", "--tls-key=b", "--port=0", "--no-auth", "--host=0.0.0.0"], "--no-auth"),
    ]:
        status, said = start_and_fail(*options)
        assert status == 78
        assert sentence in said


# --- stopping


def test_what_has_arrived_over_tls_is_answered_at_the_end(cache: TlsCache) -> None:
    connection = cache.connect()
    reading = cache.connect()
    connection.sendall(encode("AUTH", cache.server.password or ""))
    assert connection.recv(100) == b"+OK\r\n"
    os.kill(cache.server.pid, signal.SIGSTOP)
    count = 20_000
    connection.sendall(b"".join(encode("SET", f"key:{i}", str(i)) for i in range(count)))
    os.kill(cache.server.pid, signal.SIGTERM)
    os.kill(cache.server.pid, signal.SIGCONT)
    began, received = time.monotonic(), b""
    while data := connection.recv(1 << 20):
        received += data
    assert received == b"+OK\r\n" * count
    assert reading.recv(1) == b""  # it was told, too
    assert cache.server.process.wait(20) == 0
    assert time.monotonic() - began < 2.5  # nobody's farewell is waited for
    connection.close()
    reading.close()


def test_the_key_is_never_shown(cache: TlsCache) -> None:
    secret = cache.pair.key.read_text().splitlines()[1]
    assert stat.S_IMODE(cache.pair.key.stat().st_mode) == 0o600
    assert secret not in cache.server.log_text()
    assert secret not in str(cache.client().config_get("*"))
