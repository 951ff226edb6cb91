"""The catalogue: every metric there is, who emits it, and whether a name or a sample is sound.

Names follow https://prometheus.io/docs/practices/naming/ ; what `promtool check metrics` would complain about is
refused here, when the plugin is loaded, and not found out on somebody's dashboard.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from agent.errors import PredisError
from agent.metrics.model import Exemplar, Histogram, Kind, MetricSpec, Sample

BASE_UNITS = frozenset(
    {"seconds", "bytes", "bytes_per_second", "ratio", "hertz", "celsius", "watts", "joules", "volts", "amperes"}
)
"""What `MetricSpec.unit` may be, besides empty."""

_INSTEAD = {
    **dict.fromkeys(("ms", "us", "ns", "milliseconds", "microseconds", "nanoseconds", "minutes", "hours"), "seconds"),
    **dict.fromkeys(("kb", "mb", "gb", "kib", "mib", "gib", "kilobytes", "megabytes", "gigabytes", "bits"), "bytes"),
    **dict.fromkeys(("percent", "percentage", "pct"), "ratio"),
    **dict.fromkeys(("khz", "mhz", "ghz", "megahertz"), "hertz"),
    **dict.fromkeys(("fahrenheit", "kelvin"), "celsius"),
    **dict.fromkeys(("milliwatts", "kilowatts"), "watts"),
}
_RESERVED_SUFFIXES = ("_bucket", "_sum", "_count", "_created")
_KIND_WORDS = frozenset({"gauge", "counter", "histogram", "summary"})
_NAME = re.compile(r"predis(_[a-z0-9]+)+")
_LABEL = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED_LABELS = frozenset({"le", "quantile", "job", "instance"})
MAX_LABEL_CHARS = 512
MAX_EXEMPLAR_CHARS = 128  # of all labels of one, names and values, by OpenMetrics


_MOST_OBSERVATIONS = 2**63  # exporters write counts as integers of 64 bits
_LATEST = 253_402_300_800.0  # Unix time, the year 10000: from here on vendors' timestamps have no more room


class CatalogueError(PredisError):
    """A metric's declaration that cannot be accepted: one sentence per problem."""


class Catalogue:
    """All declared metrics. Specs are added while plugins are loaded; looking up needs no lock."""

    def __init__(self) -> None:
        self._specs: dict[str, MetricSpec] = {}
        self._owners: dict[str, str] = {}

    def add(self, plugin_name: str, specs: Iterable[MetricSpec]) -> None:
        """Declare a plugin's metrics, all or none. Raises CatalogueError that names every problem."""
        added: dict[str, MetricSpec] = {}
        problems: list[str] = []
        families = {spec.family: spec for spec in self._specs.values()}
        given: list[object] = list(specs)  # from a plugin, so perhaps not what it should be
        for spec in given:
            if not isinstance(spec, MetricSpec):
                problems.append(f"{plugin_name}: predis_metric_specs() gave {spec!r}, which is not a MetricSpec")
                continue
            problems += [f"{plugin_name}: metric {spec.name}: {problem}" for problem in spec_problems(spec)]
            if _type_problems(spec):
                continue
            if spec.name in added:
                problems.append(f"{plugin_name}: metric {spec.name}: declared twice")
            elif spec.name in self._specs:
                problems.append(f"{plugin_name}: metric {spec.name}: already declared by {self._owners[spec.name]}")
            else:
                other = families.get(spec.family, spec)
                if other.name != spec.name:
                    problems.append(f"{plugin_name}: metric {spec.name}: OpenMetrics cannot tell it from {other.name}")
            added[spec.name] = families[spec.family] = spec
        if problems:
            raise CatalogueError("\n".join(problems))
        # New dictionaries, not changed ones: collecting threads look names up meanwhile.
        self._owners = {**self._owners, **dict.fromkeys(added, plugin_name)}
        self._specs = {**self._specs, **added}

    def remove(self, plugin_name: str) -> None:
        """Forget what a plugin declared; nothing happens if it declared nothing."""
        gone = {name for name, owner in self._owners.items() if owner == plugin_name}
        self._specs = {name: spec for name, spec in self._specs.items() if name not in gone}
        self._owners = {name: owner for name, owner in self._owners.items() if name not in gone}

    def get(self, name: str) -> MetricSpec | None:
        """The spec of this name, or None."""
        return self._specs.get(name)

    def owner(self, name: str) -> str | None:
        """The plugin that declared this metric, or None."""
        return self._owners.get(name)

    def all(self) -> list[MetricSpec]:
        """All specs, by name."""
        return [self._specs[name] for name in sorted(self._specs)]

    def __len__(self) -> int:
        return len(self._specs)

    def __iter__(self) -> Iterator[MetricSpec]:
        return iter(self.all())

    def check(self, sample: Sample, plugin_name: str | None = None) -> str | None:
        """Why this sample cannot be accepted, as a word for a label: `uncatalogued`, `labels`, `value`; None if it can.

        With `plugin_name`, a metric that another plugin declared counts as uncatalogued.
        """
        spec = self._specs.get(sample.name)
        if spec is None or (plugin_name is not None and self._owners.get(sample.name) != plugin_name):
            return "uncatalogued"
        labels = sample.labels
        if labels != () or spec.labels:
            if type(labels) is not tuple or len(labels) != len(spec.labels):
                return "labels"
            for label in labels:
                if not isinstance(label, str) or len(label) > MAX_LABEL_CHARS or not _encodable(label):
                    return "labels"
        value = sample.value
        if isinstance(value, Histogram):
            return None if spec.kind is Kind.histogram and _sound(value) else "value"
        if not isinstance(value, int | float) or spec.kind is Kind.histogram or not math.isfinite(value):
            return "value"
        if (spec.kind is Kind.counter and value < 0) or (spec.kind is Kind.info and value != 1):
            return "value"
        return None


