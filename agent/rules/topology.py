"""What lies within what, so that guards see a whole and its parts as the same thing.

A target lies within others: a tenant and a prefix within the cache, the cache within its host, and so on, by patterns.
A target contains itself and all that lies within it, directly or by steps. Two targets *overlap* when one of them
contains the other: what is done to one is done to a part of, or to the whole around, the other. Two tenants of one
cache, side by side, do not overlap. (Containment is a partial order; to overlap is to be comparable in it.)

Of keys the agent knows more: a prefix contains each longer one that begins with it, and a tenant is its prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

BUILT_IN: Mapping[str, str] = {"tenant:*": "cache:local", "prefix:*": "cache:local", "cache:local": "host:local"}
_MOST_KNOWN = 10_000  # targets whose holders are kept


class Topology:
    """within: a target, or a shell pattern of targets, and the target within which these lie. tenants: the prefix of
    each tenant's keys."""

    def __init__(self, within: Mapping[str, str] | None = None, tenants: Mapping[str, str] | None = None) -> None:
        self._within = [*BUILT_IN.items(), *(within or {}).items()]
        self._tenants = dict(tenants or {})
        self._known: dict[str, frozenset[str]] = {}

    def holders(self, target: str) -> frozenset[str]:
        """The target itself, and all that it lies within."""
        known = self._known.get(target)
        if known is None:
            found, todo = {target}, [target]
            while todo:
                inner = todo.pop()
                outer = {outer for pattern, outer in self._within if fnmatchcase(inner, pattern)} - found
                found |= outer
                todo += outer
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[target] = frozenset(found)
        return known

    def contains(self, outer: str, inner: str) -> bool:
        """Whether one target is, or has within it, the other."""
        holders = self.holders(inner)
        if outer in holders:
            return True
        prefix = self._keys(outer)
        return bool(prefix) and any(self._keys(holder).startswith(prefix) for holder in holders)

    def overlap(self, one: str, other: str) -> bool:
        """Whether one of two targets contains the other."""
        return self.contains(one, other) or self.contains(other, one)

    def overlapping(self, target: str, among: Iterable[str]) -> str:
        """The first of these targets that overlaps with one; "" for none."""
        return next((other for other in among if self.overlap(target, other)), "")

    def _keys(self, target: str) -> str:
        """The prefix of the keys that a target is; "" for one that is no part of the keys."""
        kind, _, name = target.partition(":")
        return name if kind == "prefix" else self._tenants.get(name, "") if kind == "tenant" else ""
