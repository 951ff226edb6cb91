"""Layers of configuration and how they merge: every key remembers who set it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.config.locate import KeyPath


@dataclass(frozen=True, slots=True)
class Place:
    """Who set a key: a file with a line, or a name such as "--set" when there is no file."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass
class Sources:
    """The merged raw tables and, for each key, where it was set last.

    ``alternatives`` holds a second reading of values that came as text without TOML's quotes (environment, --set):
    ``PREDIS__PLUGINS__X__PASSWORD=007`` may be meant as the text, ``PREDIS__CACHE__PORT=7000`` as the number.
    """

    base: Path
    data: dict[str, Any] = field(default_factory=dict, repr=False)
    places: dict[KeyPath, Place] = field(default_factory=dict, repr=False)
    alternatives: dict[KeyPath, Any] = field(default_factory=dict, repr=False)

    def add_layer(self, data: Mapping[str, Any], places: Mapping[KeyPath, Place]) -> None:
        """Lay tables over what is there: tables merge, everything else replaces."""
        self._merge(self.data, data, (), places)

    def add_value(self, path: tuple[str, ...], value: object, place: Place, alternative: object = None) -> None:
        """Lay one key over what is there."""
        tree: dict[str, Any] = {}
        table = tree
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = value
        self.add_layer(tree, {path[:depth]: place for depth in range(1, len(path) + 1)})
        if alternative is not None:
            self.alternatives[path] = alternative

    def place(self, path: KeyPath) -> Place | None:
        """Who set the key or else the innermost table around it (() for a file as a whole); None for a default."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return None

    def _merge(
        self, into: dict[str, Any], data: Mapping[str, Any], prefix: KeyPath, places: Mapping[KeyPath, Place]
    ) -> None:
        for key, value in data.items():
            path = (*prefix, key)
            if isinstance(value, dict) and isinstance(into.get(key), dict):
                self._merge(into[key], value, path, places)
                continue
            if key in into:
                self._forget(path)
            into[key] = _copy(value)
            self._remember(path, value, places)

    def _remember(self, path: KeyPath, value: object, places: Mapping[KeyPath, Place]) -> None:
        if path in places:
            self.places[path] = places[path]
        items: Iterable[tuple[str | int, object]] = ()
        if isinstance(value, dict):
            items = value.items()
        elif isinstance(value, list):
            items = enumerate(value)
        for key, item in items:
            self._remember((*path, key), item, places)

    def _forget(self, path: KeyPath) -> None:
        for known in (self.places, self.alternatives):
            for other in [other for other in known if other[: len(path)] == path]:
                del known[other]


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
