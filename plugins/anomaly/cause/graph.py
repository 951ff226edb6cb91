"""Who calls whom, or depends on whom."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class Graph:
    """A directed graph of components: edges run from a caller to what it calls. Cycles and loops do no harm."""

    def __init__(self, edges: Iterable[tuple[str, str]]) -> None:
        self._callees: dict[str, list[str]] = {}
        self._callers: dict[str, list[str]] = {}
        for caller, callee in dict.fromkeys(edges):
            if caller != callee:
                self._callees.setdefault(caller, []).append(callee)
                self._callers.setdefault(callee, []).append(caller)

    def __bool__(self) -> bool:
        return bool(self._callees)

    @property
    def edges(self) -> list[tuple[str, str]]:
        """All of them."""
        return [(caller, callee) for caller, callees in self._callees.items() for callee in callees]

    def callees(self, component: str) -> list[str]:
        """What a component calls itself."""
        return self._callees.get(component, [])

    def callers(self, component: str) -> list[str]:
        """Who calls a component."""
        return self._callers.get(component, [])

    def path(self, component: str, other: str) -> list[str]:
        """A shortest way from a component to something that it depends on, both included; empty if it does not."""
        steps = self.distances(component)
        way = [other] if other in steps else []
        while way and way[0] != component:
            way.insert(0, next(caller for caller in self.callers(way[0]) if steps.get(caller) == steps[way[0]] - 1))
        return way

    def distances(self, component: str) -> dict[str, int]:
        """Steps to everything that a component depends on, itself at 0."""
        steps, queue = {component: 0}, deque([component])
        while queue:
            here = queue.popleft()
            for callee in self.callees(here):
                if callee not in steps:
                    steps[callee] = steps[here] + 1
                    queue.append(callee)
        return steps