def spec_problems(spec: MetricSpec) -> list[str]:
    """What is wrong with a declaration, each with the mend; empty if nothing is."""
    problems = _type_problems(spec)
    if problems:
        return problems  # the rest would stumble over them
    name, kind, unit = spec.name, spec.kind, spec.unit
    if not _NAME.fullmatch(name):
        problems.append("the name must be lower-case words joined by _ and begin with predis_")
    if (kind is Kind.counter) != name.endswith("_total"):
        problems.append("a counter's name ends with _total, and no other name does")
    if (kind is Kind.info) != name.endswith("_info"):
        problems.append("the name of an info metric ends with _info, and no other name does")
    if name.endswith(_RESERVED_SUFFIXES):
        problems.append(f"the endings {', '.join(_RESERVED_SUFFIXES)} belong to the series of histograms")
    words = name.removesuffix("_total").split("_")[1:]
    for word in words:
        if word in _INSTEAD:
            problems.append(f"'{word}' is no base unit: use {_INSTEAD[word]}")
        if word in _KIND_WORDS:
            problems.append(f"a name does not say the metric's kind ('{word}')")
    if unit and unit not in BASE_UNITS:
        mend = _INSTEAD.get(unit.lower(), "one of " + ", ".join(sorted(BASE_UNITS)))
        problems.append(f"unit '{unit}' is no base unit: use {mend}")
    elif unit and not name.removesuffix("_total").endswith(f"_{unit}"):
        problems.append(f"the name must end with its unit: _{unit}{'_total' if kind is Kind.counter else ''}")
    elif not unit and words and words[-1] in BASE_UNITS:
        problems.append(f"the name ends with a unit: declare unit='{words[-1]}'")
    if not spec.help.strip() or "\n" in spec.help:
        problems.append("help must be one line that says what is measured")
    problems += [
        f"label '{label}' must be lower-case words joined by _, and none of {', '.join(sorted(_RESERVED_LABELS))}"
        for label in spec.labels
        if not _LABEL.fullmatch(label) or label in _RESERVED_LABELS
    ]
    if len(set(spec.labels)) != len(spec.labels):
        problems.append("a label is named twice")
    if spec.bounds and (kind is not Kind.histogram or not _ascending(spec.bounds)):
        problems.append("bounds are ascending finite numbers, and only histograms have them")
    return problems


def _type_problems(spec: Any) -> list[str]:
    """Fields of a spec that are not of their types. Specs come from plugins, of which nobody knows who checked them."""
    texts = {"name": spec.name, "help": spec.help, "unit": spec.unit}
    problems = [f"{field} must be text, not {text!r}" for field, text in texts.items() if not isinstance(text, str)]
    if not isinstance(spec.kind, Kind):
        problems.append(f"kind must be one of Kind's: {', '.join(Kind)}; it is {spec.kind!r}")
    if not isinstance(spec.labels, tuple) or not all(isinstance(label, str) for label in spec.labels):
        problems.append(f"labels must be a tuple of text, such as ('device',), not {spec.labels!r}")
    if not isinstance(spec.bounds, tuple) or not all(isinstance(bound, int | float) for bound in spec.bounds):
        problems.append(f"bounds must be a tuple of numbers, not {spec.bounds!r}")
    return problems


def _encodable(label: str) -> bool:
    """Whether a label can be written as UTF-8. Names of files need not be, and one would spoil a whole scrape."""
    if label.isascii():
        return True
    try:
        label.encode()
    except UnicodeEncodeError:
        return False
    return True


def _ascending(bounds: tuple[float, ...]) -> bool:
    return all(map(math.isfinite, bounds)) and all(low < high for low, high in pairwise(bounds))


def _sound(histogram: Histogram) -> bool:
    counts = histogram.counts
    return (
        len(counts) == len(histogram.bounds) + 1
        and min(counts) >= 0
        and sum(counts) < _MOST_OBSERVATIONS
        and math.isfinite(histogram.sum)
        and _ascending(histogram.bounds)
        and (not histogram.exemplars or all(map(_good_exemplar, histogram.exemplars)))
        and (histogram.fine is None or _is_fine(histogram.fine, histogram))
    )


def _is_fine(fine: object, histogram: Histogram) -> bool:
    return (
        isinstance(fine, Histogram)
        and fine.fine is None
        and not fine.exemplars
        and _sound(fine)
        and (fine.count, fine.sum) == (histogram.count, histogram.sum)
    )


def _good_exemplar(given: object) -> bool:
    if not isinstance(given, Exemplar) or not (math.isfinite(given.value) and 0 <= given.time < _LATEST):
        return False
    texts = [text for label in given.labels for text in label]
    return (
        all(isinstance(text, str) and _encodable(text) for text in texts)
        and all(_LABEL.fullmatch(name) for name, _ in given.labels)
        and len(dict(given.labels)) == len(given.labels)
        and sum(map(len, texts)) <= MAX_EXEMPLAR_CHARS
    )
