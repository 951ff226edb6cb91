"""What New Relic takes as an attribute.

Rules: https://docs.newrelic.com/docs/data-apis/ingest-apis/metric-api/metric-api-limits-restricted-attributes/ and
…/custom-data/custom-events/data-requirements-limits-custom-event-data/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b

LONGEST_NAME = 255
LONGEST_VALUE = 4096
MOST_OF_METRIC = 150
MOST_OF_EVENT = 254

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9:._]")
_RESERVED = frozenset({"accountid", "appid", "eventtype", "timestamp", "endtimestamp", "metricname", "interval.ms"})
_RESERVED_BEGINNINGS = ("nr.", "newrelic")


def attribute_name(name: str) -> str:
    """A name as New Relic takes it; what it keeps for itself gets `predis.` before it."""
    text = _cut(_NOT_IN_NAMES.sub("_", name) or "_", LONGEST_NAME - len("predis."))
    lower = text.lower()
    reserved = lower in _RESERVED or lower.startswith(_RESERVED_BEGINNINGS)
    return f"predis.{text}" if reserved else text


def attributes_of(values: Mapping[str, str], most: int) -> dict[str, str]:
    """Attributes as New Relic takes them, at most so many; empty values say nothing and are left out."""
    taken = [(attribute_name(name), attribute_value(value)) for name, value in values.items() if value]
    return dict(taken[:most])


def attribute_value(text: str) -> str:
    """A value of at most 4096 characters. The end of a longer one is a digest, so that two long values stay two."""
    return _cut(text, LONGEST_VALUE)


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    digest = blake2b(text.encode(errors="surrogatepass"), digest_size=5).hexdigest()
    return f"{text[: longest - 11]}_{digest}"
