"""The topology of our own metrics: the component of a series, what it means, and what depends on what."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from plugins.anomaly.cause.model import Meaning

SHIPPED = Path(__file__).with_name("topology.toml")


@dataclass(frozen=True, slots=True)
class Topology:
    """Rules read from topology.toml, in their order."""

    components: tuple[tuple[tuple[str, ...], str, str], ...]
    meanings: tuple[tuple[tuple[str, ...], Meaning], ...]
    links: tuple[tuple[str, str], ...]
    harmless: tuple[tuple[tuple[str, ...], Mapping[str, str]], ...] = ()

    @classmethod
    def load(cls, path: Path = SHIPPED) -> Topology:
        """Read a file of the shipped one's form. Raises ValueError that names the file and the entry that is wrong."""
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
            return cls(
                tuple((_names(e), str(e["name"]), str(e.get("without", ""))) for e in tables.get("component", ())),
                tuple((_names(e), Meaning(e["is"])) for e in tables.get("meaning", ())),
                tuple((str(e["from"]), str(to)) for e in tables.get("edge", ()) for to in e["to"]),
                tuple((_names(e), dict(e.get("labels", {}))) for e in tables.get("harmless", ())),
            )
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: {error}") from error
        except KeyError as error:
            raise ValueError(f"{path}: an entry has no key {error}") from error

    def with_links(self, links: Iterable[tuple[str, str]]) -> Topology:
        """The same with more edges, whose ends may be patterns."""
        return replace(self, links=tuple(dict.fromkeys((*self.links, *links))))

    def component(self, metric: str, labels: Mapping[str, str]) -> str:
        """The component of a series; the metric's own name where no rule fits."""
        for patterns, name, without in self.components:
            if any(fnmatchcase(metric, pattern) for pattern in patterns):
                try:
                    return name.format_map(labels)
                except KeyError:
                    return without or name.partition(":")[0]
        return metric

    def is_harmless(self, metric: str, labels: Mapping[str, str]) -> bool:
        """Whether a series moves for good reasons only, so that it says nothing of causes: the time a CPU is idle."""
        return any(
            any(fnmatchcase(metric, pattern) for pattern in patterns)
            and all(labels.get(label) == value for label, value in wanted.items())
            for patterns, wanted in self.harmless
        )

    def meaning(self, metric: str) -> Meaning:
        """What the values of a metric tell: the mean of a histogram, the rate of a counter, or a gauge's value."""
        for patterns, meaning in self.meanings:
            if any(fnmatchcase(metric, pattern) for pattern in patterns):
                return meaning
        return Meaning.state

    def edges(self, components: Iterable[str]) -> list[tuple[str, str]]:
        """The edges (what suffers, what it depends on) among the components that there are."""
        present = list(dict.fromkeys(components))
        return [
            (one, other)
            for source, target in self.links
            for one in present
            if fnmatchcase(one, source)
            for other in present
            if one != other and fnmatchcase(other, target)
        ]


def _names(entry: Mapping[str, Any]) -> tuple[str, ...]:
    metrics = entry["metrics"]
    return (metrics,) if isinstance(metrics, str) else tuple(metrics)
