"""How things are called at Datadog: metrics, tags, units, service checks.

Rules: https://docs.datadoghq.com/metrics/custom_metrics/#naming-custom-metrics, …/getting_started/tagging/ and
…/metrics/units/.
"""

from __future__ import annotations

import re
from hashlib import blake2b

LONGEST_NAME = 200
LONGEST_TAG = 200

UNITS = {
    "seconds": "second",
    "bytes": "byte",
    "ratio": "fraction",
    "hertz": "hertz",
    "celsius": "degree celsius",
    "watts": "watt",
    "joules": "joule",
    "volts": "volt",
    "amperes": "ampere",
}
"""Datadog's unit for each of the catalogue's; bytes_per_second has none, since a unit here cannot be a quotient."""

CHECKS = {
    "predis_cache_up": "predis.cache.can_connect",
    "predis_cache_process_up": "predis.cache.process",
    "predis_redis_up": "predis.redis.can_connect",
    "predis_config_last_reload_success": "predis.agent.config",
}
"""The service check that a metric is, too: OK at 1 and above, critical below."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
_NOT_IN_TAGS = re.compile(r"[^\w\-:./]")


def is_name(name: str) -> bool:
    """Whether Datadog takes this for a metric's name as it is."""
    return len(name) <= LONGEST_NAME and _NAME.fullmatch(name) is not None


def tag(key: str, value: str) -> str:
    """A tag as Datadog would make it of this one: lower case, `_` for what it does not allow, 200 characters.

    The end of a longer one is replaced by a digest, so that two long values stay two.
    """
    text = _NOT_IN_TAGS.sub("_", f"{key}:{value}".lower())
    if len(text) > LONGEST_TAG:
        digest = blake2b(text.encode(errors="surrogatepass"), digest_size=5).hexdigest()
        text = f"{text[: LONGEST_TAG - 11]}_{digest}"
    text = text.rstrip("_:")
    if ":" not in text:  # of the value nothing was left
        text += ":" + blake2b(value.encode(errors="surrogatepass"), digest_size=5).hexdigest()
    return text
