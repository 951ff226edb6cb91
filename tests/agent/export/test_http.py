"""One request sent once: what becomes of it, whatever the other side does, and nothing secret in what is said."""

import email.utils
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from agent.api import Answer, HttpSender, Verdict, answer_of
from agent.errors import PredisError
from agent.export.http import seconds_of
from tests.certificates import Authority

KEY = "0123456789abcdef-key"
OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def server(*behaviours: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that treats one connection after the other as told; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for behave in behaviours:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    behave(connection if context is None else context.wrap_socket(connection, server_side=True))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)
        assert not thread.is_alive()


def receive(connection: socket.socket) -> bytes:
    """A whole request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(x.split(b":")[1]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length"))
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        receive(connection)
        connection.sendall(answer)

    return behave


def silent(connection: socket.socket) -> None:
    receive(connection)
    connection.recv(1)


def post(port: int, body: bytes = b"points", timeout: float = 5.0, scheme: str = "http", **options: object) -> Answer:
    sender = HttpSender(timeout, **options)  # type: ignore[arg-type]
    with closing(sender):
        return sender.post(f"{scheme}://127.0.0.1:{port}/v1?q=1", body, {"Api-Key": KEY})


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.accepted),
        (202, Verdict.accepted),
        (301, Verdict.refused),
        (400, Verdict.refused),
        (403, Verdict.refused),
        (408, Verdict.retry),
        (413, Verdict.too_large),
        (429, Verdict.retry),
        (500, Verdict.retry),
        (503, Verdict.retry),
        (504, Verdict.retry),
    ],
)
def test_what_a_status_means(status: int, verdict: Verdict) -> None:
    assert answer_of(status, {}, b"").verdict is verdict
    assert answer_of(status, {}, b"", verdicts={status: Verdict.refused}).verdict is Verdict.refused


def test_retry_after_is_understood_in_seconds_and_as_a_date() -> None:
    assert answer_of(429, {"retry-AFTER": "7"}, b"").retry_after == 7.0
    in_a_minute = seconds_of(email.utils.formatdate(time.time() + 60, usegmt=True))
    assert in_a_minute is not None
    assert 57 < in_a_minute <= 60
    assert seconds_of("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0
    assert [seconds_of(text) for text in (None, "", "soon", "-3", "nan", "1e999")] == [None] * 6


def test_one_connection_serves_many_requests() -> None:
    seen: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        for _ in range(3):
            seen.append(receive(connection))
            connection.sendall(OK)

    with server(behave) as port, closing(HttpSender(5.0)) as sender:
        for number in range(3):
            answer = sender.post(f"http://127.0.0.1:{port}/v1", b"body %d" % number, {"Api-Key": KEY})
            assert answer == Answer(Verdict.accepted)
    assert [request.rpartition(b"\r\n\r\n")[2] for request in seen] == [b"body 0", b"body 1", b"body 2"]
    assert b"Transfer-Encoding" not in seen[0]


def test_what_never_arrived_is_not_counted_as_perhaps_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    refused = post(port)
    assert (refused.verdict, refused.reason, refused.maybe_taken) == (Verdict.retry, "connect", False)
    with closing(HttpSender(5.0)) as sender:
        unknown = sender.post("http://no-such-host.invalid/", b"", {})
    assert (unknown.verdict, unknown.reason, unknown.maybe_taken) == (Verdict.retry, "dns", False)


def test_an_answer_that_is_lost_leaves_it_open_whether_the_points_were_taken() -> None:
    with server(answering(b"")) as port:
        lost = post(port)
    assert (lost.verdict, lost.reason, lost.maybe_taken) == (Verdict.retry, "connection_lost", True)
    with server(silent) as port:
        late = post(port, timeout=0.2)
    assert (late.verdict, late.reason, late.maybe_taken) == (Verdict.retry, "timeout", True)


def test_a_body_that_only_went_out_in_part_cannot_have_been_taken() -> None:
    def reads_little(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.recv(100)
        time.sleep(0.5)

    with server(reads_little) as port:
        began = time.monotonic()
        answer = post(port, bytes(64 << 20), timeout=0.3)
    assert (answer.verdict, answer.maybe_taken) == (Verdict.retry, False)
    assert time.monotonic() - began < 3


def test_an_answer_that_drips_ends_in_time_and_its_status_counts() -> None:
    def drips(connection: socket.socket) -> None:
        receive(connection)
        connection.sendall(b"HTTP/1.1 400 Bad\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(200):
            connection.sendall(b"x")
            time.sleep(0.02)

    with server(drips) as port:
        began = time.monotonic()
        answer = post(port, timeout=0.3)
        assert time.monotonic() - began < 2
    assert answer.verdict is Verdict.refused


def test_a_head_that_drips_ends_in_time(tmp_path: Path) -> None:
    def drips(connection: socket.socket) -> None:
        receive(connection)
        for byte in OK * 3:
            connection.sendall(bytes((byte,)))
            time.sleep(0.02)

    authority = Authority(tmp_path)
    pair = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    for scheme, wrapped in (("http", None), ("https", context)):
        with server(drips, context=wrapped) as port:
            began = time.monotonic()
            answer = post(port, timeout=0.3, scheme=scheme, ca_file=authority.cert)
            assert time.monotonic() - began < 1
        assert (answer.verdict, answer.reason, answer.maybe_taken) == (Verdict.retry, "timeout", True)


def test_a_redirect_is_not_followed_with_the_key() -> None:
    elsewhere = b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with server(answering(elsewhere)) as port:
        assert post(port).reason == "http_307"


def test_no_secret_is_said_though_the_vendor_repeats_it() -> None:
    body = f"key {KEY} and token-77 of https://user:pw@host/ are wrong".encode()
    answer = b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with server(answering(answer)) as port:
        said = post(port, secrets=["token-77"]).detail
    assert "are wrong" in said
    for secret in (KEY, "token-77", "pw"):
        assert secret not in said


def test_tls_is_verified_by_the_systems_authorities_or_the_ca_file(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    with server(answering(OK), answering(OK), context=context) as port:
        stranger = post(port, scheme="https")
        assert (stranger.verdict, stranger.reason, stranger.maybe_taken) == (Verdict.retry, "tls", False)
        assert post(port, scheme="https", ca_file=authority.cert) == Answer(Verdict.accepted)


def test_a_ca_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(PredisError, match=rf"ca_file .*{name} cannot be used: .*; name a file"):
            HttpSender(1.0, tmp_path / name)
