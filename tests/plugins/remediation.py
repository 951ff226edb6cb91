"""What the tests of remediation share: a use of an action, as the rule engine makes one."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.api import CacheAddress, CacheControl, Host, Now, Outcome, Plan, Snapshot, Task
from agent.metrics.model import SeriesKey
from plugins.remediation.action import Action
from plugins.remediation.config import RemediationConfig
from plugins.remediation.plugin import Remediation
from tests.servers import Server


class NoHistory:
    """Nothing was ever measured."""

    def keys(self, metric: str) -> Sequence[SeriesKey]:
        return ()

    def points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, float]]:
        return ()

    def points_of(
        self, keys: Iterable[SeriesKey], start: float, end: float
    ) -> Iterator[tuple[SeriesKey, Sequence[tuple[float, float]]]]:
        return iter(())

    def latest(self, keys: Iterable[SeriesKey]) -> dict[SeriesKey, tuple[float, float]]:
        return {}


def host_in(folder: Path, cache: Server | None = None, control: CacheControl | None = None) -> Host:
    """An agent with its data in folder/agent, beside this cache."""
    data_dir = folder / "agent"
    data_dir.mkdir(exist_ok=True)
    place = cache.data_dir if cache is not None else data_dir
    password = place / "cache.password" if cache is not None else None
    address = CacheAddress(place / "cache.sock", "127.0.0.1", 0, password, place / "cache.arena")
    return Host(data_dir, address, "1.2.3", logging.getLogger("tests.remediation"), cache_control=control)


def task(host: Host, intent: str = "rule-1/0001", cancelled: Callable[[], bool] = lambda: False, **more: Any) -> Task:
    """A use of an action under this intent."""
    return Task(intent, host, Now(time.time(), Snapshot(time.time()), NoHistory()), cancelled=cancelled, **more)


def action_of(name: str, config: Mapping[str, Any] | None = None) -> Action:
    """The shipped action of this name, with this configuration of the plugin."""
    plugin = Remediation(RemediationConfig.model_validate(dict(config or {})))
    return next(action for action in plugin.predis_actions() if action.name == name)  # type: ignore[return-value]


class Used:
    """An action with its keys, ready to be used under any intent."""

    def __init__(self, action: Action, host: Host, **keys: Any) -> None:
        self.action, self.host, self.params = action, host, action.Params.model_validate(keys)

    def plan(self, **more: Any) -> str:
        return self.action.plan(self.params, task(self.host, **more))

    def run(self, intent: str = "rule-1/0001", **more: Any) -> Outcome:
        return self.action.run(self.params, task(self.host, intent, **more))

    def run_as(self, plan: str, intent: str = "rule-1/0001", **more: Any) -> Outcome:
        """Carry out what was planned."""
        assert isinstance(plan, Plan)
        return self.run(intent, plan=plan.facts, **more)

    def done_before(self, intent: str = "rule-1/0001", **more: Any) -> Outcome | None:
        return self.action.done_before(self.params, task(self.host, intent, **more))

    def was_done(self) -> bool | None:
        """What it knows after a crash."""
        outcome = self.done_before()
        return None if outcome is None else outcome.done

    def undo(self, outcome: Outcome, **more: Any) -> Outcome:
        assert outcome.undo is not None
        return self.action.undo(self.params, outcome.undo, task(self.host, "rule-1/0001/undo", **more))
