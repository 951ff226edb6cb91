"""Where which series stands in a snapshot, and what of it is constant: found anew only when the series change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from agent.api import MetricSpec, Snapshot

Key = tuple[str, tuple[str, ...]]
Top = TypeVar("Top")
Head = TypeVar("Head")


@dataclass(slots=True)
class Family(Generic[Top, Head]):
    """A metric: `top` is what is constant of it, `heads` what is constant of each series, whose value a snapshot has at
    the place of the same index."""

    spec: MetricSpec
    top: Top
    places: list[int] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)


class Layout(Generic[Top, Head]):
    """Makes constant parts with `top` and `head`, once for each metric and each series (by its label values)."""

    def __init__(self, top: Callable[[MetricSpec], Top], head: Callable[[MetricSpec, tuple[str, ...]], Head]) -> None:
        self._top, self._head = top, head
        self._keys: list[Key] = []
        self._specs: Mapping[str, MetricSpec] = {}
        self._heads: dict[Key, Head] = {}
        self._families: list[Family[Top, Head]] = []

    def of(self, snapshot: Snapshot) -> list[Family[Top, Head]]:
        """The families of a snapshot, by name; places count its samples in their order."""
        keys = list(snapshot.samples)
        if keys != self._keys or snapshot.specs != self._specs:
            self._lay_out(keys, snapshot)
        return self._families

    def _lay_out(self, keys: list[Key], snapshot: Snapshot) -> None:
        """Heads of series that were there before are kept."""
        old = self._heads if snapshot.specs == self._specs else {}
        by_name: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            by_name.setdefault(key[0], []).append(place)
        self._families, self._heads = [], {}
        for name in sorted(by_name):
            spec = snapshot.specs[name]
            family = Family[Top, Head](spec, self._top(spec), by_name[name])
            for place in family.places:
                key = keys[place]
                head = self._heads[key] = old[key] if key in old else self._head(spec, key[1])
                family.heads.append(head)
            self._families.append(family)
        self._keys, self._specs = keys, snapshot.specs
