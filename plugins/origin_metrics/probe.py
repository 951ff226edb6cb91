"""One probe of an origin: connect as a client does, ask, and wait for the head of the answer."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import h11

from plugins.origin_metrics.config import PORTS, Origin

REASONS = ("refused", "timeout", "name", "tls", "status", "other")
_PIECE = 65536


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of one: `seconds` from the first step to the head of the answer, or to the failure. `reason`: one of
    REASONS, empty where the origin is well; `why` says it to people, without the URL's path, which may hold a token."""

    seconds: float
    reason: str = ""
    why: str = ""


def probe(origin: Origin, context: ssl.SSLContext | None = None) -> Probe:
    """Takes at most `origin.timeout` seconds, besides what the system takes to look up a name. context: for https."""
    began = time.monotonic()
    try:
        reason, why = _ask(urlsplit(origin.url.get_secret_value()), began + origin.timeout, context)
    except TimeoutError:
        reason, why = "timeout", f"no answer within {origin.timeout:g} s"
    except ConnectionRefusedError:
        reason, why = "refused", "the connection was refused"
    except socket.gaierror as error:
        reason, why = "name", f"its name cannot be resolved: {error.strerror}"
    except ssl.SSLError as error:
        reason, why = "tls", f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}"
    except (OSError, h11.ProtocolError) as error:
        reason, why = "other", f"{error}" or type(error).__name__
    return Probe(time.monotonic() - began, reason, why)


def _ask(url: SplitResult, deadline: float, context: ssl.SSLContext | None) -> tuple[str, str]:
    assert url.hostname is not None
    address = (url.hostname, url.port or PORTS[url.scheme])
    with socket.create_connection(address, _left(deadline)) as connection:
        if url.scheme == "tcp":
            return "", ""
        if url.scheme == "http":
            return _get(connection, url, deadline)
        connection.settimeout(_left(deadline))
        assert context is not None
        with context.wrap_socket(connection, server_hostname=url.hostname) as secured:
            return _get(secured, url, deadline)


def _get(connection: socket.socket, url: SplitResult, deadline: float) -> tuple[str, str]:
    """The reason and why of an answer that is none of success; redirects are answers like others."""
    protocol = h11.Connection(h11.CLIENT)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = [("Host", url.netloc), ("User-Agent", "predis-agent"), ("Accept", "*/*"), ("Connection", "close")]
    request = protocol.send(h11.Request(method="GET", target=target, headers=headers))
    end = protocol.send(h11.EndOfMessage())
    connection.settimeout(_left(deadline))
    connection.sendall((request or b"") + (end or b""))
    while True:
        event = protocol.next_event()
        if isinstance(event, h11.Response):
            fine = event.status_code < 400
            return ("", "") if fine else ("status", f"it answers with status {event.status_code}")
        if event is h11.NEED_DATA:
            connection.settimeout(_left(deadline))
            protocol.receive_data(connection.recv(_PIECE))


def _left(deadline: float) -> float:
    if (left := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    return left
