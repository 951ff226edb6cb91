"""What was done lately, for the guards: the store's intents, counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from agent.rules.store import Intent, RuleStore
from agent.rules.topology import Topology

HOUR = 3600.0
TRIES = 2  # an action that failed so often in a row is not tried again


class Ledger:
    """Begins and ends intents in the store, and keeps the counts that guards ask for. On the engine's thread."""

    def __init__(self, store: RuleStore, now: float, topology: Topology) -> None:
        self._store, self.topology = store, topology
        self._recent = deque((intent.started, intent.rule) for intent in store.since(now - HOUR) if intent.changes)
        self._ends = store.last_ends()
        self._failures = store.failures()
        self.blocked = {intent.target: intent for intent in store.unfinished() if intent.blocks}

    def begin(self, intent: Intent) -> None:
        """Before an action runs."""
        self._store.begin(intent)
        if intent.changes:
            self._recent.append((intent.started, intent.rule))
            if intent.kind == "run":
                self._ends[(intent.rule, intent.target)] = intent.started

    def ended(self, intent: Intent, at: float) -> None:
        """An action came to its end, or is not waited for any more."""
        if intent.changes and intent.kind == "run":
            place = (intent.rule, intent.target)
            self._ends[place] = max(at, self._ends.get(place, at))

    def withdrawn(self, intent: Intent) -> None:
        """It changed nothing: nothing rests for it. It counts as one of the hour's all the same, so that what is
        planned anew again and again has an end."""
        place = (intent.rule, intent.target)
        before = self._store.last_ends(*place)
        self._ends.pop(place, None)
        self._ends.update(before)

    def within_hour(self, now: float, rule: str | None = None) -> int:
        """How many actions that change something were begun in the last hour: by one rule, or by all."""
        while self._recent and self._recent[0][0] <= now - HOUR:
            self._recent.popleft()
        return len(self._recent) if rule is None else sum(name == rule for _, name in self._recent)

    def rests(self, rule: str, target: str, cooldown: float, now: float) -> str:
        """What a rule acted on less than its cooldown ago, and overlaps with this target; "" when it may act on it."""
        acted = (place for (name, place), ended in self._ends.items() if name == rule and ended + cooldown > now)
        return self.topology.overlapping(target, acted)

    def hangs_at(self, target: str) -> str:
        """What an action hangs at, and overlaps with this target; "" for nothing."""
        return self.topology.overlapping(target, self.blocked)

    def failures(self, key: str) -> int:
        """How often an action failed in a row."""
        return self._failures.get(key, 0)

    def failed(self, key: str, now: float) -> int:
        """It failed once more; gives how often by now."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        self._store.set_failures(key, count, now)
        return count

    def succeeded(self, key: str, now: float) -> None:
        """It helped: earlier failures count no more."""
        if self._failures.pop(key, 0):
            self._store.set_failures(key, 0, now)

    def block(self, intent: Intent) -> None:
        """An action hangs: its target is left alone."""
        self.blocked[intent.target] = intent

    def unblock(self, intent: str, now: float) -> None:
        """What hung is over."""
        self._store.unblock(intent, now)
        self.blocked = {target: other for target, other in self.blocked.items() if other.id != intent}

    def counts(self) -> Mapping[str, Any]:
        """For the status."""
        return {
            "blocked_targets": sorted(self.blocked),
            "failed_twice": sum(count >= TRIES for count in self._failures.values()),
        }
