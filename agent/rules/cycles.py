"""Rules that set each other off: each one's actions move what the next one looks at, all the way round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from agent.rules.model import Rule

Edges = Mapping[str, Mapping[str, str]]
"""RULE → RULE that it may set off → by which action and metric."""


def moved(rule: Rule) -> dict[str, str]:
    """The metrics that a rule's actions say they move, with the action's name."""
    found: dict[str, str] = {}
    for step in rule.steps:
        if step.changes_state:
            for metric in getattr(step.type, "moves", ()):
                found.setdefault(str(metric), step.type.name)
    return found


def edges(rules: Sequence[Rule]) -> Edges:
    """Which rule may set off which others. Moving what it looks at itself is what a rule is for: that is no edge."""
    found: dict[str, dict[str, str]] = {rule.name: {} for rule in rules}
    looks = {rule.name: tuple(rule.when.metrics()) for rule in rules if rule.changes_state}
    known: dict[tuple[tuple[str, ...], str], str | None] = {}  # rules are many, what they move and look at is little
    for rule in rules:
        moves = moved(rule)
        if not moves:
            continue
        names = tuple(moves)
        for other in rules:
            if other is rule or not other.changes_state:
                continue
            for pattern in looks[other.name]:
                if (names, pattern) not in known:
                    known[names, pattern] = next((name for name in names if fnmatchcase(name, pattern)), None)
                metric = known[names, pattern]
                if metric is not None:
                    found[rule.name][other.name] = f"{moves[metric]} moves {metric}"
                    break
    return found


def cycles(rules: Sequence[Rule]) -> list[list[str]]:
    """Each group of rules that set each other off, as one way round: names, the first not repeated at the end."""
    graph = edges(rules)
    found: list[list[str]] = []
    reported: set[str] = set()
    for start in graph:
        if start in reported:
            continue
        way = _way_back(start, graph)
        if way:
            found.append(way)
            reported.update(way)
    return found


def _way_back(start: str, graph: Edges) -> list[str]:
    """The shortest way from a rule to itself; breadth first."""
    ways = [[start]]
    seen: set[str] = set()
    for way in ways:  # grows while it is walked
        for following in graph[way[-1]]:
            if following == start:
                return way
            if following not in seen:
                seen.add(following)
                ways.append([*way, following])
    return []
