"""A lane is compressed as it can be, and a batch that says nothing is not sent."""

import gzip
import logging
import zlib
from collections.abc import Sequence

import pytest
import zstandard

from agent.api import Answer, Batch, Body, Event, ExportConfig, Kind, Limits, MetricSpec, Series, Temporality, Verdict
from agent.export.batch import encoding_for
from agent.export.courier import Courier, Outcome

SERIES = Series(MetricSpec("predis_a", Kind.gauge, "A."), ())
UNPACK = {"": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress, "zstd": zstandard.decompress}


class Vendor:
    """Takes everything."""

    temporality = Temporality.delta

    def __init__(self, says: bytes, encodings: tuple[str, ...]) -> None:
        self.says, self.encodings = says, encodings
        self.bodies: list[Body] = []

    def lanes(self, spec: MetricSpec) -> Sequence[str]:
        return ("lane",)

    def event_lanes(self, event: Event) -> Sequence[str]:
        return ()

    def limits(self, lane: str) -> Limits:
        return Limits(10, 1000, 1000, 60.0, encodings=self.encodings)

    def encode(self, batch: Batch) -> bytes:
        return self.says

    def send(self, body: Body) -> Answer:
        self.bodies.append(body)
        return Answer(Verdict.accepted)

    def close(self) -> None:
        pass


def attempt(vendor: Vendor, wanted: str) -> Outcome:
    config = ExportConfig.model_validate({"compression": wanted})
    courier = Courier(vendor, config, logging.getLogger("tests"))
    batch = Batch("lane", 1.0, series=(SERIES,), values=(1.0,))
    return courier.attempt(batch, 0, vendor.limits("lane"), lambda points: True)


@pytest.mark.parametrize(
    ("wanted", "possible", "used"),
    [
        ("gzip", ("gzip", "zstd"), "gzip"),
        ("zstd", ("gzip", "zstd"), "zstd"),
        ("zstd", ("gzip",), "gzip"),
        ("gzip", ("deflate",), "deflate"),
        ("none", ("gzip", "zstd"), ""),
        ("gzip", (), ""),
    ],
)
def test_the_users_choice_counts_where_the_lane_takes_it(wanted: str, possible: tuple[str, ...], used: str) -> None:
    vendor = Vendor(b"the body" * 10, possible)
    assert encoding_for(wanted, vendor.limits("lane")) == used
    assert attempt(vendor, wanted) == Outcome(delivered=1)
    (body,) = vendor.bodies
    assert body.encoding == used
    assert UNPACK[used](body.data) == vendor.says


def test_a_batch_that_says_nothing_is_delivered_without_a_request() -> None:
    vendor = Vendor(b"", ("gzip",))
    assert attempt(vendor, "gzip") == Outcome(delivered=1, silent=True)
    assert vendor.bodies == []
