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
from plugins.prometheus.families import families
from plugins.prometheus.text import Exposition

_GZIP_LEVEL = 1  # the CPU is ours, and scrapers are near


class Newest(Collector):
    """The newest snapshot, unless that is older than `stale_after` seconds.

    Numbers that are no longer measured must not look as if they were: then there are none, and alerts on absence fire.
    """

    def __init__(self, stale_after: float) -> None:
        self._stale_after = stale_after
        self._snapshot = Snapshot(0.0)
        self._received = -stale_after
        self._lock = threading.Lock()
        self._exposition = Exposition()
        self._writing = threading.Lock()
        self._written: tuple[Snapshot, dict[tuple[bool, bool], bytes]] = (self._snapshot, {})
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

    def page(self, openmetrics: bool, compressed: bool) -> bytes:
        """All of it, as OpenMetrics or in the text format; made when first asked for, and kept for who comes next."""
        snapshot = self._scraped()
        with self._writing:
            if self._written[0] is not snapshot:
                self._written = (snapshot, {})
            pages = self._written[1]
            if (openmetrics, False) not in pages:
                write = self._exposition.openmetrics if openmetrics else self._exposition.text
                pages[openmetrics, False] = write(snapshot)
            if compressed and (openmetrics, True) not in pages:
                pages[openmetrics, True] = gzip.compress(pages[openmetrics, False], _GZIP_LEVEL, mtime=0)
            return pages[openmetrics, compressed]

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
        _, content_type = choose_encoder(environ.get("HTTP_ACCEPT") or "")
        escapes = content_type.endswith(("escaping=dots", "escaping=values"))
        is_page = environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"] != "/favicon.ico"
        if escapes or not is_page or environ.get("QUERY_STRING"):
            return others(environ, start_response)  # type: ignore[no-any-return]
        compressed = gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING") or "")
        headers = [("Content-Type", content_type)] + ([("Content-Encoding", "gzip")] if compressed else [])
        start_response("200 OK", headers)
        return [newest.page(content_type.startswith("application/openmetrics-text"), compressed)]

    return answer
