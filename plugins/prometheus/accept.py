"""Which format a scraper wants, by its header Accept. Between the two of text, prometheus_client chooses."""

from __future__ import annotations

from enum import Enum

_PROTOBUF = "application/vnd.google.protobuf"
_TEXTS = frozenset({"application/openmetrics-text", "text/plain"})


class Format(Enum):
    """What a page can be written in."""

    text = "text"
    openmetrics = "openmetrics"
    protobuf = "protobuf"


def prefers_protobuf(header: str) -> bool:
    """Whether Prometheus' protobuf format, delimited, is wanted more than any text, or as much and named before it."""
    best, found = 0.0, False
    for part in header.split(","):
        media, *given = (piece.strip() for piece in part.split(";"))
        parameters = dict(piece.replace('"', "").split("=", 1) for piece in given if "=" in piece)
        try:
            quality = float(parameters.get("q", 1))
        except ValueError:
            continue
        if quality <= best:
            continue
        if media == _PROTOBUF:
            wanted = parameters.get("proto"), parameters.get("encoding")
            if wanted == ("io.prometheus.client.MetricFamily", "delimited"):
                best, found = quality, True
        elif media in _TEXTS:
            best, found = quality, False
    return found
