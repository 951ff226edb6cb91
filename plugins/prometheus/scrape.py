"""What a scrape is answered: the newest snapshot in the format that is asked for, written once for all who ask."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterable

from prometheus_client.exposition import choose_encoder, gzip_accepted, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from agent.api import Snapshot
from plugins.prometheus import accept, protobuf
from plugins.prometheus.families import families
from plugins.prometheus.protobuf import Protobuf
from plugins.prometheus.text import Exposition

_GZIP_LEVEL = 1  # the CPU is ours, and scrapers are near


class Newest(Collector):
    """The newest snapshot, unless that is older than `stale_after` seconds; `native`: with native histograms.

    Numbers that are no longer measured must not look as if they were: then there are none, and alerts on absence fire.
    """

    def __init__(self, stale_after: float, native: bool = True) -> None:
        self._stale_after = stale_after
        self._snapshot = Snapshot(0.0)
        self._received = -stale_after
        self._lock = threading.Lock()
        text = Exposition()
        self._writers = {
            accept.Format.text: text.text,
            accept.Format.openmetrics: text.openmetrics,
            accept.Format.protobuf: Protobuf(native).write,
        }
        self._writing = threading.Lock()
        self._written: tuple[Snapshot, dict[tuple[accept.Format, bool], bytes]] = (self._snapshot, {})
        self.scrapes = 0

    def show(self, snapshot: Snapshot) -> None:
        """From now on, this is the newest."""
        with self._lock:
            self._snapshot, self._received = snapshot, time.monotonic()

    def _scraped(self) -> Snapshot:
        with self._lock:
            self.scrapes += 1
            stale = time.monotonic() - self._received > self._stale_after
            return Snapshot(0.0) if stale else self._snapshot

    def page(self, format: accept.Format, compressed: bool) -> bytes:
        """All of it in a format; made when first asked for, and kept for who comes next."""
        snapshot = self._scraped()
        with self._writing:
            if self._written[0] is not snapshot:
                self._written = (snapshot, {})
            pages = self._written[1]
            if (format, False) not in pages:
                pages[format, False] = self._writers[format](snapshot)
            if compressed and (format, True) not in pages:
                pages[format, True] = gzip.compress(pages[format, False], _GZIP_LEVEL, mtime=0)
            return pages[format, compressed]

    def collect(self) -> Iterable[Metric]:
        """For prometheus_client."""
        return list(families(self._scraped()))


def application(newest: Newest) -> Callable[..., Iterable[bytes]]:
    """A WSGI application. What is rarely asked for prometheus_client answers: single names, other ways to escape
    names, other methods than GET."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(newest)
    others = make_wsgi_app(registry)

    def answer(environ: dict[str, str], start_response: Callable[..., object]) -> Iterable[bytes]:
        accepted = environ.get("HTTP_ACCEPT") or ""
        wanted = accept.Format.text
        if accept.prefers_protobuf(accepted):
            wanted, content_type = accept.Format.protobuf, protobuf.CONTENT_TYPE
        else:
            _, content_type = choose_encoder(accepted)
            if content_type.startswith("application/openmetrics-text"):
                wanted = accept.Format.openmetrics
        escapes = content_type.endswith(("escaping=dots", "escaping=values"))
        is_page = environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"] != "/favicon.ico"
        if escapes or not is_page or environ.get("QUERY_STRING"):
            return others(environ, start_response)  # type: ignore[no-any-return]
        compressed = gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING") or "")
        headers = [("Content-Type", content_type)] + ([("Content-Encoding", "gzip")] if compressed else [])
        start_response("200 OK", headers)
        return [newest.page(wanted, compressed)]

    return answer
