"""What a new configuration changes, key by key, as a plan that people read before or while it takes effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.config.load import LoadedConfig
from agent.config.locate import KeyPath, format_key
from agent.config.models import Config, Section
from agent.config.show import MASK, is_secret, show
from agent.config.units import format_duration, format_size

_DEFAULT = "the default"
_IN_UNITS: dict[KeyPath, Callable[[Any], str]] = {
    ("agent", "interval"): format_duration,
    ("cache", "memory"): format_size,
    ("cache", "snapshot", "interval"): format_duration,
    ("cache", "snapshot", "max_rate"): format_size,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One key that gets another value; ``old`` and ``new`` are written as in TOML, secrets masked."""

    path: KeyPath
    old: str
    new: str
    where: str

    @property
    def key(self) -> str:
        """The dotted key."""
        return format_key(self.path)

    def __str__(self) -> str:
        return f"{self.key}: {self.old} → {self.new} ({self.where})"


def plan(old: LoadedConfig, new: LoadedConfig) -> list[Change]:
    """What changes from ``old`` to ``new``, by section. A key that is written out with the value it has is no change.

    Plugins' tables are compared as written, since only the plugins know their defaults.
    """
    return [*_core_changes(old, new), *_plugin_changes(old, new)]


def _core_changes(old: LoadedConfig, new: LoadedConfig) -> Iterator[Change]:
    for section in Config.model_fields:
        if section == "plugins":
            continue
        before, after = getattr(old.config, section), getattr(new.config, section)
        yield from _section_changes(old, new, (section,), before, after)


def _section_changes(
    old: LoadedConfig, new: LoadedConfig, above: KeyPath, before: Section, after: Section
) -> Iterator[Change]:
    for name in type(after).model_fields:
        path = (*above, name)
        was, becomes = getattr(before, name), getattr(after, name)
        if isinstance(becomes, Section):
            yield from _section_changes(old, new, path, was, becomes)
        elif was != becomes and isinstance(becomes, dict):
            yield from _table_changes(old, new, path, was, becomes)
        elif was != becomes:
            yield Change(path, _written(old, path, was), _written(new, path, becomes), _where(new, path))


def _table_changes(
    old: LoadedConfig, new: LoadedConfig, above: KeyPath, before: Mapping[str, Section], after: Mapping[str, Section]
) -> Iterator[Change]:
    """Of a table whose keys are names, each with a section of its own."""
    for name in dict.fromkeys((*before, *after)):
        path = (*above, name)
        if name in before and name in after:
            yield from _section_changes(old, new, path, before[name], after[name])
        elif name in after:
            yield Change(path, "none", "new", _where(new, path))
        else:
            yield Change(path, "there", "gone", _where(new, path))


def _plugin_changes(old: LoadedConfig, new: LoadedConfig) -> Iterator[Change]:
    before, after = dict(_leaves(old.config.plugins)), dict(_leaves(new.config.plugins))
    for path in dict.fromkeys((*before, *after)):
        if path in before and path in after and before[path] == after[path]:
            continue
        was = _written(old, path, before[path]) if path in before else _DEFAULT
        becomes = _written(new, path, after[path]) if path in after else _DEFAULT
        yield Change(path, was, becomes, _where(new, path))


def _where(new: LoadedConfig, path: KeyPath) -> str:
    place = new.sources.places.get(path)
    return "no longer set" if place is None else str(place)


def _leaves(table: Mapping[str, Any], prefix: KeyPath = ("plugins",)) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in table.items():
        path = (*prefix, key)
        if isinstance(value, dict) and value:
            yield from _leaves(value, path)
        else:
            yield path, value


def _written(loaded: LoadedConfig, path: KeyPath, value: object) -> str:
    if is_secret(path):
        return MASK
    raw: Any = loaded.sources.data
    for part in path:
        raw = raw.get(part) if isinstance(raw, dict) else None
    if isinstance(raw, str) and "${" in raw:
        return show(raw)  # the reference, not what it stands for
    unit = _IN_UNITS.get(path)
    return f'"{unit(value)}"' if unit is not None else show(value)
