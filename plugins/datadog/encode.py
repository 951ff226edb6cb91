"""Batches as Datadog's JSON. What is the same for a series each time is written once.

The client's own models check what they are given, at some 100 µs for a point; tests parse these bodies with them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from agent.api import Batch, Event, Histogram, Kind, Prepared, Series
from plugins.datadog.distribution import values_of
from plugins.datadog.names import CHECKS, UNITS, tag

if TYPE_CHECKING:
    from datadog_api_client.v1.model.event_create_request import EventCreateRequest
    from datadog_api_client.v1.model.service_check import ServiceCheck

LONGEST_TITLE = 100
LONGEST_TEXT = 4000
LONGEST_KEY = 100
_GAUGE, _COUNT = 3, 1
_OK, _CRITICAL = 0, 2


class Encoder:
    """Writes batches. `host` and `tags` go with everything; at most `most_values` values stand for a histogram."""

    def __init__(self, host: str, tags: Sequence[str], most_values: int) -> None:
        self._host, self._tags, self._most_values = host, list(tags), most_values
        self._heads: Prepared[tuple[str, bool, str]] = Prepared(self._head)
        self._distributions: Prepared[tuple[str, str]] = Prepared(self._distribution_parts)

    def series(self, batch: Batch) -> bytes:
        """For POST /api/v2/series: gauges, and counts of the interval. Of a histogram its count and its sum, which are
        exact where the values of the distribution are not all there."""
        time, interval = int(batch.time), max(1, round(batch.interval))
        gauge = f'"type":{_GAUGE},"points":[{{"timestamp":{time},"value":'
        count = f'"type":{_COUNT},"interval":{interval},"points":[{{"timestamp":{time},"value":'
        self._heads.turn()
        heads, out = self._heads.fresh, []
        for series, value in zip(batch.series, batch.values, strict=True):
            head, is_gauge, head_of_sum = heads.get(series) or self._heads.of(series)
            if isinstance(value, Histogram):
                out.append(f"{head}{count}{value.count}}}]}}")
                out.append(f"{head_of_sum}{count}{float(value.sum)!r}}}]}}")
            else:
                out.append(f"{head}{gauge if is_gauge else count}{float(value)!r}}}]}}")
        return f'{{"series":[{",".join(out)}]}}'.encode() if out else b""

    def distributions(self, batch: Batch) -> bytes:
        """For POST /api/v1/distribution_points: histograms that had observations in the interval."""
        time = int(batch.time)
        self._distributions.turn()
        out = []
        for series, value in zip(batch.series, batch.values, strict=True):
            points = values_of(value, self._most_values) if isinstance(value, Histogram) else []
            if points:
                head, tail = self._distributions.of(series)
                values = "".join(f"{point:.7g}," * times for point, times in points)[:-1]
                out.append(f"{head}{time},[{values}{tail}")
        return f'{{"series":[{",".join(out)}]}}'.encode() if out else b""

    def checks(self, batch: Batch) -> bytes:
        """For POST /api/v1/check_run: the metrics of names.CHECKS as service checks."""
        from datadog_api_client.v1.model.service_check import ServiceCheck
        from datadog_api_client.v1.model.service_check_status import ServiceCheckStatus

        checks: list[ServiceCheck] = [
            ServiceCheck(
                check=CHECKS[series.spec.name],
                host_name=self._host,
                status=ServiceCheckStatus(_OK if value >= 1 else _CRITICAL),
                tags=self._tags_of(series),
                timestamp=int(batch.time),
            )
            for series, value in zip(batch.series, batch.values, strict=True)
            if not isinstance(value, Histogram)
        ]
        return _json([check.to_dict() for check in checks]) if checks else b""

    def event(self, batch: Batch) -> bytes:
        """For POST /api/v1/events, which takes one event."""
        from datadog_api_client.v1.model.event_alert_type import EventAlertType
        from datadog_api_client.v1.model.event_create_request import EventCreateRequest

        (event,) = batch.events
        title = event.title or event.kind
        text = event.text or title
        if len(title) > LONGEST_TITLE:
            title, text = _cut(title, LONGEST_TITLE), f"{title}\n{text}"
        request: EventCreateRequest = EventCreateRequest(
            title=title,
            text=_cut(text, LONGEST_TEXT),
            alert_type=EventAlertType(event.severity),
            aggregation_key=_cut(event.kind, LONGEST_KEY),
            date_happened=int(event.time),
            host=self._host,
            tags=[*self._tags, *self._event_tags(event)],
        )
        return _json(request.to_dict())

    def _tags_of(self, series: Series) -> list[str]:
        return [*self._tags, *(tag(name, value) for name, value in series.tags().items())]

    @staticmethod
    def _event_tags(event: Event) -> list[str]:
        return [tag("kind", event.kind), *(tag(name, value) for name, value in event.attributes.items() if value)]

    def _head(self, series: Series) -> tuple[str, bool, str]:
        """The beginning of a series' object, whether it is a gauge, and the same for the sum of a histogram."""
        spec = series.spec
        unit = UNITS.get(spec.unit)
        common = f'"tags":{_text(self._tags_of(series))},"resources":{_text([{"type": "host", "name": self._host}])},'
        with_unit = common + (f'"unit":"{unit}",' if unit else "")
        if spec.kind is Kind.histogram:
            count, total = f"{spec.name}_count", f"{spec.name}_sum"
            return f'{{"metric":"{count}",{common}', False, f'{{"metric":"{total}",{with_unit}'
        return f'{{"metric":"{spec.name}",{with_unit}', spec.kind is not Kind.counter, ""

    def _distribution_parts(self, series: Series) -> tuple[str, str]:
        """What stands before a distribution's time and after its values."""
        host, tags = _text(self._host), _text(self._tags_of(series))
        return (
            f'{{"metric":"{series.spec.name}","type":"distribution","points":[[',
            f']]],"host":{host},"tags":{tags}}}',
        )


def encoders(encoder: Encoder) -> dict[str, Callable[[Batch], bytes]]:
    """What writes the bodies of each lane."""
    return {
        "series": encoder.series,
        "distributions": encoder.distributions,
        "checks": encoder.checks,
        "events": encoder.event,
    }


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _json(value: Any) -> bytes:
    return _text(value).encode()
